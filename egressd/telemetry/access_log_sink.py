"""Where access log lines go: one file, pipe or standard output, written in batches off the loop.

A sink that blocks, fills up or disappears costs log lines, never traffic: writes happen in a thread
of their own, the queue in front is bounded, and what cannot be written is dropped and counted.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from time import monotonic

import structlog
import trio

from egressd.telemetry.access_log import AccessLog
from egressd.telemetry.line_writer import Appender

FLUSH_INTERVAL_S = 0.2
CLOSE_TIMEOUT_S = 1.0  # how long the last lines may take when the worker ends
BATCH_ENTRIES = 512  # formatted at once: about 2 ms of the event loop
PIPE_ATOMIC_BYTES = 4096  # PIPE_BUF: a write up to it is never mixed with another worker's
STANDARD_OUTPUT = frozenset({"-", "stdout", "/dev/stdout", "/proc/self/fd/1"})
STANDARD_ERROR = frozenset({"stderr", "/dev/stderr", "/proc/self/fd/2"})

_TELL_S = 60.0
"""Lines dropped without an error (a full pipe, a slow disk) are told of this often, seconds."""

_logger = structlog.get_logger("egressd.access_log")


class AccessLogSink:
    """Writes an `AccessLog` to a path ("-" or "/dev/stdout" for standard output, "/dev/stderr" for
    `standard_error`, which is where the node's own log goes).

    The file is opened for appending (several workers share it) and opened again when its path names
    another file than before (logrotate), or after `reopen()` (SIGUSR1).
    """

    def __init__(self, log: AccessLog, path: str | Path, standard_error: int = 2) -> None:
        self._log = log
        self._path = str(path)
        self._standard_error = standard_error
        self._fd = -1
        self._append = Appender()
        self._reopen = False
        self._told = 0  # of `log.dropped`
        self._told_at = -_TELL_S
        self._broken = ""  # the error of the last write; "" = all is well
        self.lost_batches = 0

    def reopen(self) -> None:
        """Open the path again before the next write; for SIGUSR1."""
        self._reopen = True

    async def run(self) -> None:
        """Write every 200 ms or at a full batch until cancelled; then write what is left."""
        wake = trio.Event()

        def ring() -> None:
            wake.set()

        self._log.on_full_batch(ring)
        try:
            while True:
                with trio.move_on_after(FLUSH_INTERVAL_S):
                    await wake.wait()
                wake = trio.Event()
                await self._flush()
        finally:
            with trio.move_on_after(CLOSE_TIMEOUT_S, shield=True):
                await self._flush()
            self._close()

    async def _flush(self) -> None:
        """Format in small batches, so that a long queue never holds the event loop."""
        while len(self._log):
            data = self._log.drain(BATCH_ENTRIES)
            try:
                await trio.to_thread.run_sync(self._write, data, abandon_on_cancel=True)
            except RuntimeError:  # no more threads now
                self._log.dropped += data.count(b"\n")
                return

    def _write(self, data: bytes) -> None:
        """In a thread. Never raises: the sink's trouble is not the traffic's."""
        left = data.count(b"\n")
        try:
            self._open_if_needed()
            for block in self._blocks(data):
                self._append.write(self._fd, block)
                left -= block.count(b"\n")
        except OSError as error:
            self.lost_batches += 1
            self._log.dropped += left
            if str(error) != self._broken:
                _logger.warning("access log not written", path=self._path, error=str(error))
            self._broken = str(error)
            self._close()
        else:
            self._tell_written()

    def _tell_written(self) -> None:
        dropped = self._log.dropped - self._told
        if self._broken:
            _logger.info("access log written again", path=self._path, lines_dropped=dropped)
            self._broken = ""
        elif dropped and monotonic() - self._told_at >= _TELL_S:
            _logger.warning("access log lines dropped", path=self._path, lines=dropped)
        else:
            return
        self._told, self._told_at = self._log.dropped, monotonic()

    def _blocks(self, data: bytes) -> Iterator[bytes]:
        """Whole to a file; to anything else in writes that other workers' cannot split."""
        if stat.S_ISREG(os.fstat(self._fd).st_mode):
            yield data
            return
        yield from line_blocks(data, PIPE_ATOMIC_BYTES)

    def _open_if_needed(self) -> None:
        if self._path in STANDARD_OUTPUT:
            self._fd = 1
            return
        if self._path in STANDARD_ERROR:
            self._fd = self._standard_error
            return
        if self._fd >= 0 and (self._reopen or self._was_renamed()):
            self._close()
        self._reopen = False
        if self._fd < 0:
            flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOCTTY
            self._fd = os.open(self._path, flags, 0o640)

    def _was_renamed(self) -> bool:
        """Whether the path names another file now, or none."""
        try:
            named = os.stat(self._path)
        except FileNotFoundError:
            return True
        ours = os.fstat(self._fd)
        return (named.st_dev, named.st_ino) != (ours.st_dev, ours.st_ino)

    def _close(self) -> None:
        if self._fd not in (-1, 1, self._standard_error):  # the standard streams stay
            os.close(self._fd)
        self._fd = -1


def line_blocks(data: bytes, most: int) -> Iterator[bytes]:
    """Cut at line ends into blocks of at most `most` bytes; a longer line is a block by itself."""
    start = 0
    while start < len(data):
        end = len(data)
        if end - start > most:
            end = data.rfind(b"\n", start, start + most) + 1
            if end <= start:
                end = data.find(b"\n", start) + 1 or len(data)
        yield data[start:end]
        start = end
