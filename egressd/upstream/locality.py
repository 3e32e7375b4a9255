"""Which endpoints come first: priorities by locality, shares by distribution, spill-over by health.
Pure.

Source: Istio `LocalityLoadBalancerSetting`, Envoy priority levels and locality weights.
Over-provisioning is 1.4: a level gives load away once fewer than 72 % of its endpoints are healthy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, TypeVar

OVER_PROVISIONING = 1.4
_LABELS = (
    "topology.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.istio.io/subzone",
)
_NETWORK = "topology.istio.io/network"
_OTHER_REGION = 3


class Located(Protocol):
    """What is known of an endpoint's place."""

    @property
    def locality(self) -> tuple[str, str, str]: ...

    @property
    def labels(self) -> tuple[tuple[str, str], ...]: ...

    @property
    def network(self) -> str: ...


S = TypeVar("S", bound=Located)


@dataclass(frozen=True, slots=True)
class LocalityPolicy:
    """Istio `localityLbSetting` as it applies to this node."""

    locality: tuple[str, str, str]  # of the node
    labels: tuple[tuple[str, str], ...] = ()  # of the node
    network: str = ""
    distribute: tuple[tuple[str, int], ...] = ()  # the `to` of the entry that is for the node
    failover_to: str = ""  # region that comes before the other regions
    failover_priority: tuple[str, ...] = ()


class Level(NamedTuple):
    """Endpoints (by index) that share their part of the load."""

    members: tuple[int, ...]
    weight: int  # of the distribution; 0 = by health alone


def priorities(policy: LocalityPolicy, endpoints: Sequence[S]) -> list[list[int]]:
    """Indices of the endpoints by priority, the nearest first, without empty levels."""
    ranks: dict[int, list[int]] = {}
    for at, endpoint in enumerate(endpoints):
        rank = (
            _label_rank(policy, endpoint)
            if policy.failover_priority
            else _place_rank(policy, endpoint.locality)
        )
        ranks.setdefault(rank, []).append(at)
    return [ranks[rank] for rank in sorted(ranks)]


def _place_rank(policy: LocalityPolicy, place: tuple[str, str, str]) -> int:
    """0 same sub-zone, 1 same zone, 2 same region, 3 another region (the one to fail over to, where
    that is said), 4 the others."""
    if place[0] != policy.locality[0]:
        is_next = not policy.failover_to or policy.failover_to == place[0]
        return _OTHER_REGION if is_next else _OTHER_REGION + 1
    if place[1] != policy.locality[1]:
        return 2
    return 0 if place[2] == policy.locality[2] else 1


def _label_rank(policy: LocalityPolicy, endpoint: Located) -> int:
    """Istio `failoverPriority`: the more labels match from the first on, the sooner. A label "key=value"
    asks for that value, "key" for the node's own; one that neither has matches (pilot
    `applyFailoverPriorityPerLocality`)."""
    own = topology_labels(dict(policy.labels), policy.locality, policy.network)
    theirs = topology_labels(dict(endpoint.labels), endpoint.locality, endpoint.network)
    for matched, label in enumerate(policy.failover_priority):
        key, has_value, value = label.partition("=")
        wanted = value if has_value else own.get(key, "")
        if theirs.get(key, "") != wanted:
            return len(policy.failover_priority) - matched
    return 0


def topology_labels(
    labels: Mapping[str, str], place: tuple[str, str, str], network: str
) -> Mapping[str, str]:
    """Labels with those that a place and a network make (Istio `AugmentLabels`: before any of the same
    key): every endpoint has them, for subsets, selectors and failover."""
    if not network and not any(place):
        return labels
    made = {key: value for key, value in zip(_LABELS, place, strict=True) if value}
    if network:
        made[_NETWORK] = network
    return {**labels, **made}


def shares(policy: LocalityPolicy, endpoints: Sequence[S]) -> list[Level]:
    """Istio `distribute`: each `to` pattern's percentage over the endpoints that it covers; those that
    none covers get nothing. An endpoint belongs to the most specific pattern."""
    levels: dict[str, list[int]] = {}
    patterns = sorted(policy.distribute, key=lambda to: (to[0].count("*"), -len(to[0])))
    for at, endpoint in enumerate(endpoints):
        for pattern, _ in patterns:
            if matches(pattern, endpoint.locality):
                levels.setdefault(pattern, []).append(at)
                break
    weights = dict(policy.distribute)
    return [
        Level(tuple(members), weights[pattern])
        for pattern, members in levels.items()
        if weights[pattern] > 0
    ]


def matches(pattern: str, place: tuple[str, str, str]) -> bool:
    """Istio locality patterns: "region", "region/zone", "region/*", "region/zone/*", "*"."""
    for want, have in zip(pattern.split("/"), place, strict=False):
        if want == "*":
            return True
        if want != have:
            return False
    return True


def priority_loads(health: Sequence[tuple[int, int]]) -> list[float]:
    """The share of each priority, in percent, from (healthy, all) of each (Envoy). All zero when none is
    healthy."""
    available = [
        min(100.0, 100.0 * OVER_PROVISIONING * healthy / count) if count else 0.0
        for healthy, count in health
    ]
    total = min(100.0, sum(available))
    if total <= 0.0:
        return [0.0] * len(available)
    left = 100.0
    loads = []
    for one in available:
        load = min(left, one * 100.0 / total)
        loads.append(load)
        left -= load
    if left > 0.0:
        first = next(at for at, one in enumerate(available) if one > 0.0)
        loads[first] += left
    return loads


def share_loads(levels: Sequence[tuple[int, int, int]]) -> list[float]:
    """The share of each level of a distribution, in percent, from (weight, healthy, all): its weight,
    less what it cannot carry (Envoy locality weights)."""
    effective = [
        weight * min(1.0, OVER_PROVISIONING * healthy / count) if count else 0.0
        for weight, healthy, count in levels
    ]
    total = sum(effective)
    return [100.0 * one / total if total else 0.0 for one in effective]
