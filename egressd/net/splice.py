"""Bytes from one socket to another without a copy into Python (splice(2)).

The kernel moves bytes between sockets through a pipe. A worker has one for all its connections: it is
filled and emptied within one call and never waits with bytes in it, so a connection costs no pipe. What
the target does not take is read out and waits in memory. (A pipe a direction would count against
/proc/sys/fs/pipe-user-pages-soft: a user without privileges gets pipes of two pages past it.)
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from typing import NamedTuple

from egressd.net.stream import Stream, StreamClosed

FIRST_CHUNK = 1 << 16
"""Bytes that a connection moves at a time at first."""
LARGEST_CHUNK = 1 << 20
"""The same, where the target has taken all of it so far."""
_PIPE_SIZE = 1 << 20
_FLAGS = os.SPLICE_F_MOVE | os.SPLICE_F_NONBLOCK
_F_SETPIPE_SZ = 1031  # fcntl.F_SETPIPE_SZ


class Moved(NamedTuple):
    """What one transfer did: `taken` from the source, 0 at its end, -1 when nothing is there yet; `sent`
    of it, and the rest."""

    taken: int
    sent: int = 0
    rest: bytes = b""


class SplicePipe:
    """The pipe of a worker, opened on first use. Empty between calls."""

    __slots__ = ("_read_end", "_write_end")

    def __init__(self) -> None:
        self._read_end = self._write_end = -1

    def transfer(self, source: Stream, target: Stream, size: int) -> Moved:
        """Move at most `size` bytes that are there now. Raises `StreamClosed`, also where no pipe can be
        had."""
        if self._read_end < 0:
            self._open()
        taken = _splice(source.fd, self._write_end, size)
        if taken <= 0:
            return Moved(taken)
        sent = 0
        try:
            while sent < taken:
                count = _splice(self._read_end, target.fd, taken - sent)
                if count < 0:
                    return Moved(taken, sent, self._take_rest(taken - sent))
                sent += count
        except StreamClosed:
            self.close()  # with the bytes that are in it
            raise
        return Moved(taken, sent)

    def _take_rest(self, size: int) -> bytes:
        parts = []
        while size:
            part = os.read(self._read_end, size)
            parts.append(part)
            size -= len(part)
        return b"".join(parts)

    def _open(self) -> None:
        try:
            self._read_end, self._write_end = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise StreamClosed(f"no pipe: {error.strerror}") from None
        with suppress(OSError):  # the user's quota may be used up: the default size works too
            fcntl.fcntl(self._write_end, _F_SETPIPE_SZ, _PIPE_SIZE)

    def close(self) -> None:
        """Close the pipe; the next transfer opens one."""
        if self._read_end >= 0:
            os.close(self._read_end)
            os.close(self._write_end)
            self._read_end = self._write_end = -1

    def __del__(self) -> None:
        self.close()


def _splice(source: int, target: int, size: int) -> int:
    """Bytes moved, 0 at the end, -1 when it would block. Raises `StreamClosed`."""
    while True:
        try:
            return os.splice(source, target, size, flags=_FLAGS)
        except BlockingIOError:
            return -1
        except OSError as error:
            if error.errno != errno.EINTR:
                raise StreamClosed(str(error)) from None
