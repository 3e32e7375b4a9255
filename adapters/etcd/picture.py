"""What is known of the keys below a prefix, and the snapshot that it makes. Pure.

A layout (`istio`, `skydns`) says what a key means. Here stand the keys with their revisions and a
digest of their values: a key that is written again with the same value changes nothing, and one that
changes costs its own translation only.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Protocol

import msgspec
import xxhash

from egressd.api.resource import Problem
from egressd.registry.keyvalue import Entry
from egressd.registry.records import Record, Snapshot


class Layout(Protocol):
    """The meaning of keys. Records that do not change stay the very same objects."""

    def put(self, entry: Entry) -> None:
        """A key has this value now."""

    def delete(self, key: str) -> None:
        """A key that was put is gone."""

    def records(self) -> tuple[Record, ...]:
        """All records of values that can be read."""

    def failed_origins(self) -> frozenset[str]:
        """Origins of which a value cannot be read."""

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with values, each with its key as the place."""


class Version(msgspec.Struct, frozen=True):
    """A key's last write, and its value's digest."""

    revision: int
    digest: bytes


class Picture:
    """One owner's mutable picture of the keys at one revision of the store."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._keys: dict[str, Version] = {}

    def __len__(self) -> int:
        return len(self._keys)

    def put(self, entry: Entry) -> bool:
        """A key was listed or written; whether its value is another one than before."""
        digest = xxhash.xxh3_128_digest(entry.value)
        before = self._keys.get(entry.key)
        self._keys[entry.key] = Version(entry.revision, digest)
        if before is not None and before.digest == digest:
            return False
        self._layout.put(entry)
        return True

    def delete(self, key: str) -> bool:
        """A key is gone; whether it was there."""
        if self._keys.pop(key, None) is None:
            return False
        self._layout.delete(key)
        return True

    def keep(self, keys: Collection[str]) -> bool:
        """A whole list was read: others are gone. Whether there were others."""
        gone = self._keys.keys() - set(keys)
        for key in gone:
            self.delete(key)
        return bool(gone)

    def agrees(self, count: int, newest: Entry | None) -> bool:
        """Whether a store with so many keys, of which `newest` was written last, is the one that the
        picture is of, at the same revision: one that lost its state counts from anew and reaches the
        same revision with other keys, or with the same ones written in another order."""
        if newest is None:
            return not self._keys
        mine = self._keys.get(newest.key)
        last = max((version.revision for version in self._keys.values()), default=0)
        return (
            count == len(self._keys)
            and mine is not None
            and last == mine.revision == newest.revision
        )

    def snapshot(self, revision: int, *, doubt: str = "", is_reread: bool = False) -> Snapshot:
        """All that is known."""
        return Snapshot(
            records=self._layout.records(),
            source_version=str(revision),
            failed_origins=self._layout.failed_origins(),
            doubt=doubt,
            is_reread=is_reread,
        )

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the values."""
        return self._layout.problems()
