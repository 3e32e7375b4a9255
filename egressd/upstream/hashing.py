"""Consistent hashing: ring hash and Maglev, as Envoy builds them. Pure.

Both give a key the same endpoint on every worker and after a restart (xxHash64 of names, no state),
and move few keys when an endpoint comes or goes. Source: Istio `ConsistentHashLB`, Envoy
`RingHashLoadBalancer` and `MaglevLoadBalancer`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Sequence
from math import ceil
from typing import Generic, Protocol, TypeVar

import xxhash

hash64 = xxhash.xxh64_intdigest
"""xxHash64 with seed 0 of bytes."""

MAX_RING_SIZE = 8 * 1024 * 1024
DEFAULT_MIN_RING_SIZE = 1024
DEFAULT_TABLE_SIZE = 65537


class Hashed(Protocol):
    """What a table holds."""

    id: str
    weight: int


E = TypeVar("E", bound=Hashed)


class Ring(Generic[E]):
    """Ring hash: each endpoint at many points of a circle, a key belongs to the next one.

    `everyone` are the endpoints that the ring would have with all of them healthy: they decide how
    many points each has, so that an ejection moves the keys of the ejected one only.
    """

    __slots__ = ("_hashes", "_owners")

    def __init__(
        self,
        endpoints: Sequence[E],
        minimum_size: int = DEFAULT_MIN_RING_SIZE,
        everyone: Sequence[E] | None = None,
    ) -> None:
        weights = [endpoint.weight for endpoint in everyone or endpoints]
        total = sum(weights)
        smallest = min(weights) / total
        # Envoy: enough points that the lightest endpoint has a whole one for each it is owed.
        scale = min(ceil(smallest * minimum_size) / smallest, MAX_RING_SIZE)
        points: list[tuple[int, int]] = []
        for at, endpoint in enumerate(endpoints):
            count = ceil(scale * endpoint.weight / total)
            points += [(hash64(f"{endpoint.id}_{number}"), at) for number in range(count)]
        points.sort()
        self._hashes = [point for point, _ in points]
        self._owners = [endpoints[at] for _, at in points]

    def choose(self, key: int, avoid: Collection[object] = ()) -> E:
        """The owner of a key; with `avoid`, the next one on the circle that is not in it."""
        owners = self._owners
        start = bisect_left(self._hashes, key)
        if start == len(owners):
            start = 0
        if not avoid:
            return owners[start]
        for step in range(len(owners)):
            owner = owners[(start + step) % len(owners)]
            if owner not in avoid:
                return owner
        return owners[start]

    def __len__(self) -> int:
        return len(self._owners)


class Maglev(Generic[E]):
    """Maglev: a table of prime size, filled by each endpoint's own permutation in turn."""

    __slots__ = ("_size", "_table")

    def __init__(self, endpoints: Sequence[E], size: int = DEFAULT_TABLE_SIZE) -> None:
        self._size = size
        self._table = _fill(endpoints, size)

    def choose(self, key: int, avoid: Collection[object] = ()) -> E:
        """The owner of a key; with `avoid`, that of the next slot that is not in it."""
        table, size = self._table, self._size
        slot = key % size
        if not avoid:
            return table[slot]
        for step in range(size):
            owner = table[(slot + step) % size]
            if owner not in avoid:
                return owner
        return table[slot]


def _fill(endpoints: Sequence[E], size: int) -> list[E]:
    offsets = [hash64(endpoint.id) % size for endpoint in endpoints]
    skips = [xxhash.xxh64_intdigest(e.id, 1) % (size - 1) + 1 for e in endpoints]
    heaviest = max(endpoint.weight for endpoint in endpoints)
    owed = [0] * len(endpoints)
    table: list[E | None] = [None] * size
    filled = turn = 0
    while filled < size:
        turn += 1
        for at, endpoint in enumerate(endpoints):
            if filled == size:
                break
            if turn * endpoint.weight < owed[at]:
                continue  # a light endpoint takes part in some of the turns only
            owed[at] += heaviest
            slot = offsets[at]
            while table[slot] is not None:
                slot = (slot + skips[at]) % size
            table[slot] = endpoint
            offsets[at] = (slot + skips[at]) % size
            filled += 1
    return [owner for owner in table if owner is not None]


def build_table(
    kind: str, size: int, endpoints: Sequence[E], everyone: Sequence[E]
) -> Ring[E] | Maglev[E]:
    """The table of one kind ("ring", "maglev") over the endpoints that may be chosen."""
    return Maglev(endpoints, size) if kind == "maglev" else Ring(endpoints, size, everyone)
