"""Node-wide state in shared memory: endpoint health and circuit breaker counts of all workers.

One memfd, made by the supervisor, mapped by every process of the node; it outlives any of them.
Layout (64-bit little-endian words):

    word 0            epoch: grows with every change of the health table
    word 1            reserved
    health slots      HEALTH_SLOTS x 8 words:
                      key, server, gateway, local, ejected_until (ns, CLOCK_MONOTONIC), multiplier,
                      touched (ns), reserved
    breaker slots     BREAKER_SLOTS x (1 + WORKERS x 4) words: key, then four counts a worker

A slot's key is a 64-bit hash, 0 = free. Slots are found by linear probing and never move, so that an
index, once known, stays good while its key stands. Writes happen under a record lock of this file,
which the kernel releases when its holder dies; a reader needs none, since a word is written whole.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import blake2b

from egressd.upstream.outlier import HostHealth

MAX_WORKERS = 128
HEALTH_SLOTS = 8192
BREAKER_SLOTS = 2048
_HEALTH_WORDS = 8
_BREAKER_WORDS = 1 + MAX_WORKERS * 4
_HEALTH_AT = 2
_BREAKER_AT = _HEALTH_AT + HEALTH_SLOTS * _HEALTH_WORDS
_WORDS = _BREAKER_AT + BREAKER_SLOTS * _BREAKER_WORDS
_SIZE = _WORDS * 8
_KEY, _SERVER, _GATEWAY, _LOCAL, _UNTIL, _MULTIPLIER, _TOUCHED = range(7)
_PROBES = 64
_NS = 1_000_000_000
_RECLAIM_AFTER_S = 600.0

CONNECTIONS, PENDING, REQUESTS, RETRIES = range(4)
"""What a circuit breaker counts."""


def create() -> int:
    """A new memfd for `NodeState`; the supervisor keeps it open."""
    fd = os.memfd_create("egressd-node-state", 0)
    os.ftruncate(fd, _SIZE)
    return fd


def slot_key(name: str) -> int:
    """The 64-bit key of a name, never 0."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "little") >> 1 or 1


class NodeState:
    """The mapping of one process. `worker` is the index that its counts stand under."""

    def __init__(self, fd: int, worker: int = 0) -> None:
        if not 0 <= worker < MAX_WORKERS:
            raise ValueError(f"worker index {worker}: expected 0 to {MAX_WORKERS - 1}")
        # An own open file description: record locks exclude each other between processes by it.
        self._lock_fd = os.open(f"/proc/self/fd/{fd}", os.O_RDWR | os.O_CLOEXEC)
        self._map = mmap.mmap(self._lock_fd, _SIZE)
        self.words = memoryview(self._map).cast("q")
        self._worker = worker

    def close(self) -> None:
        """Unmap."""
        self.words.release()
        self._map.close()
        os.close(self._lock_fd)

    @contextmanager
    def _locked(self) -> Iterator[None]:
        fcntl.lockf(self._lock_fd, fcntl.LOCK_EX, 1, 0)
        try:
            yield
        finally:
            fcntl.lockf(self._lock_fd, fcntl.LOCK_UN, 1, 0)

    # -- health ------------------------------------------------------------------------------

    @property
    def epoch(self) -> int:
        """Changes whenever anything in the health table did."""
        return self.words[0]

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
        with self._locked():
            yield

    def claim_health(self, key: int, now: float) -> int:
        """The slot of an endpoint, taken if need be; -1 when the table is full. Under the lock."""
        words = self.words
        free = -1
        for probe in range(_PROBES):
            at = _HEALTH_AT + (key + probe) % HEALTH_SLOTS * _HEALTH_WORDS
            if words[at] == key:
                return at
            if words[at] == 0:
                free = at if free < 0 else free
                break
            if free < 0 and self._is_reclaimable(at, now):
                free = at
        if free >= 0:
            for word in range(1, _HEALTH_WORDS):
                words[free + word] = 0
            words[free + _TOUCHED] = int(now * _NS)
            words[free] = key
            words[0] += 1
        return free

    def _is_reclaimable(self, slot: int, now: float) -> bool:
        words = self.words
        idle_since = max(words[slot + _TOUCHED], words[slot + _UNTIL]) / _NS
        return not self.has_errors(slot) and now - idle_since > _RECLAIM_AFTER_S

    def write_health(self, slot: int, health: HostHealth, now: float) -> None:
        """Store a state. Under the lock."""
        words = self.words
        words[slot + _SERVER] = health.server_errors
        words[slot + _GATEWAY] = health.gateway_errors
        words[slot + _LOCAL] = health.local_errors
        words[slot + _MULTIPLIER] = health.multiplier
        words[slot + _TOUCHED] = int(now * _NS)
        if words[slot + _UNTIL] != int(health.ejected_until * _NS):
            words[slot + _UNTIL] = int(health.ejected_until * _NS)
            words[0] += 1

    # -- circuit breakers --------------------------------------------------------------------

    def breaker(self, key: int) -> int:
        """The breaker slot of a cluster, claimed if need be; -1 when the table is full."""
        words = self.words
        with self._locked():
            for probe in range(_PROBES):
                at = _BREAKER_AT + (key + probe) % BREAKER_SLOTS * _BREAKER_WORDS
                if words[at] in (0, key):
                    words[at] = key
                    return at
        return -1

    def total(self, slot: int, which: int) -> int:
        """The node-wide count."""
        return sum(self.words[slot + 1 + which : slot + _BREAKER_WORDS : 4])

    def others(self, slot: int, which: int) -> int:
        """The count of all workers but this one."""
        return self.total(slot, which) - self.words[slot + 1 + self._worker * 4 + which]

    def acquire(self, slot: int, which: int, limit: int) -> bool:
        """Count one more, unless the node has `limit` already. The sum never exceeds the limit."""
        own = slot + 1 + self._worker * 4 + which
        with self._locked():
            if self.total(slot, which) >= limit:
                return False
            self.words[own] += 1
            return True

    def release(self, slot: int, which: int) -> None:
        """Count one less. Only this worker writes the word, so no lock is needed to lower it."""
        own = slot + 1 + self._worker * 4 + which
        if self.words[own] > 0:
            self.words[own] -= 1

    def forget_worker(self) -> None:
        """Zero what a dead worker of this index held. Its replacement calls it before it serves."""
        words = self.words
        with self._locked():
            for slot in range(_BREAKER_AT, _WORDS, _BREAKER_WORDS):
                if words[slot]:
                    for which in range(4):
                        words[slot + 1 + self._worker * 4 + which] = 0
