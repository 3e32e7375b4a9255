"""From the endpoints that may be chosen to what is chosen from: one set, or levels by locality with the
percentage of each. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, NamedTuple, Protocol, TypeVar

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
    found: list[tuple[float, Lots[E]]] = []
    total = 0.0
    for level in levels_of(policy, endpoints, ready):
        if level.load > 0.0 and level.ready:
            total += level.load
            found.append((total, Lots(level.ready)))
    if len(found) == 1:
        return found[0][1], ()
    return None, tuple(found)


class Level(NamedTuple, Generic[E]):
    """Endpoints that share their part of the load, in percent."""

    load: float
    members: list[E]
    ready: list[E]  # those of them that may be chosen
    weight: int = 0  # of a distribution; 0 = by health alone


def levels_of(policy: LocalityPolicy, endpoints: Sequence[E], ready: Sequence[E]) -> list[Level[E]]:
    """The levels of a policy, the first to be chosen from first."""
    specs = [endpoint.spec for endpoint in endpoints]
    up = set(map(id, ready))

    def at(places: Sequence[int]) -> tuple[list[E], list[E]]:
        members = [endpoints[place] for place in places]
        return members, [one for one in members if id(one) in up]

    if policy.distribute:
        spread = shares(policy, specs)
        groups = [at(level.members) for level in spread]
        weights = [level.weight for level in spread]
        loads = share_loads(
            [(w, len(able), len(all_)) for w, (all_, able) in zip(weights, groups, strict=True)]
        )
    else:
        groups = [at(rank) for rank in priorities(policy, specs)]
        weights = [0] * len(groups)
        loads = priority_loads([(len(able), len(all_)) for all_, able in groups])
    return [
        Level(load, all_, able, weight)
        for load, (all_, able), weight in zip(loads, groups, weights, strict=True)
    ]


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
