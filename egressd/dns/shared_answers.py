"""What the processes of a node know of names, in memory that all of them share.

One memfd, made once by whoever starts the processes; it outlives any of them. Each process has a region
of its own, which it alone writes, so that there are no locks and nobody ever waits: not for a process
that is stopped, not for one that died half-way. A region:

    head      generation, length, checksum of both
    2 banks   entries, one behind the other; the generation's parity says which bank is in force

An entry is its length, its checksum, and one answer in MessagePack. A process appends its answer to the
bank, then writes the head. When the bank is full it writes what it knows, the latest first in line, into
the other bank, and turns the generation. A reader that is overtaken by that finds a checksum that does
not fit, and reads again at the next notice.

Times in memory are seconds of CLOCK_MONOTONIC, which all processes share.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Callable, Iterator
from time import monotonic
from zlib import crc32

import msgspec

from egressd.dns.held import Held, Part
from egressd.dns.watch import Question, Told

REGIONS = 128
_REGION = 4 << 20  # sparse: what is not written takes no memory
_BANK_AT = 4096
_BANK = (_REGION - _BANK_AT) // 2
_MOST_ENTRY = 32 << 10
_MOST_KNOWN = 8192
_HEAD = struct.Struct("<QQI")
_ENTRY = struct.Struct("<II")
_CLOCK = struct.Struct("<QQ")


class _Note(msgspec.Struct, array_like=True, frozen=True):
    name: str
    kinds: tuple[str, ...]
    parts: tuple[Part | None, ...]
    failures: int
    error: str
    refresh_at: float
    gone_since: float
    heard_at: float
    told_at: float


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(_Note).decode


def create() -> int:
    """A new memfd for `SharedAnswers`."""
    fd = os.memfd_create("egressd-names", 0)
    os.ftruncate(fd, REGIONS * _REGION)
    return fd


class SharedAnswers:
    """The view of the process that has region `index` of the first `regions`. `notify` lets the others
    know that there is something new; `now` is the watch's clock, whose second 0 was at `epoch_s` of
    CLOCK_MONOTONIC."""

    def __init__(
        self,
        fd: int,
        index: int,
        regions: int,
        notify: Callable[[], None] = lambda: None,
        now: Callable[[], float] = monotonic,
        epoch_s: float = 0.0,
    ) -> None:
        self._fd = fd
        self._index = index
        self._others = [at for at in range(min(regions, REGIONS)) if at != index]
        self._notify = notify
        self._now = now
        self._epoch_s = epoch_s
        self._known: dict[Question, Told] = {}
        self._news: list[tuple[Question, Held]] = []
        self._read: dict[int, tuple[int, int]] = {}  # by region: generation, and how far
        for region in range(REGIONS):
            self._learn(region)
        self._news.clear()
        # Predecessors may have left a head that does not fit: then a generation that nobody has seen.
        generation, length = self._head(index) or (int(monotonic() * 1e9), 0)
        self._generation, self._length = generation, length
        if self._read.get(index, (generation, length)) != (generation, length):
            self._turn()  # what cannot be read would stand between readers and what follows

    def find(self, question: Question) -> Told | None:
        """What any process knows of a question."""
        if question not in self._known:
            self._learn_all()  # the notice of it may be on its way
        return self._known.get(question)

    def __len__(self) -> int:
        return len(self._known)

    def tell(self, question: Question, held: Held) -> None:
        """What this process knows now."""
        told = Told(held, self._now())
        self._keep(question, told)
        entry = self._entry(question, told)
        if len(entry) > _MOST_ENTRY:
            return
        if self._length + len(entry) > _BANK:
            self._turn()
        else:
            os.pwrite(self._fd, entry, self._bank(self._index, self._generation) + self._length)
            self._length += len(entry)
            self._write_head()
        self._notify()

    def catch_up(self) -> list[tuple[Question, Held]]:
        """What the others told since the last call."""
        self._learn_all()
        news, self._news = self._news, []
        return news

    # -- reading -----------------------------------------------------------------------------

    def _learn_all(self) -> None:
        for index in self._others:
            self._learn(index)

    def _learn(self, index: int) -> None:
        for question, told in self._new_in(index):
            known = self._known.get(question)
            if known is None or known.at < told.at:
                self._keep(question, told)
                self._news.append((question, told.held))

    def _new_in(self, index: int) -> Iterator[tuple[Question, Told]]:
        head = self._head(index)
        if head is None:
            return
        generation, length = head
        seen, done = self._read.get(index, (-1, 0))
        at = done if seen == generation else 0
        if at < length:
            data = os.pread(self._fd, length - at, self._bank(index, generation) + at)
            start = 0
            while (note := _entry_in(data, start)) is not None:
                start += _ENTRY.size + note[1]
                yield self._told(note[0])
            at += start
        self._read[index] = generation, at

    def _head(self, index: int) -> tuple[int, int] | None:
        """Generation and length of a region; None: it was never written, or only in part."""
        data = os.pread(self._fd, _HEAD.size, index * _REGION)
        generation, length, checksum = _HEAD.unpack(data)
        if checksum != _checksum(generation, length) or length > _BANK or not generation:
            return None
        return generation, length

    def _told(self, note: _Note) -> tuple[Question, Told]:
        by_s = -self._epoch_s
        held = Held(
            tuple(_moved(part, by_s) for part in note.parts),
            note.failures,
            note.refresh_at + by_s,
            note.error,
            note.gone_since and note.gone_since + by_s,
            note.heard_at and note.heard_at + by_s,
        )
        return Question(note.name, note.kinds), Told(held, note.told_at + by_s)

    def _keep(self, question: Question, told: Told) -> None:
        self._known.pop(question, None)  # the latest stands last
        self._known[question] = told
        while len(self._known) > _MOST_KNOWN:
            del self._known[next(iter(self._known))]

    # -- writing -----------------------------------------------------------------------------

    def _turn(self) -> None:
        """Begin the other bank with the latest of what is known."""
        entries: list[bytes] = []
        size = 0
        for question, told in reversed(self._known.items()):
            entry = self._entry(question, told)
            size += len(entry)
            if size > _BANK // 2:
                break
            entries.append(entry)
        data = b"".join(reversed(entries))
        os.pwrite(self._fd, data, self._bank(self._index, self._generation + 1))
        self._generation += 1
        self._length = len(data)
        self._write_head()

    def _entry(self, question: Question, told: Told) -> bytes:
        held, by_s = told.held, self._epoch_s
        payload = _encode(
            _Note(
                question.name,
                question.kinds,
                tuple(_moved(part, by_s) for part in held.parts),
                held.failures,
                held.error[:200],
                held.refresh_at + by_s,
                held.gone_since and held.gone_since + by_s,
                held.heard_at and held.heard_at + by_s,
                told.at + by_s,
            )
        )
        return _ENTRY.pack(len(payload), crc32(payload)) + payload

    def _write_head(self) -> None:
        head = _HEAD.pack(self._generation, self._length, _checksum(self._generation, self._length))
        os.pwrite(self._fd, head, self._index * _REGION)

    def _bank(self, index: int, generation: int) -> int:
        return index * _REGION + _BANK_AT + (generation & 1) * _BANK


def _checksum(generation: int, length: int) -> int:
    return crc32(_CLOCK.pack(generation, length))


def _entry_in(data: bytes, at: int) -> tuple[_Note, int] | None:
    """The entry at a place, and its payload's length; None: there is none, or not a whole one."""
    if at + _ENTRY.size > len(data):
        return None
    length, checksum = _ENTRY.unpack_from(data, at)
    payload = data[at + _ENTRY.size : at + _ENTRY.size + length]
    if len(payload) != length or crc32(payload) != checksum:
        return None
    try:
        return _decode(payload), length
    except msgspec.MsgspecError:
        return None


def _moved(part: Part | None, by_s: float) -> Part | None:
    return None if part is None else Part(part.records, part.good_until + by_s)
