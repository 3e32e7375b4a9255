"""Whether the client of an exchange is still there, while its origin is waited for.

A client that resets its connection is given up at once. One that has sent FIN may only have closed its
side (RFC 9112 9.6) and is answered, as long as something moves: when nothing has come from the origin,
and the client has taken nothing, for `limits.halfCloseTimeout`, it is given up, so that what the
exchange holds of the origin's limits is free. (Envoy ends an exchange on FIN at once.)

Giving up cancels the connection's fiber wherever it waits.
"""

from __future__ import annotations

import socket

from egressd.net.fiber import Fiber
from egressd.net.readiness import Readiness
from egressd.net.stream import Stream
from egressd.proxy.reply import ClientGone

_NEVER = float("inf")
_TCP_INFO_SIZE = 136
_NOTHING = bytes(8)
_BYTES_ACKED, _BYTES_RECEIVED = slice(120, 128), slice(128, 136)  # struct tcp_info, linux/tcp.h


class ClientWatch:
    """Of one client connection; on between `begin` and `end`."""

    __slots__ = (
        "_bound_s",
        "_fiber",
        "_loop",
        "_seen",
        "_stream",
        "deadline",
        "gave_up",
        "look_at",
        "queued",
        "tick",
        "upstream",
    )

    def __init__(self, loop: Readiness, fiber: Fiber, stream: Stream, bound_s: float) -> None:
        self._loop = loop
        self._fiber = fiber
        self._stream = stream
        self._bound_s = bound_s
        self._seen = b""  # how much had moved when it was looked at last
        self.upstream: Stream | None = None  # the connection in use
        self.gave_up = False
        self.deadline = _NEVER
        self.tick = 0
        self.look_at = _NEVER
        self.queued = False

    def begin(self) -> None:
        """An origin is waited for. Raises `ClientGone`."""
        stream = self._stream
        if stream.dead:
            raise ClientGone
        stream.end_waiter = self
        if stream.ended:
            self._look_later()

    def end(self) -> None:
        """The exchange is over, or whoever moves its bytes sees to it."""
        self._stream.end_waiter = self.upstream = None
        if self.deadline != _NEVER:
            self.deadline = _NEVER
            if self.tick:
                self._loop.deadlines.remove(self)

    def step(self) -> None:
        """The client's stream ended (the readiness loop's call)."""
        self.queued = False
        if self._stream.end_waiter is not self:
            return
        if self._stream.dead:
            self._give_up()
        elif self.deadline == _NEVER:
            self._look_later()

    def expire(self) -> None:
        """Time to look whether anything has moved."""
        if self._stream.end_waiter is not self:
            return
        self.deadline = _NEVER
        if self._moved() == self._seen:
            self._give_up()
        else:
            self._look_later()

    def _look_later(self) -> None:
        if self._bound_s != _NEVER:
            self._seen = self._moved()
            self.deadline = self._loop.clock() + self._bound_s
            self._loop.file(self)

    def _moved(self) -> bytes:
        """What the kernel has received of the origin, and the client has acknowledged. Unix sockets do
        not say: then the deadline, which is set anew when something has moved."""
        acked = _tcp_info(self._stream)[_BYTES_ACKED]
        received = b""
        if self.upstream is not None and not self.upstream.closed:
            received = _tcp_info(self.upstream)[_BYTES_RECEIVED]
        if not (acked or received):
            return b"%r" % self._fiber.deadline
        return acked + (received or _NOTHING)

    def _give_up(self) -> None:
        self.gave_up = True
        self._fiber.cancel()


def _tcp_info(stream: Stream) -> bytes:
    try:
        return stream.sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_SIZE)
    except OSError:  # a Unix socket: nothing is known
        return b""
