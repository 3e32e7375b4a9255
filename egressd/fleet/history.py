"""What each version replaced, and the way back. Pure.

An entry holds the texts before, not after: the set of an earlier version is the present one with the
entries since then undone. Entries are compressed JSON, so that one is never larger than the change.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence

import msgspec

from egressd.fleet.change import Action, Change
from egressd.fleet.errors import FleetError
from egressd.fleet.resource_set import Version
from egressd.registry.keyvalue import Entry

KEPT_VERSIONS = 100
_MAX_BYTES = 64 * 1024 * 1024


class Replaced(msgspec.Struct, frozen=True):
    """One resource of a change and its text before; "" = it was not there."""

    ref: str
    action: Action
    before: str


class HistoryEntry(msgspec.Struct, frozen=True):
    """One version: what it replaced, who made it, when (seconds since the epoch), why."""

    version: int
    at: float
    author: str
    message: str
    replaced: tuple[Replaced, ...]


def entry_of(version: Version, message: str, changes: Iterable[Change]) -> bytes:
    """A version's entry as it is stored."""
    replaced = tuple(Replaced(change.ref, change.action, change.before) for change in changes)
    entry = HistoryEntry(version.version, version.at, version.author, message, replaced)
    return zlib.compress(msgspec.json.encode(entry))


def read_history(entries: Iterable[Entry]) -> tuple[HistoryEntry, ...]:
    """Stored entries, the newest first. Raises `FleetError` for one that is none."""
    return tuple(sorted(map(_read, entries), key=lambda entry: -entry.version))


def texts_of(version: int, now: int, history: Sequence[HistoryEntry]) -> dict[str, str]:
    """The texts that those resources had at a version which have been changed since; "" = it was not
    there. `now` is the version of the set. Raises `FleetError`."""
    if version > now or version < 0:
        raise FleetError(f"version {version}: found none such, the newest is {now}")
    known = {entry.version: entry for entry in history}
    texts: dict[str, str] = {}
    for one in range(now, version, -1):
        if one not in known:
            oldest = min((v for v in known if v > one), default=now + 1) - 1
            raise FleetError(
                f"version {version}: no longer in the history, the oldest to go back to is {oldest}"
            )
        texts.update((replaced.ref, replaced.before) for replaced in known[one].replaced)
    return texts


def _read(entry: Entry) -> HistoryEntry:
    try:
        plain = zlib.decompressobj().decompress(entry.value, _MAX_BYTES)
        return msgspec.json.decode(plain, type=HistoryEntry)
    except (zlib.error, msgspec.DecodeError) as error:
        raise FleetError(f"{entry.key}: found {error}, expected a history entry") from None
