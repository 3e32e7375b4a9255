"""A downstream connection: heads read one after the other, each served as an exchange, then closed
in a way that lets the last answer arrive."""

from __future__ import annotations

import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic
from typing import TYPE_CHECKING

from egressd.net.fiber import REQUEST_COST, Deadline, Fiber
from egressd.net.stream import Stream, StreamClosed
from egressd.proxy.client_watch import ClientWatch
from egressd.proxy.context import MOMENT_S, Exchange, WorkerContext
from egressd.proxy.exchange import serve_exchange
from egressd.proxy.http1.fields import MalformedMessage
from egressd.proxy.http1.request import RequestHead, parse_request
from egressd.proxy.reply import ClientGone, LocalReply, render_reply
from egressd.routing.request import Request
from egressd.telemetry.flags import ResponseFlag

if TYPE_CHECKING:
    from egressd.proxy.scope import Scope

_NEVER = float("inf")
_LINGER_S = 1.0
_LINGER_BYTES = 1 << 20
_MOST_EMPTY_LINES = 4


class Downstream:
    """One client connection. `handle` says what is spoken on it."""

    __slots__ = (
        "_handle",
        "aborted",
        "buffer",
        "context",
        "fiber",
        "idle",
        "local",
        "port",
        "principals",
        "remote",
        "request",
        "scope",
        "sni",
        "stream",
        "target_address",
        "watch",
    )

    def __init__(
        self,
        context: WorkerContext,
        stream: Stream,
        scope: Scope,
        handle: Callable[[Downstream], Awaitable[None]],
        local: str,
        remote: str,
    ) -> None:
        self.context = context
        self.stream = stream
        self.scope = scope
        self._handle = handle
        self.aborted = False
        self.local = local
        self.remote = remote
        self.port = 0  # the service port addressed by a plain connection
        self.target_address = ""  # the IP address that a plain connection was meant for
        self.sni = ""  # server name of the client's TLS
        self.principals: tuple[str, ...] = ()  # names of the client's certificate
        self.buffer = b""
        self.idle = True
        self.request = Request(b"", b"", b"", b"", "", 0)

    async def serve(self, fiber: Fiber) -> None:
        """Serve until its handler ends."""
        self.fiber = fiber
        context = self.context
        settings = context.settings
        self.watch = ClientWatch(context.loop, fiber, self.stream, settings.half_close_timeout_s)
        context.connections.add(self)
        context.recorder.connection_opened()
        try:
            await self._handle(self)
        except (StreamClosed, Deadline, ClientGone):
            pass
        finally:
            if self.aborted:
                _reset_on_close(self.stream)
            self.stream.close()
            context.connections.discard(self)
            context.recorder.connection_closed()
            context.admission.release()

    async def serve_http(self) -> None:
        """Requests one after the other until one side ends it."""
        while await self._serve_one():
            pass
        if not self.aborted:
            await self._linger()

    async def _serve_one(self) -> bool:
        """One exchange. Returns whether the connection goes on."""
        fiber = self.fiber
        if fiber.budget <= 0:
            await fiber.yield_now()
        fiber.budget -= REQUEST_COST
        try:
            head = await self._read_head()
        except MalformedMessage as error:
            await self._refuse(error)
            return False
        if head is None:
            return False
        self.idle = False
        fiber.set_deadline(_NEVER)  # the head's; from here the exchange sets its own
        x = Exchange(self, head, monotonic())
        going_on = await serve_exchange(x)
        self.idle = True
        self.aborted = x.aborted
        return going_on and not self.stream.dead

    async def _read_head(self) -> RequestHead | None:
        """The next head; None at the end of the connection. Raises `MalformedMessage`."""
        settings = self.context.settings
        fiber, stream = self.fiber, self.stream
        buffer = self.buffer
        if not buffer:
            draining = self.scope.draining
            wait_s = self.context.drain_idle_s if draining else settings.idle_timeout_s
            fiber.set_deadline(monotonic() + wait_s)
            buffer = await stream.recv(fiber)
            if not buffer:
                return None
        self.idle = False
        end = buffer.find(b"\r\n\r\n")
        if end < 0 or buffer[0] in b"\r\n":
            buffer, end = await self._rest_of_head(buffer)
            if end < 0:
                return None
        self.buffer = buffer[end + 4 :]
        head = buffer[: end + 4] if self.buffer else buffer
        if len(head) > settings.max_head_bytes:
            raise MalformedMessage("request head too large", 431)
        if head.count(b"\r\n") > settings.max_headers + 2:
            raise MalformedMessage("too many header fields", 431)
        return parse_request(head, settings.methods)

    async def _rest_of_head(self, buffer: bytes) -> tuple[bytes, int]:
        """Read on, slowly arriving heads bounded in time and size. -1: the client went away."""
        settings = self.context.settings
        fiber = self.fiber
        fiber.set_deadline(monotonic() + settings.head_timeout_s)
        empty_lines = looked_at = 0
        while True:
            while buffer[:2] == b"\r\n":  # RFC 9112 2.2: empty lines before the request line
                empty_lines += 1
                if empty_lines > _MOST_EMPTY_LINES:
                    raise MalformedMessage("empty lines before the request line")
                buffer = buffer[2:]
                looked_at = 0
            end = buffer.find(b"\r\n\r\n", max(0, looked_at - 3))
            if end >= 0:
                return buffer, end
            if _has_bare_newline(buffer, max(0, looked_at - 1)):
                raise MalformedMessage("bare LF in the request head")
            looked_at = len(buffer)
            if len(buffer) > settings.max_head_bytes:
                raise MalformedMessage("request head too large", 431)
            try:
                data = await self.stream.recv(fiber)
            except Deadline:
                if not buffer:
                    return b"", -1
                raise MalformedMessage("request head timeout", 408) from None
            if not data:
                if buffer:
                    raise MalformedMessage("request head broken off")
                return b"", -1
            buffer += data

    async def _refuse(self, error: MalformedMessage) -> None:
        """Answer what cannot be an exchange: nothing of it is trusted, so the connection ends."""
        self.context.recorder.refused(self, error.status, error.reason)
        reply = LocalReply(
            error.status,
            error.reason,
            flag=ResponseFlag.DPE,
            details="http1.codec_error",
        )
        self.fiber.set_deadline(monotonic() + _LINGER_S)
        data = render_reply(reply, method=b"GET", minor=1, keep_alive=False)
        await self.stream.send_all(self.fiber, data)

    async def _linger(self) -> None:
        """Read and forget what the client still sends, for a moment: closing on unread data would
        reset the connection and take our last answer with it (RFC 9112 9.6)."""
        stream, fiber = self.stream, self.fiber
        if stream.dead or (stream.ended and not stream.readable):
            return
        stream.shutdown_write()
        until = monotonic() + _LINGER_S
        taken = 0
        fiber.set_deadline(until)
        while taken < _LINGER_BYTES:
            data = await stream.recv(fiber)
            if not data:
                return
            taken += len(data)

    def drain(self, within_s: float = MOMENT_S) -> None:
        """The worker stops: who is between two requests has `within_s` for one more, whose answer says
        close. To close at once would lose a request that is on its way (RFC 9112 9.5)."""
        if self.idle:
            self.fiber.set_deadline(min(self.fiber.deadline, monotonic() + within_s))


def _has_bare_newline(buffer: bytes, start: int) -> bool:
    """Whether a LF from `start` on follows no CR; what is before `start` has been looked at, and the
    byte at `start` too, unless it is the first."""
    paired = buffer.count(b"\r\n", start)
    if start and buffer[start : start + 1] == b"\n":
        paired += 1
    return buffer.count(b"\n", start) != paired


def _reset_on_close(stream: Stream) -> None:
    """A response that broke off must not look complete: reset instead of a clean end."""
    with suppress(OSError):
        stream.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
