"""Hosts that are claimed twice: which claim stands, and what is said of the other one. Pure.

Only the mesh is contested: on a Gateway the routes of several VirtualServices of one host are merged
(Istio `buildGatewayHTTPRouteConfig`; `egressd.registry.exposure`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import NamedTuple

from egressd.api.export import contest
from egressd.api.resource import Kind, Problem, Resource, Severity
from egressd.registry.claims import MESH, contested_hosts, gateway_names, named_hosts
from egressd.registry.records import Record

Age = tuple[bool, int, int, str]


class Settled(NamedTuple):
    """`lost` are the mesh hosts of each VirtualService (by key) that an older one has and keeps, so that
    this one serves only whom that leaves alone; `problems` what to say of each."""

    lost: dict[str, tuple[str, ...]]
    problems: tuple[Problem, ...]


def settle(candidates: Iterable[Record], age: Callable[[Record, str], Age]) -> Settled:
    """Of each host the oldest VirtualService on the mesh (by `age`, of a record as claimant of a host)
    keeps it, as far as some namespace sees two with equal precedence."""
    claims: dict[str, list[Record]] = {}
    for record in candidates:
        for host in _mesh_hosts(record):
            claims.setdefault(host, []).append(record)
    lost: dict[str, dict[str, Resource]] = {}
    records: dict[str, Record] = {}
    for host, claimants in claims.items():
        if len(claimants) > 1:
            owners: list[Record] = []
            for record in sorted(claimants, key=lambda one: age(one, host)):
                owner = next((o for o in owners if contest(o.resource, record.resource)), None)
                if owner is None:
                    owners.append(record)
                else:
                    lost.setdefault(record.key, {})[host] = owner.resource
                    records[record.key] = record
    return Settled(
        {key: tuple(sorted(hosts)) for key, hosts in lost.items()},
        tuple(_loss(records[key], lost[key]) for key in sorted(lost)),
    )


def _mesh_hosts(record: Record) -> tuple[str, ...]:
    return contested_hosts(record.resource) if MESH in gateway_names(record.resource) else ()


class ServiceHosts:
    """Which sources have a ServiceEntry for a host; kept up to date with what is in force. What is
    said of a host is the same object until it is another word: many hosts may be shared for long."""

    def __init__(self) -> None:
        self._records: dict[str, dict[str, Record]] = {}  # host -> key -> record
        self._found: dict[str, tuple[Problem, ...]] = {}  # of each host with several sources
        self._stale: set[str] = set()  # of these hosts it has to be worked out again
        self._all: tuple[Problem, ...] = ()

    def replace(self, old: Record | None, new: Record | None) -> None:
        """A record in force was put, replaced or deleted."""
        before, after = _service_hosts(old), _service_hosts(new)
        for host in before:
            self._records[host].pop(old.key if old else "", None)
            if not self._records[host]:
                del self._records[host]
        for host in after:
            assert new is not None
            self._records.setdefault(host, {})[new.key] = new
        for host in {*before, *after}:
            if host in self._found or len(self._records.get(host, ())) > 1:
                self._stale.add(host)

    def conflicts(self, rank: Callable[[str], int]) -> tuple[Problem, ...]:
        """Of each host with several sources, the records whose endpoints are left out: those of a
        later source that is not configured to be merged."""
        if not self._stale:
            return self._all
        for host in self._stale:
            before, found = self._found.pop(host, ()), self._left_out(host, rank)
            if found:
                self._found[host] = before if before == found else found
        self._stale.clear()
        self._all = tuple(problem for host in sorted(self._found) for problem in self._found[host])
        return self._all

    def _left_out(self, host: str, rank: Callable[[str], int]) -> tuple[Problem, ...]:
        claims = sorted(self._records.get(host, {}).values(), key=lambda r: (rank(r.source), r.key))
        return tuple(
            _left_out(host, record, claims[0].source)
            for record in claims
            if record.source != claims[0].source and not record.is_merged
        )


def _service_hosts(record: Record | None) -> list[str]:
    """The hosts of a ServiceEntry. Resources of other kinds name hosts, too: they say how a service is
    used, not where it is, and take no endpoints from anybody."""
    is_service = record is not None and record.resource.kind is Kind.SERVICE_ENTRY
    return named_hosts(record.resource) if record is not None and is_service else []


def _left_out(host: str, record: Record, first: str) -> Problem:
    return Problem(
        severity=Severity.WARNING,
        place=record.resource.place,
        resource=record.resource.ref,
        field="spec.hosts",
        found=f"{host} of source {record.source}, which source {first} has, too",
        expected=f"one source for a host: {first} has precedence and its endpoints are used "
        f"(`endpoints: merge` of adapter {record.source} would add its own)",
    )


def _loss(record: Record, lost: dict[str, Resource]) -> Problem:
    owners = ", ".join(dict.fromkeys(owner.ref for owner in lost.values()))
    return Problem(
        place=record.resource.place,
        resource=record.resource.ref,
        field="spec.hosts",
        found=f"{', '.join(sorted(lost))} (gateway {MESH})",
        expected=f"a host that no other VirtualService claims: {owners} has it and keeps it",
    )
