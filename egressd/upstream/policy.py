"""The traffic policy of one port of a destination, from its DestinationRules and a subset. Pure.

Source: Istio's `MergeSubsetTrafficPolicy`. Sections are taken as wholes. Port-level settings stand in
for the whole policy of their own level: what they leave out has its default. A subset overrides the
rule, its port-level settings included; with port-level settings of its own it also clears the sections
that these can hold and do not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, NamedTuple, TypeVar

from egressd.api.destination_rule import (
    ClientTLSSettings,
    ConnectionPoolSettings,
    DestinationRule,
    LoadBalancerSettings,
    OutlierDetection,
    PortTrafficPolicy,
    ProxyProtocol,
    RetryBudget,
    Subset,
    TrafficPolicy,
    TunnelSettings,
)
from egressd.registry.records import Record

S = TypeVar("S")
_PORT_SECTIONS = ("connection_pool", "outlier_detection", "load_balancer", "tls")


class Section(NamedTuple, Generic[S]):
    """One section. `field` is where `record` says it, or leaves it out; "" where nobody does."""

    value: S | None = None
    field: str = ""
    record: Record | None = None


class EffectivePolicy(NamedTuple):
    """Every section in force, and the labels that endpoints of the subset carry."""

    load_balancer: Section[LoadBalancerSettings]
    connection_pool: Section[ConnectionPoolSettings]
    outlier_detection: Section[OutlierDetection]
    tls: Section[ClientTLSSettings]
    proxy_protocol: Section[ProxyProtocol]
    tunnel: Section[TunnelSettings]
    retry_budget: Section[RetryBudget]
    labels: dict[str, str]


class UnknownSubset(Exception):
    """The DestinationRules of the host have no such subset. The message says what they have."""


class _Level(NamedTuple):
    """What one level says of the port."""

    policy: TrafficPolicy | PortTrafficPolicy
    field: str
    record: Record
    is_subset: bool


def effective_policy(records: tuple[Record, ...], subset: str, port: int) -> EffectivePolicy:
    """The policy of a subset ("" = none named) at a port, from the rules of the host, which count as one
    (`find_destination_rules`). Raises `UnknownSubset`."""
    levels = list(_rule_level(records, port))
    labels: dict[str, str] = {}
    if subset:
        record, index, found = _subset(records, subset)
        labels = dict(found.labels)
        if found.traffic_policy is not None:
            place = f"spec.subsets[{index}].trafficPolicy"
            levels.append(_at_port(found.traffic_policy, place, record, port, is_subset=True))
    return EffectivePolicy(
        _section(levels, "load_balancer", LoadBalancerSettings),
        _section(levels, "connection_pool", ConnectionPoolSettings),
        _section(levels, "outlier_detection", OutlierDetection),
        _section(levels, "tls", ClientTLSSettings),
        _section(levels, "proxy_protocol", ProxyProtocol),
        _section(levels, "tunnel", TunnelSettings),
        _section(levels, "retry_budget", RetryBudget),
        labels,
    )


def _rule_level(records: tuple[Record, ...], port: int) -> Iterator[_Level]:
    """The policy of the first rule that has one."""
    for record in records:
        policy = _rule(record).traffic_policy
        if policy is not None:
            yield _at_port(policy, "spec.trafficPolicy", record, port, is_subset=False)
            return


def _rule(record: Record) -> DestinationRule:
    assert isinstance(record.resource.spec, DestinationRule)
    return record.resource.spec


def _subset(records: tuple[Record, ...], name: str) -> tuple[Record, int, Subset]:
    names: list[str] = []
    for record in records:
        for index, subset in enumerate(_rule(record).subsets):
            if subset.name == name:
                return record, index, subset
            names.append(subset.name)
    refs = ", ".join(record.resource.ref for record in records)
    known = ", ".join(dict.fromkeys(names)) or "none"
    raise UnknownSubset(f"{refs} has no subset {name!r}, it has {known}")


def _at_port(
    policy: TrafficPolicy, field: str, record: Record, port: int, *, is_subset: bool
) -> _Level:
    for index, level in enumerate(policy.port_level_settings):
        if level.port is not None and level.port.number == port:
            return _Level(level, f"{field}.portLevelSettings[{index}]", record, is_subset)
    return _Level(policy, field, record, is_subset)


def _section(levels: list[_Level], name: str, kind: type[S]) -> Section[S]:
    chosen: Section[S] = Section()
    for policy, field, record, is_subset in levels:
        value = getattr(policy, name, None)
        if isinstance(value, kind):
            chosen = Section(value, field, record)
        elif isinstance(policy, PortTrafficPolicy) and (name in _PORT_SECTIONS or not is_subset):
            chosen = Section(None, field, record)
    return chosen
