"""What one file holds: read when it may have changed, parsed when its bytes did."""

from __future__ import annotations

import hashlib
import os
import stat
from dataclasses import dataclass, replace

from egressd.api.other_kinds import NOTHING, OtherKinds
from egressd.api.parse import parse_text
from egressd.api.resource import Place, Problem, Severity
from egressd.registry.records import Record

CHECKSUM_ENDING = ".sha256"
SHORT = 12
"""Digits of a checksum that are shown."""
_RACY_NS = 100_000_000
"""A file read this soon after its last change may change again without a new time: clocks of file
systems tick every few milliseconds."""
Stamp = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Read:
    """One file as last read. `digest` is the SHA-256 of its bytes in hexadecimal, "" = unreadable.
    `is_sealed`: the checksum beside it says that it is whole."""

    stamp: Stamp
    digest: str = ""
    records: tuple[Record, ...] = ()
    problems: tuple[Problem, ...] = ()
    is_racy: bool = False
    size: int = 0  # bytes
    is_ended: bool = True  # its last line has an end
    is_blank: bool = False  # nothing but white space
    is_sealed: bool = False
    others: OtherKinds = NOTHING  # what was to be skipped,
    skipped: tuple[str, ...] = ()  # and the kinds that were

    @property
    def is_refused(self) -> bool:
        """A file with any error is refused as a whole: half of an intention is none."""
        return any(problem.severity is Severity.ERROR for problem in self.problems)


def stamp_of(file: str) -> Stamp | None:
    """What changes with a file or with the checksum beside it, without reading it; None: it is gone."""
    try:
        return _stamp(os.stat(file)) + _checksum_stamp(file)
    except OSError:
        return None


def read_file(
    file: str,
    source: str,
    before: Read | None,
    now_ns: int,
    *,
    needs_checksum: bool,
    others: OtherKinds = NOTHING,
) -> Read:
    """The file as it is now; with bytes that are the same, what was made of them before."""
    try:
        with open(file, "rb", opener=_without_waiting) as stream:
            found = os.fstat(stream.fileno())
            if not stat.S_ISREG(found.st_mode):
                raise OSError("a pipe, socket or device")
            data = stream.read()
    except OSError as error:
        problem = _problem(file, str(error), "a readable file")
        return Read(stamp_of(file) or (), problems=(problem,), others=others)
    stamp = _stamp(found) + _checksum_stamp(file)
    digest = hashlib.sha256(data).hexdigest()
    is_racy = now_ns - found.st_ctime_ns < _RACY_NS
    refusal = _refusal(file, digest, needs_checksum=needs_checksum)
    is_sealed = refusal is None and os.path.exists(file + CHECKSUM_ENDING)
    if refusal is not None:
        return Read(stamp, digest, problems=(refusal,), is_racy=is_racy, others=others)
    was_checked = before is not None and not any(
        problem.field == CHECKSUM_ENDING for problem in before.problems
    )
    is_same = before is not None and (before.digest, before.others) == (digest, others)
    if before is not None and is_same and was_checked:
        return replace(before, stamp=stamp, is_racy=is_racy, is_sealed=is_sealed)
    try:
        parsed = parse_text(data.decode(), file, others)
    except UnicodeDecodeError as error:
        problem = _problem(file, str(error), "UTF-8")
        return Read(stamp, digest, problems=(problem,), is_racy=is_racy, others=others)
    records = tuple(
        Record(resource=resource, source=source, origin=file, source_version=digest[:SHORT])
        for resource in parsed.resources
    )
    return Read(
        stamp,
        digest,
        records,
        parsed.problems,
        is_racy,
        size=len(data),
        is_ended=not data or data.endswith(b"\n"),
        is_blank=not data.strip(),
        is_sealed=is_sealed,
        others=others,
        skipped=parsed.skipped,
    )


def _without_waiting(path: str, flags: int) -> int:
    """Opening a pipe waits for somebody to write, for ever."""
    return os.open(path, flags | os.O_NONBLOCK)


def _refusal(file: str, digest: str, *, needs_checksum: bool) -> Problem | None:
    """Why the checksum beside a file (as `sha256sum` writes it) forbids to take it."""
    try:
        with open(file + CHECKSUM_ENDING, encoding="ascii", errors="replace") as stream:
            words = stream.read().split()
    except FileNotFoundError:
        if not needs_checksum:
            return None
        words = []
    except OSError as error:
        return _problem(file, str(error), "a readable checksum", CHECKSUM_ENDING)
    if words[:1] == [digest]:
        return None
    found = f"bytes with SHA-256 {digest[:SHORT]}"
    wanted = words[0][:SHORT] if words else "a checksum"
    return _problem(file, found, f"{wanted} by {file}{CHECKSUM_ENDING}", CHECKSUM_ENDING)


def _problem(file: str, found: str, expected: str, field: str = "") -> Problem:
    return Problem(place=Place(file), field=field, found=found, expected=expected)


def _stamp(found: os.stat_result) -> Stamp:
    return found.st_ctime_ns, found.st_mtime_ns, found.st_ino, found.st_size


def _checksum_stamp(file: str) -> Stamp:
    try:
        return _stamp(os.stat(file + CHECKSUM_ENDING))
    except OSError:
        return ()
