"""What the files of a source say together, each look as of one moment."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from time import time_ns

from adapters.static.content import SHORT, Read, Stamp, read_file, stamp_of
from adapters.static.listing import Listing, list_files
from egressd.api.resource import Problem, Resource
from egressd.registry.records import Record, Snapshot

_TRIES = 5
"""How often a tree that changes while it is read is read again."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look gave. `snapshot` None: nothing new."""

    snapshot: Snapshot | None
    problems: tuple[Problem, ...]
    missing: str  # why a part of the source could not be looked at, "" = all could


class Tree:
    """The files of a source between two looks."""

    def __init__(self, source: str, paths: Sequence[str], *, needs_checksum: bool = False) -> None:
        self._source = source
        self._paths = tuple(paths)
        self._needs_checksum = needs_checksum
        self._read: dict[str, Read] = {}
        self._via: dict[str, str] = {}
        self._first_seen: dict[str, int] = {}
        self._serial = count()
        self._said: tuple[object, ...] | None = None
        self.watch: Mapping[str, bool] = {}  # directories: `Listing.watch` of the last look

    def look(self, *, is_reread: bool = False) -> Look:
        """Read what changed. All files are as they stood at one moment: when something changed while
        they were read, as when the link to a whole tree is swapped, they are read again."""
        for _ in range(_TRIES):
            listing = list_files(self._paths)
            if not self._take(listing, afresh=is_reread) or self._is_still(listing):
                break
        self.watch = listing.watch
        problems = tuple(listing.problems) + tuple(
            problem for file in self._in_order() for problem in self._read[file].problems
        )
        snapshot, twice = self._snapshot(listing, is_reread=is_reread)
        missing = "; ".join(f"{path}: {why}" for path, why in listing.missing.items())
        said = (snapshot.source_version, snapshot.failed_origins, snapshot.doubt)
        if said == self._said and not is_reread:
            return Look(None, problems + twice, missing)
        self._said = said
        return Look(snapshot, problems + twice, missing)

    def _take(self, listing: Listing, *, afresh: bool) -> bool:
        """Bring what is known to a listing. Whether any file had to be read."""
        was_read = False
        for file, via in listing.files.items():
            stamp = stamp_of(file)
            before = self._read.get(file)
            if stamp is None:
                continue
            if before and before.stamp == stamp and not before.is_racy and not afresh:
                continue
            was_read = True
            self._read[file] = read_file(
                file,
                self._source,
                None if afresh else before,
                time_ns(),
                needs_checksum=self._needs_checksum,
            )
            self._via[file] = via
            if file not in self._first_seen:
                self._first_seen[file] = next(self._serial)
        for file in self._read.keys() - listing.files.keys():
            if not listing.keeps(file, self._via[file]):
                del self._read[file], self._via[file], self._first_seen[file]
        return was_read

    def _is_still(self, listing: Listing) -> bool:
        """Whether the files are still those that were read."""
        now = list_files(self._paths)
        return now.files == listing.files and all(
            self._stamp(file) == stamp_of(file) for file in now.files
        )

    def _stamp(self, file: str) -> Stamp | None:
        read = self._read.get(file)
        return None if read is None else read.stamp

    def _in_order(self) -> list[str]:
        return sorted(self._read, key=lambda file: (self._first_seen[file], file))

    def _snapshot(
        self, listing: Listing, *, is_reread: bool
    ) -> tuple[Snapshot, tuple[Problem, ...]]:
        records: dict[str, Record] = {}
        twice: list[Problem] = []
        refused = {file for file, read in self._read.items() if read.is_refused}
        for file in self._in_order():
            for record in () if file in refused else self._read[file].records:
                other = records.setdefault(record.resource.ref, record)
                if other is not record:
                    twice.append(_twice(record.resource, other.resource))
        doubt = ""
        if listing.missing and self._said is None:
            # Later what was read from it is kept; but what the registry has of it is not known here.
            doubt = f"{next(iter(listing.missing))} was not there at the start"
        snapshot = Snapshot(
            records=tuple(records.values()),
            source_version=self._checksum(),
            failed_origins=frozenset(refused | listing.missing.keys()),
            doubt=doubt,
            is_reread=is_reread,
        )
        return snapshot, tuple(twice)

    def _checksum(self) -> str:
        """Of all files, in the order in which they count."""
        digest = hashlib.sha256()
        for file in self._in_order():
            digest.update(f"{file}\0{self._read[file].digest}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:SHORT]


def _twice(second: Resource, first: Resource) -> Problem:
    return Problem(
        place=second.place,
        resource=second.ref,
        field="metadata.name",
        found=f"the same kind, namespace and name as in {first.place.file}:{first.place.line}",
        expected="one definition; the earlier file keeps it",
    )
