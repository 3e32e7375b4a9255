"""Node-wide state in shared memory: endpoint health and circuit breaker counts of all workers.

One memfd, made by the supervisor, mapped by every process of the node; it outlives any of them.
Layout (64-bit native words):

    header          8 words: epoch, dirty, workers, locks, 4 reserved
    health slots    HEALTH_SLOTS x 8 words: key, server, gateway, local, ejected_until (ns of
                    CLOCK_MONOTONIC, which all processes share), multiplier, touched (ns), reserved
    breaker keys    BREAKER_SLOTS words
    breaker counts  BREAKER_SLOTS x 8 kinds x MAX_WORKERS words, two pages a slot
    calls           MAX_WORKERS x BREAKER_SLOTS bytes: 1 = the worker is to look at the slot

`epoch` grows with every change of who is ejected or has a slot, so that a reader compares one word
to know that what it knows stands. `workers` is the highest index seen plus one.

A key is a 64-bit hash, 0 = free. A slot is found by linear probing and never becomes free again,
only another endpoint's or cluster's, so that no chain breaks. Writes happen under record locks of
this file, which the kernel drops when the holder dies; a reader needs none, since a word is written
whole. Who
holds the health lock sets `dirty` and clears it last: who finds it set follows a writer that died
half-way, and moves the epoch on, so that everybody reads again what was or was not written.

A holder that does not die but stands still (stopped, or not scheduled) would keep its lock, and a
worker that waited for it would keep its clients. So nobody waits for a process that is stopped, nor
longer than `_PATIENCE_S` for any: then `locks` moves on by one, and with it the bytes of the file
that stand for the locks. Who comes to run again under a lock of the past sees that and takes its
change back or leaves it out.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from hashlib import blake2b
from typing import TypeVar

from egressd.upstream.outlier import HostHealth

T = TypeVar("T")
Changes = Sequence[tuple[int, int]]
"""Places of words, and what is added to each."""

MAX_WORKERS = 128
HEALTH_SLOTS = 8192
BREAKER_SLOTS = 2048
EPOCH, _DIRTY, _WORKERS, _LOCKS = range(4)
_HEALTH_WORDS = 8
_HEALTH_AT = 8
_BREAKER_AT = _HEALTH_AT + HEALTH_SLOTS * _HEALTH_WORDS
_KINDS = 8
_COUNTS_WORDS = _KINDS * MAX_WORKERS
_COUNTS_AT = -(-(_BREAKER_AT + BREAKER_SLOTS) // _COUNTS_WORDS) * _COUNTS_WORDS
_CALLS_AT = (_COUNTS_AT + BREAKER_SLOTS * _COUNTS_WORDS) * 8
_SIZE = _CALLS_AT + MAX_WORKERS * BREAKER_SLOTS
_KEY, _SERVER, _GATEWAY, _LOCAL, _UNTIL, _MULTIPLIER, _TOUCHED = range(7)
_PROBES = 64
_NS = 1_000_000_000
_RECLAIM_AFTER_S = 600.0
# Bytes of the file that stand for a lock each; breaker slot n has _BREAKER_LOCK + n.
_HEALTH_LOCK, _KEYS_LOCK, _BREAKER_LOCK = range(3)
_ALL_LOCKS = _BREAKER_LOCK + BREAKER_SLOTS
_PATIENCE_S = 0.05
"""What is done under a lock takes microseconds; a holder that got no processor meanwhile, a slice of
the scheduler more."""
_PAUSE_S = 0.0005
_FLOCK = struct.Struct("hhqqi0q")  # struct flock of fcntl(2), 64-bit

CONNECTIONS, PENDING, REQUESTS, RETRIES, WAITING, GRANTED, IDLE, USERS = range(_KINDS)
"""What is counted under a slot: what circuit breakers limit, then requests that wait for a connection,
connections granted to a worker that it has not taken yet, idle ones, and clusters that use the slot."""


def create() -> int:
    """A new memfd for `NodeState`; the supervisor keeps it open."""
    fd = os.memfd_create("egressd-node-state", 0)
    os.ftruncate(fd, _SIZE)
    return fd


def slot_key(name: str) -> int:
    """The 64-bit key of a name, never 0."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little") >> 1 or 1


class NodeState:
    """The mapping of one process, made after the fork. `worker` is the index that its counts stand
    under; None for a process that only looks (the registry process)."""

    def __init__(self, fd: int, worker: int | None = 0, bells: Sequence[int] = ()) -> None:
        """`bells` are eventfds by worker, readable when the worker is to look at its calls."""
        if worker is not None and not 0 <= worker < MAX_WORKERS:
            raise ValueError(f"worker index {worker}: expected 0 to {MAX_WORKERS - 1}")
        self._fd = os.dup(fd)
        self._map = mmap.mmap(self._fd, _SIZE)
        self.words = memoryview(self._map).cast("q")
        self.worker = worker or 0
        self._bells = bells
        self._listeners: dict[int, list[Callable[[], None]]] = {}
        self._locks = 0  # generation of the lock that is held
        if worker is not None:
            with self._lock(_KEYS_LOCK):
                self.words[_WORKERS] = max(self.words[_WORKERS], worker + 1)

    def close(self) -> None:
        """Unmap."""
        self.words.release()
        self._map.close()
        os.close(self._fd)

    @contextmanager
    def _lock(self, at: int) -> Iterator[None]:
        byte = self._take_lock(at)
        try:
            yield
        finally:
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, byte)

    def _take_lock(self, at: int) -> int:
        """Hold a lock of the newest generation; the byte to unlock."""
        words = self.words
        until = 0.0
        while True:
            self._locks = words[_LOCKS]
            byte = self._locks * _ALL_LOCKS + at
            try:
                fcntl.lockf(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
            except (BlockingIOError, PermissionError):  # both say that it is held
                until = self._wait_for_lock(byte, until)
                continue
            if words[_LOCKS] == self._locks:
                return byte
            fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, byte)

    def _wait_for_lock(self, byte: int, until: float) -> float:
        """A moment's pause. A holder that is stopped, or that there was no end of by `until` (0 = not
        set yet), is left behind with its lock."""
        now = time.monotonic()
        if not until:
            os.sched_yield()
            return now + _PATIENCE_S
        if now < until and not self._is_holder_stopped(byte):
            time.sleep(_PAUSE_S)
            return until
        self.words[_LOCKS] = self._locks + 1
        return 0.0

    def _is_holder_stopped(self, byte: int) -> bool:
        asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
        kind, *_, pid = _FLOCK.unpack(fcntl.fcntl(self._fd, fcntl.F_GETLK, asked))
        if kind == fcntl.F_UNLCK:
            return False
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                state = file.read().rpartition(b")")[2].split()[0]
        except OSError:
            return False
        return state in (b"T", b"t")

    @property
    def _is_left_behind(self) -> bool:
        """Whether the lock that this process holds is one of the past: it stood still meanwhile."""
        return self.words[_LOCKS] != self._locks

    # -- health ------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """Changes whenever a slot was taken, or an endpoint ejected or taken back."""
        return self.words[EPOCH]

    def find_health(self, key: int) -> int:
        """The slot of an endpoint, -1 when nothing bad was ever seen of it."""
        words = self.words
        for probe in range(_PROBES):
            at = _HEALTH_AT + (key + probe) % HEALTH_SLOTS * _HEALTH_WORDS
            if words[at] == key:
                return at
            if words[at] == 0:
                return -1
        return -1

    def read_health(self, slot: int) -> HostHealth:
        """The state in a slot."""
        words = self.words
        return HostHealth(
            words[slot + _SERVER],
            words[slot + _GATEWAY],
            words[slot + _LOCAL],
            words[slot + _UNTIL] / _NS,
            words[slot + _MULTIPLIER],
        )

    def has_errors(self, slot: int) -> bool:
        """Whether a success has something to reset."""
        words = self.words
        return bool(words[slot + _SERVER] or words[slot + _GATEWAY] or words[slot + _LOCAL])

    @contextmanager
    def health_lock(self) -> Iterator[None]:
        """Exclude every other writer of the node while a decision is made and written."""
        words = self.words
        with self._lock(_HEALTH_LOCK):
            if words[_DIRTY]:
                words[EPOCH] += 1
            words[_DIRTY] = 1
            yield
            if not self._is_left_behind:
                words[_DIRTY] = 0

    def claim_health(self, key: int, now: float) -> int:
        """The slot of an endpoint, taken if need be; -1 when none can be had. Under the lock.

        Takes a slot whose endpoint has been well and unheard of for ten minutes, else a free one,
        else one with errors that are as old.
        """
        words = self.words
        well = free = stale = -1
        for probe in range(_PROBES):
            at = _HEALTH_AT + (key + probe) % HEALTH_SLOTS * _HEALTH_WORDS
            if words[at] == key:
                words[at + _TOUCHED] = int(now * _NS)
                return at
            if words[at] == 0:
                free = at
                break
            if now - max(words[at + _TOUCHED], words[at + _UNTIL]) / _NS > _RECLAIM_AFTER_S:
                if self.has_errors(at):
                    stale = at
                elif well < 0:
                    well = at
        slot = next((at for at in (well, free, stale) if at >= 0), -1)
        if slot >= 0 and self._is_left_behind:
            return -1
        if slot >= 0:
            for word in range(1, _HEALTH_WORDS):
                words[slot + word] = 0
            words[slot + _TOUCHED] = int(now * _NS)
            words[slot] = key
            words[EPOCH] += 1
        return slot

    def write_health(self, slot: int, health: HostHealth) -> None:
        """Store a state. Under the lock."""
        words = self.words
        if self._is_left_behind:
            return
        until = round(health.ejected_until * _NS)
        moved = words[slot + _UNTIL] != until
        words[slot + _MULTIPLIER] = health.multiplier
        words[slot + _UNTIL] = until
        words[slot + _SERVER] = health.server_errors
        words[slot + _GATEWAY] = health.gateway_errors
        words[slot + _LOCAL] = health.local_errors
        if moved:
            words[EPOCH] += 1

    # -- circuit breakers --------------------------------------------------------------------

    def breaker(self, key: int) -> int:
        """The breaker slot of a cluster, claimed if need be; -1 when none can be had. `leave_breaker`
        follows. A slot that no cluster of any worker uses is free."""
        words = self.words
        with self._lock(_KEYS_LOCK):
            free = -1
            for probe in range(_PROBES):
                slot = (key + probe) % BREAKER_SLOTS
                found = words[_BREAKER_AT + slot]
                if found == key:
                    free = slot
                    break
                if free < 0 and (not found or not self.total(slot, USERS)):
                    free = slot
                if not found:
                    break
            if free < 0 or self._is_left_behind:
                return -1
            if words[_BREAKER_AT + free] != key:
                self._clear(free)
                words[_BREAKER_AT + free] = key
            words[self.place(free, USERS)] += 1
            return free

    def _clear(self, slot: int) -> None:
        at = _COUNTS_AT + slot * _COUNTS_WORDS
        for word in range(at, at + _COUNTS_WORDS):
            if self.words[word]:
                self.words[word] = 0

    def leave_breaker(self, slot: int) -> None:
        """A cluster of this worker uses the slot no more, and nothing of it is counted there."""
        with self._lock(_KEYS_LOCK):
            self.words[self.place(slot, USERS)] -= 1

    def share(self, limit: int) -> int:
        """This worker's part of a limit, for a cluster without a slot. All parts make the limit."""
        workers = max(self.words[_WORKERS], 1)
        return limit // workers + (self.worker < limit % workers)

    def row(self, slot: int, which: int) -> list[int]:
        """The counts of all workers."""
        at = _COUNTS_AT + slot * _COUNTS_WORDS + which * MAX_WORKERS
        return self.words[at : at + self.words[_WORKERS]].tolist()

    def total(self, slot: int, which: int) -> int:
        """The node-wide count."""
        at = _COUNTS_AT + slot * _COUNTS_WORDS + which * MAX_WORKERS
        return sum(self.words[at : at + self.words[_WORKERS]])

    def others(self, slot: int, which: int) -> int:
        """The count of all workers but this one."""
        return self.total(slot, which) - self.words[self.place(slot, which)]

    def place(self, slot: int, which: int, worker: int = -1) -> int:
        """Where a worker's count stands, this one's by default."""
        worker = self.worker if worker < 0 else worker
        return _COUNTS_AT + slot * _COUNTS_WORDS + which * MAX_WORKERS + worker

    def decide(self, slot: int, decision: Callable[[], tuple[T, Changes]]) -> T:
        """Decide on what is counted and change it, under the slot's lock."""
        words = self.words
        while True:
            byte = self._take_lock(_BREAKER_LOCK + slot)
            try:
                result, changes = decision()
                for at, by in changes:
                    words[at] += by
                if not self._is_left_behind:
                    return result
                for at, by in changes:
                    words[at] -= by
            finally:
                fcntl.lockf(self._fd, fcntl.LOCK_UN, 1, byte)

    def acquire(self, slot: int, which: int, limit: int) -> bool:
        """Count one more, unless the node has `limit` already. The sum never exceeds the limit."""
        own = self.place(slot, which)

        def decision() -> tuple[bool, Changes]:
            if self.total(slot, which) >= limit:
                return False, ()
            return True, ((own, 1),)

        return self.decide(slot, decision)

    def add(self, slot: int, which: int, count: int) -> None:
        """Count without asking: a release (negative), or what no limit holds. Only this worker
        writes the word, and a count that falls breaks no limit: no lock."""
        self.words[self.place(slot, which)] += count

    def forget_worker(self, worker: int | None = None) -> None:
        """Zero what a worker of this index (None: one's own) held that has died, and let the others
        know: the supervisor, when it hears of the end, its replacement before it serves, and a worker
        that ends by itself."""
        words = self.words
        index = self.worker if worker is None else worker
        for slot in range(BREAKER_SLOTS):
            if words[_BREAKER_AT + slot]:
                held = 0
                for which in range(_KINDS):
                    at = self.place(slot, which, index)
                    held += words[at]
                    words[at] = 0
                if held:
                    for other in range(words[_WORKERS]):
                        self.call(other, slot)

    # -- calls -------------------------------------------------------------------------------

    def listen(self, slot: int, on_call: Callable[[], None]) -> None:
        """`on_call` is called when another worker has something to say about the slot."""
        self._listeners.setdefault(slot, []).append(on_call)

    def stop_listening(self, slot: int, on_call: Callable[[], None]) -> None:
        """The end of `listen`."""
        listeners = self._listeners.get(slot, [])
        if on_call in listeners:
            listeners.remove(on_call)
        if not listeners:
            self._listeners.pop(slot, None)

    def call(self, worker: int, slot: int) -> None:
        """Let a worker look at a slot."""
        if worker >= len(self._bells):
            return
        self._map[_CALLS_AT + worker * BREAKER_SLOTS + slot] = 1
        with suppress(OSError):
            os.eventfd_write(self._bells[worker], 1)

    def hear(self) -> None:
        """Look at the slots that this worker was called to."""
        begin = _CALLS_AT + self.worker * BREAKER_SLOTS
        end = begin + BREAKER_SLOTS
        while (at := self._map.find(b"\x01", begin, end)) >= 0:
            self._map[at] = 0  # before looking: a call that comes meanwhile is another one
            for on_call in tuple(self._listeners.get(at - begin, ())):
                on_call()
