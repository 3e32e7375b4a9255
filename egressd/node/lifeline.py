"""A child's line to the supervisor: it says when it serves, and every `BEAT_S` that it still does.

The pulse is one word of shared memory a child: no system call, nothing to block on, and it goes
on while the supervisor is busy.
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from collections.abc import Mapping
from contextlib import suppress

from egressd.node.inherited import Inherited

SLOTS = 512
"""Children at once: two generations of workers and the registry process, with room."""

_WORD = struct.Struct("<q")
READY_FD, PULSE_FD, PULSE_SLOT = "ready_fd", "pulse_fd", "pulse_slot"
BEAT_S = 0.25
"""How often a child that serves says so."""

DESK_FD = "desk_fd"
"""Keys of `Inherited.extra`."""


class Pulses:
    """The supervisor's side: when each child was last known to run."""

    def __init__(self) -> None:
        self.fd = os.memfd_create("egressd-pulses")
        os.ftruncate(self.fd, SLOTS * _WORD.size)
        self._map = mmap.mmap(self.fd, SLOTS * _WORD.size)
        self._free = list(range(SLOTS - 1, -1, -1))

    def take_slot(self) -> int:
        """A slot for a new child, without a pulse yet."""
        slot = self._free.pop()
        _WORD.pack_into(self._map, slot * _WORD.size, 0)
        return slot

    def give_back(self, slot: int) -> None:
        """The slot's child has ended."""
        self._free.append(slot)

    def last(self, slot: int) -> float:
        """Time of the last pulse, monotonic seconds; 0 = the child has given none yet."""
        (nanoseconds,) = _WORD.unpack_from(self._map, slot * _WORD.size)
        return float(nanoseconds) / 1e9

    def close(self) -> None:
        """Unmap."""
        self._map.close()
        os.close(self.fd)


class Lifeline:
    """The child's side. Without a supervisor (a test) `extra` is empty and nothing happens."""

    def __init__(self, inherited: Inherited) -> None:
        extra: Mapping[str, int] = inherited.extra
        self._ready_fd = extra.get(READY_FD, -1)
        self._at = extra.get(PULSE_SLOT, 0) * _WORD.size
        self._map = mmap.mmap(extra[PULSE_FD], SLOTS * _WORD.size) if PULSE_FD in extra else None

    def ready(self) -> None:
        """The child serves. Counts as a pulse."""
        self.beat()
        if self._ready_fd >= 0:
            with suppress(
                BrokenPipeError
            ):  # the supervisor was killed: the worker serves all the same
                os.write(self._ready_fd, b"1")
            os.close(self._ready_fd)
            self._ready_fd = -1

    def beat(self) -> None:
        """The child's loop turns. Call every `BEAT_S`; from the first call on the supervisor
        kills a child that has not called for `limits.heartbeatTimeout`."""
        if self._map is not None:
            _WORD.pack_into(self._map, self._at, time.monotonic_ns())


def is_stuck(last_pulse: float, awake_since: float, now: float, timeout_s: float) -> bool:
    """True when a child has been silent too long.

    `awake_since` is when the supervisor itself last woke from a long sleep: where the whole machine
    stood still, silence before it proves nothing.
    """
    if not last_pulse or not timeout_s:
        return False
    return now - max(last_pulse, awake_since) > timeout_s
