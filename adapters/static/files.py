"""What the files of a source say together, each look as of one moment."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from math import inf
from time import time_ns

from adapters.static.content import SHORT, Read, Stamp, read_file, stamp_of
from adapters.static.includes import Includes
from adapters.static.listing import Listing, list_files
from adapters.static.settling import NO_PATIENCE, Content, Doubt, Patience, doubt_of, read_in
from adapters.static.writers import Writers, Writing
from egressd.api.other_kinds import (
    NOTHING,
    OtherKinds,
    count_skipped,
    marked_kinds,
    skipped_words,
)
from egressd.api.resource import Place, Problem, Resource, Severity
from egressd.api.service_entry import ServiceEntry
from egressd.registry.records import Record, Snapshot

_TRIES = 5
"""How often a tree that changes while it is read is read again."""
_RESTLESS_S = 0.1
"""When to look again at one that never was still."""


@dataclass(frozen=True, slots=True)
class Look:
    """What one look gave. `snapshot` None: nothing new."""

    snapshot: Snapshot | None
    problems: tuple[Problem, ...]
    missing: str  # why a part of the source could not be looked at, "" = all could
    again_s: float = inf  # when to look again even if nothing is told


@dataclass(slots=True)
class _File:
    """One file between looks. Times are those of the looks."""

    via: str  # the include file that names it, or ""
    others: OtherKinds = NOTHING  # what is to be skipped of it
    stamp: Stamp | None = None  # as last seen,
    since: float = 0.0  # for the first time then
    real: str = ""  # where its path led when it was read
    read: Read | None = None
    gone_since: float | None = None
    whole: Read | None = None  # the last one that was not doubted


@dataclass(slots=True)
class _Circumstances:
    """Of one look: `now` in seconds of any one clock; `in_force` are the source's records that are."""

    now: float
    writers: Writers
    in_force: Iterable[Record]
    again_s: float = inf
    _known: dict[str, dict[str, int]] | None = None

    @property
    def known(self) -> Mapping[str, Mapping[str, int]]:
        """What is in force by origin: weights by ref. Only worked out for a look that needs it."""
        if self._known is None:
            self._known = _by_origin(self.in_force)
        return self._known

    def look_in(self, seconds: float) -> None:
        self.again_s = min(self.again_s, seconds)


@dataclass(slots=True)
class Tree:
    """The files of a source between two looks. With a `patience` a file that is being written is left
    alone, and one that suddenly holds much less is doubted."""

    source: str
    paths: Sequence[str]
    needs_checksum: bool = False
    patience: Patience = NO_PATIENCE
    others: OtherKinds = NOTHING  # kinds to skip everywhere; markers in directories name more
    watch: Mapping[str, bool] = field(default_factory=dict)  # `Listing.watch` of the last look
    _files: dict[str, _File] = field(default_factory=dict)
    _said: tuple[object, ...] | None = None
    _serial: count[int] = field(default_factory=count)
    _first_seen: dict[str, int] = field(default_factory=dict)
    _is_beyond_doubt: bool = False  # nothing was read since the last look, which doubted nothing
    _includes: Includes = field(init=False)

    def __post_init__(self) -> None:
        self._includes = Includes(self.patience)

    def look(
        self,
        *,
        is_reread: bool = False,
        now: float = 0.0,
        writers: Writers | None = None,
        known: Iterable[Record] = (),
    ) -> Look:
        """Read what changed. All files are as they stood at one moment: when something changed while
        they were read, as when the link to a whole tree is swapped, they are read again."""
        at = _Circumstances(now, writers or Writers(), known)
        for _ in range(_TRIES):
            at.again_s = inf
            at.writers.catch_up()
            listing = self._list(at)
            if not self._take(listing, at, afresh=is_reread) or self._is_still(listing, at):
                break
        else:
            at.look_in(_RESTLESS_S)
        self.watch = listing.watch
        snapshot, problems = self._snapshot(listing, at, is_reread=is_reread)
        missing = "; ".join(f"{path}: {why}" for path, why in listing.missing.items())
        said = (
            snapshot.source_version,
            snapshot.failed_origins,
            snapshot.doubt,
            dict(snapshot.suspects),
        )
        if said == self._said and not is_reread:
            return Look(None, problems, missing, at.again_s)
        self._said = said
        return Look(snapshot, problems, missing, at.again_s)

    # -- reading -----------------------------------------------------------------------------

    def _take(self, listing: Listing, at: _Circumstances, *, afresh: bool) -> bool:
        """Bring what is known to a listing. Whether any file had to be read."""
        was_read = False
        marked: dict[str, OtherKinds] = {}
        for path, via in listing.files.items():
            file = self._files.get(path)
            if file is None:
                file = self._files[path] = _File(via)
            stamp = stamp_of(path)
            if stamp is None:
                continue
            if stamp != file.stamp:
                file.stamp, file.since = stamp, at.now
            file.via, file.gone_since = via, None
            before = file.read
            file.others = self.others.plus(marked_kinds(os.path.dirname(path), marked))
            is_known = before and (before.stamp, before.others) == (stamp, file.others)
            if before and is_known and not before.is_racy and not afresh:
                continue
            wait = self._wait(path, file, stamp, at)
            if wait > 0:
                at.look_in(wait)
                continue
            was_read |= self._read_one(path, file, at, afresh=afresh)
        for path in self._files.keys() - listing.files.keys():
            if not listing.keeps(path, self._files[path].via):
                self._miss(path, at)
        return was_read

    def _read_one(self, path: str, file: _File, at: _Circumstances, *, afresh: bool) -> bool:
        """Read a file. False: a writer has begun meanwhile, and what was read is no whole."""
        real = os.path.realpath(path)
        was_open = at.writers.of_path(real) is Writing.OPEN
        read = read_file(
            path,
            self.source,
            None if afresh else file.read,
            time_ns(),
            needs_checksum=self.needs_checksum,
            others=file.others,
        )
        at.writers.catch_up()
        if not was_open and at.writers.of_path(real) is Writing.OPEN:
            at.look_in(self.patience.still_s)
            return False
        file.real, file.read = real, read
        self._is_beyond_doubt = False
        self._first_seen.setdefault(path, next(self._serial))
        return True

    def _wait(self, path: str, file: _File, stamp: Stamp, at: _Circumstances) -> float:
        """Seconds until a file is read; 0 = now."""
        before = file.read
        if before is not None and before.stamp == stamp:
            return 0.0
        real = os.path.realpath(path)
        if before is not None and real != file.real:
            return 0.0  # a link was swapped: what it leads to now was finished before
        still_s = at.now - file.since
        if before is None:
            if self._said is None and path not in at.known:
                return 0.0  # at the start, and nothing can be lost
            age_s = (time_ns() - stamp[0]) / 1e9
            still_s = max(still_s, age_s)
        return read_in(at.writers.of_path(real), still_s, self.patience)

    def _miss(self, path: str, at: _Circumstances) -> None:
        """A file that is not there any more: editors and git take it away for a moment."""
        file = self._files[path]
        if file.gone_since is None:
            file.gone_since = at.now
        left = file.gone_since + self.patience.gone_s - at.now
        if left > 0:
            at.look_in(left)
            return
        del self._files[path]
        self._first_seen.pop(path, None)

    def _list(self, at: _Circumstances) -> Listing:
        return list_files(
            self.paths,
            lambda path: self._includes.text(path, at.now, at.writers, at.look_in),
        )

    def _is_still(self, listing: Listing, at: _Circumstances) -> bool:
        """Whether the files are still those that were looked at."""
        now = self._list(at)
        return now.files == listing.files and all(
            self._files[path].stamp == stamp_of(path) for path in now.files
        )

    def skipped(self) -> str:
        """The kinds that were skipped, with their numbers; "" = none."""
        return skipped_words(count_skipped(read.skipped for _, read in self._read()))

    # -- saying ------------------------------------------------------------------------------

    def _read(self) -> list[tuple[str, Read]]:
        """What was read, in the order in which it counts."""
        found = [(path, file.read) for path, file in self._files.items() if file.read is not None]
        return sorted(found, key=lambda pair: (self._first_seen[pair[0]], pair[0]))

    def _snapshot(
        self, listing: Listing, at: _Circumstances, *, is_reread: bool
    ) -> tuple[Snapshot, tuple[Problem, ...]]:
        records: dict[str, Record] = {}
        problems = [*listing.problems]
        twice: list[Problem] = []
        unread = {path for path, file in self._files.items() if file.read is None}
        refused = set()
        for path, read in self._read():
            problems += read.problems
            if read.is_refused:
                refused.add(path)
                continue
            for record in read.records:
                other = records.setdefault(record.resource.ref, record)
                if other is not record:
                    twice.append(_twice(record.resource, other.resource))
        doubts = self._doubts(records, at)
        doubt = ""
        if listing.missing and self._said is None:
            # Later what was read from it is kept; but what the registry has of it is not known here.
            doubt = f"{next(iter(listing.missing))} was not there at the start"
        snapshot = Snapshot(
            records=tuple(records.values()),
            source_version=self._checksum(),
            failed_origins=frozenset(refused | unread | listing.missing.keys()),
            is_failing=bool(listing.missing),
            doubt=doubt,
            is_reread=is_reread,
            suspects={path: f"{path}: {why.reason}" for path, why in doubts.items()},
        )
        problems += twice
        problems += (_doubted(path, why, self.patience) for path, why in doubts.items())
        return snapshot, tuple(problems)

    def _doubts(self, records: Mapping[str, Record], at: _Circumstances) -> dict[str, Doubt]:
        """The files that may be half of what is meant."""
        if not self.patience.again_s or self._is_beyond_doubt:
            return {}
        doubts: dict[str, Doubt] = {}
        origins = {ref: record.origin for ref, record in records.items()}
        for path, read in self._read():
            file, before = self._files[path], at.known.get(path)
            if before is None or read.is_sealed or read.is_refused:
                continue
            doubt = self._doubt(file, read, before, origins, at)
            left = file.since + self.patience.again_s - at.now
            if doubt is None or (left <= 0 and not doubt.is_lasting):
                file.whole = read
                continue
            doubts[path] = doubt
            if not doubt.is_lasting:
                at.look_in(left)
        self._is_beyond_doubt = not doubts
        return doubts

    def _doubt(
        self,
        file: _File,
        read: Read,
        before: Mapping[str, int],
        origins: Mapping[str, str],
        at: _Circumstances,
    ) -> Doubt | None:
        whole = file.whole or read
        stated = _weights(read.records)
        if stated.keys() == before.keys() and stated == before:
            return None
        return doubt_of(
            Content(before, sum(before.values()), whole.size, whole.is_ended),
            Content(stated, sum(stated.values()), read.size, read.is_ended),
            origins,
            at.writers.of_path(file.real),
            is_blank=read.is_blank,
        )

    def _checksum(self) -> str:
        """Of all files, in the order in which they count."""
        digest = hashlib.sha256()
        for path, read in self._read():
            digest.update(f"{path}\0{read.digest}\n".encode("utf-8", "surrogateescape"))
        return digest.hexdigest()[:SHORT]


def _by_origin(known: Iterable[Record]) -> dict[str, dict[str, int]]:
    found: dict[str, dict[str, int]] = {}
    for record in known:
        found.setdefault(record.origin, {})[record.resource.ref] = _weight(record)
    return found


def _weights(records: Iterable[Record]) -> dict[str, int]:
    return {record.resource.ref: _weight(record) for record in records}


def _weight(record: Record) -> int:
    spec = record.resource.spec
    return max(1, len(spec.endpoints)) if isinstance(spec, ServiceEntry) else 1


def _doubted(path: str, doubt: Doubt, patience: Patience) -> Problem:
    until = (
        "it is closed, longer" if doubt.is_lasting else f"{patience.again_s:g} s without a change"
    )
    return Problem(
        severity=Severity.WARNING,
        place=Place(path),
        found=doubt.reason,
        expected=f"what it held before, which stands until {until} or confirmed by an operator",
    )


def _twice(second: Resource, first: Resource) -> Problem:
    return Problem(
        place=second.place,
        resource=second.ref,
        field="metadata.name",
        found=f"the same kind, namespace and name as in {first.place.file}:{first.place.line}",
        expected="one definition; the earlier file keeps it",
    )
