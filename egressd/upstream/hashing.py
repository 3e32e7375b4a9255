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
_NO_LIMIT = 1 << 62


class Hashed(Hashable, Protocol):
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
    """The tables of one cluster while its endpoints come and go. A large Maglev table for new endpoints
    is filled bit by bit, at most `_STEPS` at a choice; those that were there before serve meanwhile."""

    __slots__ = ("_next", "_slots")

    def __init__(self) -> None:
        self._slots: Slots[E] | None = None
        self._next: Slots[E] | None = None

    @property
    def is_filling(self) -> bool:
        return self._next is not None

    def table(
        self, kind: str, size: int, endpoints: Sequence[E], everyone: Sequence[E]
    ) -> Ring[E] | Maglev[E]:
        """The table over `endpoints`, those of `everyone` that may be chosen."""
        if kind != "maglev":
            return Ring(endpoints, size, everyone)
        slots = self._current(size, tuple(everyone))
        left = endpoints if self._next is None else _both(endpoints, slots)
        if not left:
            assert self._next is not None
            self._next.fill()
            return self.table(kind, size, endpoints, everyone)
        return Maglev(slots, left)

    def _current(self, size: int, everyone: tuple[E, ...]) -> Slots[E]:
        slots, coming = self._slots, self._next
        if slots is None or slots.size != size:
            slots, coming = Slots(everyone, size), None
            slots.fill()
        elif slots.is_of(everyone):
            coming = None
        else:
            if coming is None or not coming.is_of(everyone):
                coming = Slots(everyone, size)
            if coming.fill(_STEPS):
                slots, coming = coming, None
        self._slots, self._next = slots, coming
        return slots


def _both(endpoints: Sequence[E], slots: Slots[E]) -> list[E]:
    there = frozenset(slots.endpoints)
    return [endpoint for endpoint in endpoints if endpoint in there]


def build_table(
    kind: str, size: int, endpoints: Sequence[E], everyone: Sequence[E]
) -> Ring[E] | Maglev[E]:
    """The table of one kind ("ring", "maglev") over the endpoints that may be chosen."""
    return HashTables[E]().table(kind, size, endpoints, everyone)
