"""From the endpoints that may be chosen to what is chosen from: one set, or levels by locality with the
percentage of each. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, TypeVar

from egressd.upstream.balancer import Lots, Random, Weighted, reduce_weights
from egressd.upstream.locality import (
    LocalityPolicy,
    priorities,
    priority_loads,
    share_loads,
    shares,
)
from egressd.upstream.spec import EndpointSpec
from egressd.upstream.warmup import Warmup, warm_share


class Arranged(Weighted, Protocol):
    """An endpoint in use."""

    spec: EndpointSpec
    joined: float


E = TypeVar("E", bound=Arranged)
Levels = tuple[tuple[float, Lots[E]], ...]
_FINE = 1000  # a weight in thousandths, so that a warm-up moves in small steps


def arrange(
    policy: LocalityPolicy | None, endpoints: Sequence[E], ready: Sequence[E]
) -> tuple[Lots[E] | None, Levels[E]]:
    """One set to choose from, or several with their shares; neither when none is ready."""
    if policy is None or not ready:
        return (Lots(ready) if ready else None), ()
    specs = [endpoint.spec for endpoint in endpoints]
    up = set(map(id, ready))
    members: list[list[E]] = []
    if policy.distribute:
        levels = shares(policy, specs)
        for level in levels:
            members.append([endpoints[at] for at in level.members if id(endpoints[at]) in up])
        loads = share_loads(
            [(lv.weight, len(m), len(lv.members)) for lv, m in zip(levels, members, strict=True)]
        )
    else:
        ranked = priorities(policy, specs)
        for rank in ranked:
            members.append([endpoints[at] for at in rank if id(endpoints[at]) in up])
        loads = priority_loads(
            [(len(m), len(rank)) for rank, m in zip(ranked, members, strict=True)]
        )
    found: list[tuple[float, Lots[E]]] = []
    total = 0.0
    for load, group in zip(loads, members, strict=True):
        if load > 0.0 and group:
            total += load
            found.append((total, Lots(group)))
    if len(found) == 1:
        return found[0][1], ()
    return None, tuple(found)


def choose_level(levels: Levels[E], rng: Random) -> Lots[E]:
    """A level by its share."""
    point = rng() * levels[-1][0]
    for upto, lots in levels:
        if point < upto:
            return lots
    return levels[-1][1]


def set_weights(endpoints: Sequence[E], warmup: Warmup | None, now: float) -> bool:
    """Give each endpoint its weight in the smallest numbers. Returns whether one is warming up."""
    if not endpoints:
        return False
    shares_now = [1.0] * len(endpoints)
    if warmup is not None:
        shares_now = [warm_share(warmup, now - e.joined) if e.joined else 1.0 for e in endpoints]
    warming = min(shares_now) < 1.0
    if warming:
        wanted = [
            max(1, round((e.spec.weight or 1) * share * _FINE))
            for e, share in zip(endpoints, shares_now, strict=True)
        ]
    else:
        wanted = [endpoint.spec.weight for endpoint in endpoints]
    for endpoint, weight in zip(endpoints, reduce_weights(wanted), strict=True):
        endpoint.weight = weight
    return warming
