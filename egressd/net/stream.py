"""A connected non-blocking socket, plain or TLS, read and written by fibers.

System call first, wait only when the kernel has said no. A short read tells that the receive buffer is
empty, which saves the call that would fail with EAGAIN; the next edge says when there is more.
"""

from __future__ import annotations

import socket
import ssl
import sys
from collections.abc import Callable
from contextlib import suppress
from fcntl import ioctl
from termios import FIONREAD

from egressd.net.fiber import Fiber, Steppable
from egressd.net.readiness import Readiness

_COUNT = bytearray(4)
_NO_BYTES = bytes(4)


def _nothing(size: int) -> bytes:
    return b""


def _waiting_bytes(fd: int) -> int:
    """Bytes in the kernel's receive buffer, 0 where it does not say."""
    try:
        ioctl(fd, FIONREAD, _COUNT)
    except OSError:
        return 0
    return int.from_bytes(_COUNT, sys.byteorder)


RECV_SIZE = 65536
"""Bytes asked for in one read of a head or a small message."""


class StreamClosed(Exception):
    """The peer reset the connection, or it cannot be written to any more."""


class Stream:
    """One socket under a readiness loop. Owned by one fiber for reading and one for writing."""

    __slots__ = (
        "_is_filled",
        "_last",
        "_loop",
        "_recv",
        "_send",
        "closed",
        "dead",
        "end_waiter",
        "ended",
        "fd",
        "is_tls",
        "read_waiter",
        "readable",
        "sock",
        "truncated",
        "writable",
        "write_waiter",
    )

    def __init__(self, loop: Readiness, sock: socket.socket) -> None:
        self._loop = loop
        self.sock = sock
        self.fd = sock.fileno()
        self.is_tls = isinstance(sock, ssl.SSLSocket)
        self._recv: Callable[[int], bytes] = sock.recv
        self._send: Callable[[bytes | memoryview], int] = sock.send
        self._last = b""
        self._is_filled = False  # TLS: the last read filled its buffer, its record may have more
        self.readable = True  # unknown: the first read finds out
        self.writable = True
        self.ended = False  # the peer will send no more (data may still wait)
        self.dead = False  # reset or fully closed: writing is of no use
        self.truncated = False  # TLS ended without close_notify: what came may not be all
        self.closed = False
        self.read_waiter: Steppable | None = None
        self.write_waiter: Steppable | None = None
        self.end_waiter: Steppable | None = None
        loop.add(self)

    def start_tls(self, sock: ssl.SSLSocket, recv: Callable[[int], bytes] | None = None) -> None:
        """Go on with the TLS socket that took over this stream's descriptor (same fd). `recv` stands in
        for the socket's."""
        self.sock = sock
        self.is_tls = True
        self._recv = recv or sock.recv
        self._send = sock.send

    def start_coding(
        self, recv: Callable[[int], bytes], send: Callable[[bytes | memoryview], int], last: bytes
    ) -> None:
        """Go on with bytes that are not the socket's own, as with TLS: `recv` and `send` stand in for
        the socket's, with its errors; `last` is written in place of a FIN."""
        self.is_tls = True
        self._recv = recv
        self._send = send
        self._last = last

    # -- reading -----------------------------------------------------------------------------

    def recv_now(self, size: int = RECV_SIZE) -> bytes | None:
        """What is there now: data, b"" at the end, None when there is nothing yet.

        Raises `StreamClosed` on a reset.
        """
        try:
            data = self._recv(size)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            self.readable = False
            return None
        except ssl.SSLZeroReturnError:
            self.ended = True
            return b""
        except ssl.SSLEOFError as error:
            self._end_without_notice(error)
            return b""
        except OSError as error:
            self.dead = True
            raise StreamClosed(str(error)) from None
        if self.is_tls:
            self._is_filled = len(data) == size
        elif len(data) < size and not self.ended:
            self.readable = False
        return data

    async def recv(self, fiber: Fiber, size: int = RECV_SIZE) -> bytes:
        """The next bytes, b"" at the end. Raises `StreamClosed`, `Deadline`."""
        if fiber.budget <= 0:
            await fiber.yield_now()
        while True:
            if self.readable:
                data = self.recv_now(size)
                if data is not None:
                    fiber.budget -= len(data)
                    return data
            await self.wait_readable(fiber)

    def recv_into_now(self, buffer: memoryview) -> int:
        """Like `recv_now` into a buffer: bytes read, 0 at the end, -1 when there is nothing yet."""
        try:
            count = self.sock.recv_into(buffer)
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            self.readable = False
            return -1
        except ssl.SSLZeroReturnError:
            self.ended = True
            return 0
        except ssl.SSLEOFError as error:
            self._end_without_notice(error)
            return 0
        except OSError as error:
            self.dead = True
            raise StreamClosed(str(error)) from None
        if self.is_tls:
            self._is_filled = count == len(buffer)
        elif count < len(buffer) and not self.ended:
            self.readable = False
        return count

    def _end_without_notice(self, error: ssl.SSLEOFError) -> None:
        """TLS ended without close_notify. Raises `StreamClosed` for a reset: Python's `ssl` has the same
        error for it, only without OpenSSL's reason."""
        self.ended = self.truncated = True
        if not error.reason:
            self.dead = True
            raise StreamClosed("connection reset by peer") from None

    def is_quiet(self) -> bool:
        """Whether it is known that nothing more has come: no byte, no end, no error.

        Asks TLS and the kernel unless a read has just found nothing. What it reads is lost: a stream
        that is not quiet is to be closed.
        """
        if self.ended or self.dead or self.closed:
            return False
        if not self.readable:
            return True  # a read found nothing, and no event since
        if self.is_tls and not self._is_filled:
            # A short read took its record whole (RFC 8446 5.1: OpenSSL reads one at a time), so that all
            # else is in the kernel. One ioctl instead of a read that fails inside OpenSSL.
            ioctl(self.fd, FIONREAD, _COUNT)
            if _COUNT == _NO_BYTES:
                self.readable = False  # the next edge says when there is more
                return True
        try:
            data = self.recv_now(1)
        except StreamClosed:
            return False
        if data == b"":
            self.ended = True
        return data is None

    def has_more(self) -> bool:
        """Whether the kernel has bytes that no event has told of yet."""
        return self.closed or _waiting_bytes(self.fd) > 0

    async def wait_readable(self, fiber: Fiber) -> None:
        """Park until the next read edge; spurious returns are possible. Raises `Deadline`."""
        self.read_waiter = fiber
        try:
            await fiber.wait()
        finally:
            self.read_waiter = None

    # -- writing -----------------------------------------------------------------------------

    def send_now(self, data: bytes | memoryview) -> int:
        """Bytes taken by the kernel now, 0 when it takes none. Raises `StreamClosed`."""
        try:
            return self._send(data)
        except (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError):
            self.writable = False
            return 0
        except OSError as error:
            self.dead = True
            raise StreamClosed(str(error)) from None

    async def send_all(self, fiber: Fiber, data: bytes | memoryview) -> None:
        """Write all of it. Raises `StreamClosed`, `Deadline`."""
        sent = self.send_now(data)
        if sent == len(data):
            return
        view = memoryview(data)
        while True:
            view = view[sent:]
            if not view:
                return
            if not self.writable:
                await self.wait_writable(fiber)
            sent = self.send_now(view)

    async def wait_writable(self, fiber: Fiber) -> None:
        """Park until the next write edge; spurious returns are possible. Raises `Deadline`."""
        self.write_waiter = fiber
        try:
            await fiber.wait()
        finally:
            self.write_waiter = None

    # -- ending ------------------------------------------------------------------------------

    def shutdown_write(self) -> None:
        """Say that no more will be sent (FIN); the peer may go on sending."""
        with suppress(OSError, ValueError):
            if self._last:
                self.sock.send(self._last)
                return
            if isinstance(self.sock, ssl.SSLSocket):
                self._close_notify(self.sock)
            # Not the TLS socket's own method, which forgets the TLS: what is read after it would be
            # what came on the wire.
            socket.socket.shutdown(self.sock, socket.SHUT_WR)

    def _close_notify(self, sock: ssl.SSLSocket) -> None:
        sock.settimeout(0)  # without waiting for the peer's: unwrap() would block on its answer
        with suppress(ssl.SSLError):
            sock.unwrap()
            # The peer had ended, too. The TLS is gone, and whatever comes now is no data.
            self.ended = True
            self._recv = _nothing

    def close(self) -> None:
        """Close at once. Idempotent. Whoever waits on the stream finds it closed."""
        if not self.closed:
            self.closed = True
            self.dead = self.readable = self.writable = True
            self._loop.remove(self.fd)
            self.fd = -1  # the number may belong to another stream soon
            with suppress(OSError):
                self.sock.close()
            for waiter in (self.read_waiter, self.write_waiter, self.end_waiter):
                if waiter is not None:
                    self._loop.schedule(waiter)
