"""Lines to a descriptor that may be broken, full or unread, for threads that must not wait for it.

A bounded queue and a daemon thread that writes. Whoever logs only ever appends: a line too many is
dropped and counted, and the count is written as a line of its own as soon as writing works again.
The thread may block in write(2) for ever; it holds no lock meanwhile, so that the process ends
without it. The descriptor's flags stay as they are: O_NONBLOCK belongs to the open file description,
which others (a parent's terminal, the journal) share.
"""

from __future__ import annotations

import errno
import os
import select
import signal
import threading
import time
from collections.abc import Callable
from queue import SimpleQueue

LIMIT_BYTES = 1 << 20
"""What waits at most, and so the longest line."""

_FLUSH_STEP_S = 0.002
_POLL_MS = 1000
_NEWLINE = 0x0A


class Appender:
    """Writes whole lines. What an error cut off in the middle of a line is ended before the next."""

    def __init__(self) -> None:
        self.is_cut = False
        self.unwritten = memoryview(b"")  # of the last write

    def write(self, fd: int, lines: bytes) -> None:
        """Write all of it, waiting as long as it takes. Raises OSError."""
        self.unwritten = memoryview(b"\n" + lines if self.is_cut else lines)
        while self.unwritten:
            try:
                written = os.write(fd, self.unwritten)
            except BlockingIOError:  # somebody else has set O_NONBLOCK on what is shared
                _wait_writable(fd)
                continue
            if not written:
                raise OSError(errno.EIO, "nothing written")
            self.is_cut = self.unwritten[written - 1] != _NEWLINE
            self.unwritten = self.unwritten[written:]


def _wait_writable(fd: int) -> None:
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    poll.poll(_POLL_MS)


class LineWriter:
    """Writes whole lines to one descriptor. Safe in any thread, in finalizers and across `fork`.

    `note` makes the line that tells of so many dropped ones. A forked child begins with an empty
    queue: what waited is its parent's to write.
    """

    def __init__(
        self, fd: int, note: Callable[[int], bytes], limit_bytes: int = LIMIT_BYTES
    ) -> None:
        self.fd = fd
        self._note = note
        self._limit = limit_bytes
        self._begin()
        os.register_at_fork(after_in_child=self._begin)

    def _begin(self) -> None:
        # Reentrant, and so is SimpleQueue.put: a finalizer may log in the middle of a write.
        self._lock = threading.RLock()
        self._lines: SimpleQueue[bytes] = SimpleQueue()
        self._waiting = 0  # bytes queued or in the thread's hands
        self._thread: threading.Thread | None = None
        self._untold = 0
        self._append = Appender()
        self.dropped = 0

    def write(self, line: bytes) -> None:
        """Queue one line with its newline. Never raises, never waits."""
        with self._lock:
            if self._waiting + len(line) > self._limit:
                self._drop()
                return
            self._waiting += len(line)
        self._lines.put(line)
        if self._thread is None:
            self._start()

    def flush(self, within_s: float) -> bool:
        """Wait until all is written or dropped, for at most so many seconds. Whether it is."""
        until = time.monotonic() + within_s
        while self._waiting and time.monotonic() < until:
            # Not `time.sleep`, which waits until a time of the clock, and fails where one that is moved
            # (as by libfaketime) has no such time. Nothing may go wrong here: it is the way out.
            select.select((), (), (), _FLUSH_STEP_S)
        return not self._waiting

    def _drop(self) -> None:
        with self._lock:
            self.dropped += 1
            self._untold += 1

    def _start(self) -> None:
        thread = threading.Thread(target=self._run, name="log writer", daemon=True)
        # Signals are for the main thread: one that came here would not end its system call.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            with self._lock:
                if self._thread is None:
                    thread.start()
                    self._thread = thread
        except RuntimeError:
            return  # no more threads now: the queue holds what it can, the next line tries again
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)

    # -- the thread --------------------------------------------------------------------------

    def _run(self) -> None:
        while True:
            line = self._lines.get()
            try:
                self._tell_dropped()
                self._append.write(self.fd, line)
            except (OSError, MemoryError):
                self._drop()
            with self._lock:
                self._waiting -= len(line)

    def _tell_dropped(self) -> None:
        count = self._untold
        if count:
            self._append.write(self.fd, self._note(count))
            with self._lock:
                self._untold -= count
