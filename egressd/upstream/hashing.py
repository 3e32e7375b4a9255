"""Consistent hashing: ring hash and Maglev, as Envoy builds them. Pure.

Both give a key the same endpoint on every worker and after a restart (xxHash64 of names, no state),
and move few keys when an endpoint comes or goes. Source: Istio `ConsistentHashLB`, Envoy
`RingHashLoadBalancer` and `MaglevLoadBalancer`.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Collection, Hashable, Sequence
from itertools import chain
from math import ceil
from typing import Generic, Protocol, TypeVar

import xxhash

hash64 = xxhash.xxh64_intdigest
"""xxHash64 with seed 0 of bytes."""

MAX_RING_SIZE = 8 * 1024 * 1024
DEFAULT_MIN_RING_SIZE = 1024
DEFAULT_TABLE_SIZE = 65537
_STEPS = 4_000
_BUCKET = 128  # points that are sorted at a time, about
_NO_LIMIT = 1 << 62


class Hashed(Hashable, Protocol):
    """What a table holds."""

    id: str
    weight: int


E = TypeVar("E", bound=Hashed)


class Points(Generic[E]):
    """The points of a ring: each endpoint at many places of a circle, the lightest at a whole number of
    them for each that it is owed (Envoy). Sorted by parts, so that the work can be cut anywhere."""

    __slots__ = (
        "_at",
        "_buckets",
        "_counts",
        "_number",
        "_shift",
        "_sorted",
        "endpoints",
        "hashes",
        "owners",
        "size",
        "weights",
    )

    def __init__(self, endpoints: Sequence[E], size: int = DEFAULT_MIN_RING_SIZE) -> None:
        self.endpoints = tuple(endpoints)
        self.weights = tuple(one.weight for one in endpoints)
        self.size = size  # points at least
        self.hashes: list[int] = []
        self.owners: list[int] = []  # places in `endpoints`
        total = sum(self.weights)
        smallest = min(self.weights) / total
        scale = min(ceil(smallest * size) / smallest, MAX_RING_SIZE)
        self._counts = [ceil(scale * weight / total) for weight in self.weights]
        bits = (sum(self._counts) // _BUCKET).bit_length()
        self._shift = 64 - bits  # hashes of one bucket begin with the same bits
        self._buckets: list[list[tuple[int, int]]] = [[] for _ in range(1 << bits)]
        self._at = 0  # the endpoint whose points are made, and how many of them there are
        self._number = 0
        self._sorted = 0  # buckets done

    def is_of(self, endpoints: tuple[E, ...]) -> bool:
        """Whether these are the endpoints, with the weights that they have now."""
        return self.endpoints == endpoints and self.weights == tuple(e.weight for e in endpoints)

    def fill(self, steps: int | None = None) -> bool:
        """Go on, a bounded number of steps (a tenth of a microsecond each, about). Returns whether the
        ring is whole."""
        left = self._hash(steps if steps is not None else _NO_LIMIT)
        buckets = self._buckets
        while left > 0 and self._sorted < len(buckets):
            bucket = sorted(buckets[self._sorted])
            buckets[self._sorted] = []
            self.hashes += [point for point, _ in bucket]
            self.owners += [at for _, at in bucket]
            self._sorted += 1
            left -= 4 * len(bucket) + 4
        return self._sorted == len(buckets)

    def _hash(self, left: int) -> int:
        """Make points, a bounded number of steps; how many are left of them."""
        buckets, shift = self._buckets, self._shift
        while left > 0 and self._at < len(self.endpoints):
            at, name = self._at, self.endpoints[self._at].id
            until = min(self._counts[at], self._number + max(1, left // 8))
            left -= 8 * (until - self._number)
            for number in range(self._number, until):
                point = hash64(f"{name}_{number}")
                buckets[point >> shift].append((point, at))
            self._number = until
            if until == self._counts[at]:
                self._at, self._number = at + 1, 0
        return left


class Ring(Generic[E]):
    """Ring hash: a key belongs to the next point of one of `endpoints` on the circle.

    The circle is that of `everyone`, all endpoints healthy: an endpoint that may not be chosen now gives
    its keys, and no others, to the next ones, and gets them back.
    """

    __slots__ = ("_chosen", "_is_whole", "_points")

    def __init__(
        self,
        endpoints: Sequence[E],
        minimum_size: int = DEFAULT_MIN_RING_SIZE,
        everyone: Sequence[E] | None = None,
        points: Points[E] | None = None,
    ) -> None:
        if points is None:
            points = Points(everyone or endpoints, minimum_size)
            points.fill()
        self._points = points
        self._chosen = frozenset(endpoints)
        self._is_whole = self._chosen.issuperset(points.endpoints)

    def choose(self, key: int, avoid: Collection[object] = ()) -> E:
        """The owner of a key; with `avoid`, the next one on the circle that is not in it."""
        points = self._points
        owners, endpoints, size = points.owners, points.endpoints, len(points.owners)
        start = bisect_left(points.hashes, key)
        if self._is_whole and not avoid:
            return endpoints[owners[start if start < size else 0]]
        wanted = (avoid and self._chosen.difference(avoid)) or self._chosen
        for point in chain(range(start, size), range(start)):
            owner = endpoints[owners[point]]
            if owner in wanted:
                return owner
        raise LookupError("no endpoint that may be chosen has a point")

    def __len__(self) -> int:
        return len(self._points.owners)


class Slots(Generic[E]):
    """Maglev's slots, a prime number of them, filled by each endpoint's own permutation in turn."""

    __slots__ = (
        "_at",
        "_free",
        "_offsets",
        "_owed",
        "_skips",
        "_turn",
        "endpoints",
        "owners",
        "size",
        "weights",
    )

    def __init__(self, endpoints: Sequence[E], size: int = DEFAULT_TABLE_SIZE) -> None:
        self.endpoints = tuple(endpoints)
        self.weights = tuple(one.weight for one in endpoints)
        self.size = size
        self.owners: list[int] = [-1] * size  # places in `endpoints`
        self._offsets = [hash64(one.id) % size for one in endpoints]
        self._skips = [xxhash.xxh64_intdigest(one.id, 1) % (size - 1) + 1 for one in endpoints]
        self._owed = [0] * len(endpoints)
        self._free = size
        self._turn = 1
        self._at = 0

    def is_of(self, endpoints: tuple[E, ...]) -> bool:
        """Whether these are the endpoints, with the weights that they have now."""
        return self.endpoints == endpoints and self.weights == tuple(e.weight for e in endpoints)

    def fill(self, steps: int | None = None) -> bool:
        """Go on filling, a bounded number of steps (a tenth of a microsecond each, about). Returns
        whether all slots have an owner."""
        left = steps if steps is not None else _NO_LIMIT
        weights = self.weights
        heaviest = max(weights)
        owners, offsets, size = self.owners, self._offsets, self.size
        while self._free and left > 0:
            at = self._at
            # A light endpoint takes part in some of the turns only.
            if self._turn * weights[at] >= self._owed[at]:
                self._owed[at] += heaviest
                slot, skip = offsets[at], self._skips[at]
                while owners[slot] >= 0:
                    slot = (slot + skip) % size
                    left -= 1
                owners[slot] = at
                offsets[at] = (slot + skip) % size
                self._free -= 1
            left -= 4
            self._at = at + 1
            if self._at == len(weights):
                self._at = 0
                self._turn += 1
        return not self._free


class Maglev(Generic[E]):
    """The owners of keys among `endpoints`, by slots that may have more: an endpoint that may not be
    chosen now gives its keys to the next slot's, and gets them back."""

    __slots__ = ("_chosen", "_slots")

    def __init__(self, slots: Slots[E], endpoints: Sequence[E]) -> None:
        self._slots = slots
        self._chosen = frozenset(endpoints)

    def choose(self, key: int, avoid: Collection[object] = ()) -> E:
        """The owner of a key; with `avoid`, that of the next slot that is not in it."""
        slots = self._slots
        wanted = (avoid and self._chosen.difference(avoid)) or self._chosen
        owners, endpoints, size = slots.owners, slots.endpoints, slots.size
        for slot in chain(range(key % size, size), range(key % size)):
            owner = endpoints[owners[slot]]
            if owner in wanted:
                return owner
        raise LookupError("no endpoint that may be chosen has a slot")


class HashTables(Generic[E]):
    """The tables of one cluster while its endpoints come and go. A large ring or Maglev table for new
    endpoints is filled bit by bit, at most `_STEPS` at a choice; those that were there before serve
    meanwhile. An endpoint that is ejected or comes back changes nothing that has to be filled."""

    __slots__ = ("_next", "_parts")

    def __init__(self) -> None:
        self._parts: Points[E] | Slots[E] | None = None
        self._next: Points[E] | Slots[E] | None = None

    @property
    def is_filling(self) -> bool:
        return self._next is not None

    def table(
        self, kind: str, size: int, endpoints: Sequence[E], everyone: Sequence[E]
    ) -> Ring[E] | Maglev[E]:
        """The table over `endpoints`, those of `everyone` that may be chosen."""
        parts = self._current(kind, size, tuple(everyone))
        left = endpoints if self._next is None else _both(endpoints, parts)
        if not left:
            assert self._next is not None
            self._next.fill()
            return self.table(kind, size, endpoints, everyone)
        return Maglev(parts, left) if isinstance(parts, Slots) else Ring(left, points=parts)

    def _current(self, kind: str, size: int, everyone: tuple[E, ...]) -> Points[E] | Slots[E]:
        make = Slots[E] if kind == "maglev" else Points[E]
        parts, coming = self._parts, self._next
        if parts is None or parts.size != size or isinstance(parts, Slots) != (kind == "maglev"):
            parts, coming = make(everyone, size), None
            parts.fill()
        elif parts.is_of(everyone):
            coming = None
        else:
            if coming is None or not coming.is_of(everyone):
                coming = make(everyone, size)
            if coming.fill(_STEPS):
                parts, coming = coming, None
        self._parts, self._next = parts, coming
        return parts


def _both(endpoints: Sequence[E], parts: Points[E] | Slots[E]) -> list[E]:
    there = frozenset(parts.endpoints)
    return [endpoint for endpoint in endpoints if endpoint in there]


def build_table(
    kind: str, size: int, endpoints: Sequence[E], everyone: Sequence[E]
) -> Ring[E] | Maglev[E]:
    """The table of one kind ("ring", "maglev") over the endpoints that may be chosen."""
    return HashTables[E]().table(kind, size, endpoints, everyone)
