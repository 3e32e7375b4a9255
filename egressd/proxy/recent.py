"""A bounded table of what clients asked for: entries that were not asked for lately go first.

Two generations: what is found in the older one moves to the newer one. A hit costs one look into a
dict; an insertion beyond the bound takes one entry out, so that no single request pays for many.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class RecentTable(Generic[K, V]):
    """At most `most` entries."""

    __slots__ = ("_most", "_older", "newer")

    def __init__(self, most: int) -> None:
        self._most = most
        self.newer: dict[K, V] = {}
        """For those who look here first and call `get` when it is not there."""
        self._older: dict[K, V] = {}

    def __len__(self) -> int:
        return len(self.newer) + len(self._older)

    def get(self, key: K) -> V | None:
        """The entry, which counts as asked for."""
        found = self.newer.get(key)
        if found is None and key in self._older:
            found = self.newer[key] = self._older.pop(key)
        return found

    def put(self, key: K, value: V) -> None:
        """Keep an entry, in the place of one that was not asked for lately."""
        self._older.pop(key, None)
        self.newer[key] = value
        if 2 * len(self.newer) > self._most:
            self._older.update(self.newer)
            self.newer = {}
        if len(self) > self._most:
            del self._older[next(iter(self._older))]

    def pop(self, key: K) -> None:
        """Forget an entry."""
        self.newer.pop(key, None)
        self._older.pop(key, None)

    def items(self) -> Iterator[tuple[K, V]]:
        """All entries; the table must not change meanwhile."""
        yield from self._older.items()
        yield from self.newer.items()

    def clear(self) -> None:
        """Forget everything."""
        self.newer.clear()
        self._older.clear()
