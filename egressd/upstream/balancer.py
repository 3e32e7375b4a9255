"""Choosing one of the endpoints that may be chosen. Pure: randomness is passed in, in [0, 1).

Source: Istio `LoadBalancerSettings.SimpleLB`, Envoy's load balancers. RANDOM and LEAST_REQUEST draw
lots: an endpoint has as many as its weight says, so that a choice costs the same however many
endpoints there are.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from math import gcd
from typing import Generic, Protocol, TypeVar


class Weighted(Protocol):
    """What a balancer looks at."""

    weight: int  # at least 1, see `reduce_weights`
    active: int  # requests under way
    current: int  # smooth round robin's own counter


E = TypeVar("E", bound=Weighted)
C = TypeVar("C", covariant=True)
Random = Callable[[], float]
_MOST_LOTS = 4096


def reduce_weights(weights: Sequence[int]) -> list[int]:
    """The smallest whole weights of the same proportions; 0 counts as 1 (Istio: not set).

    A sum still above 4096 is scaled down to about that, the lightest rounded up to 1.
    """
    present = [weight or 1 for weight in weights]
    divisor = gcd(*present)
    reduced = [weight // divisor for weight in present]
    total = sum(reduced)
    if total <= _MOST_LOTS or total == len(reduced):
        return reduced
    return [max(1, round(weight * _MOST_LOTS / total)) for weight in reduced]


class Table(Protocol[C]):
    """A built table of consistent hashing (`egressd.upstream.hashing`)."""

    def choose(self, key: int, avoid: Collection[object] = ()) -> C: ...


class Lots(Generic[E]):
    """Endpoints to choose from: at least one. `starts` has, for each lot, the first of its
    endpoint's lots; those of one endpoint lie together."""

    __slots__ = ("endpoints", "lots", "starts", "table", "total")

    def __init__(self, endpoints: Sequence[E]) -> None:
        self.endpoints = tuple(endpoints)
        lots: list[E] = []
        starts: list[int] = []
        for endpoint in endpoints:
            starts += [len(lots)] * endpoint.weight
            lots += [endpoint] * endpoint.weight
        self.lots = tuple(lots)
        self.starts = tuple(starts)
        self.total = len(lots)
        self.table: Table[E] | None = None  # for consistent hashing, built on first use


def choose_random(among: Lots[E], rng: Random) -> E:
    """One lot."""
    return among.lots[int(rng() * among.total)]


def choose_least_request(among: Lots[E], rng: Random) -> E:
    """The less busy of two different endpoints, drawn by weight and compared by requests under way
    per weight (Envoy: power of two choices). Equally busy ones are chosen by weight."""
    lots = among.lots
    total = among.total
    first = int(rng() * total)
    a = lots[first]
    weight = a.weight
    if weight == total:
        return a
    # The second from the lots of the others: the same one twice would be no choice.
    second = int(rng() * (total - weight))
    if second >= among.starts[first]:
        second += weight
    b = lots[second]
    return b if b.active * weight < a.active * b.weight else a


class RoundRobin:
    """Each endpoint in turn, from a random start, so that workers do not march in step.

    With weights: smooth (nginx's), the heavy ones more often but spread out, at a step an endpoint.
    """

    __slots__ = ("_started", "_turn")

    def __init__(self) -> None:
        self._turn = 0
        self._started = False

    def __call__(self, among: Lots[E], rng: Random) -> E:
        endpoints = among.endpoints
        count = len(endpoints)
        is_weighted = among.total != count
        if not self._started:
            self._started = True
            self._turn = int(rng() * count)
            if is_weighted:
                for _ in range(self._turn):
                    _take_smoothly(endpoints, among.total)
        if is_weighted:
            return _take_smoothly(endpoints, among.total)
        self._turn = turn = (self._turn + 1) % count
        return endpoints[turn]


def _take_smoothly(endpoints: Sequence[E], total: int) -> E:
    best = endpoints[0]
    for endpoint in endpoints:
        endpoint.current += endpoint.weight
        if endpoint.current > best.current:
            best = endpoint
    best.current -= total
    return best
