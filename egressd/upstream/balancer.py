"""Choosing one of the endpoints that may be chosen. Pure: randomness is passed in, in [0, 1).

Source: Istio `LoadBalancerSettings.SimpleLB`, Envoy's load balancers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, TypeVar


class Weighted(Protocol):
    """What a balancer looks at."""

    weight: int
    active: int
    current: int  # smooth round robin's own counter


E = TypeVar("E", bound=Weighted)
Random = Callable[[], float]


def choose_random(endpoints: Sequence[E], total: int, rng: Random) -> E:
    """By weight; `total` is the sum of the weights."""
    if total == len(endpoints):
        return endpoints[int(rng() * total)]
    at = rng() * total
    for endpoint in endpoints:
        at -= endpoint.weight
        if at < 0:
            return endpoint
    return endpoints[-1]


def choose_least_request(endpoints: Sequence[E], total: int, rng: Random) -> E:
    """The less busy of two random ones. With differing weights both are drawn by weight."""
    count = len(endpoints)
    if count == 1:
        return endpoints[0]
    if total == count:
        first = int(rng() * count)
        # The second from the others: two draws of the same one would be no choice.
        second = int(rng() * (count - 1))
        if second >= first:
            second += 1
        a, b = endpoints[first], endpoints[second]
        return b if b.active < a.active else a
    a, b = choose_random(endpoints, total, rng), choose_random(endpoints, total, rng)
    return b if b.active * a.weight < a.active * b.weight else a


def choose_round_robin(endpoints: Sequence[E], total: int, rng: Random) -> E:
    """Smooth weighted round robin (nginx's): each in turn, heavy ones more often, never in a row."""
    best = endpoints[0]
    for endpoint in endpoints:
        endpoint.current += endpoint.weight
        if endpoint.current > best.current:
            best = endpoint
    best.current -= total
    return best
