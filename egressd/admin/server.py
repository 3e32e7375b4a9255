"""The admin HTTP server: h11 on trio streams, a bound on everything.

Bounds: bytes of a head and of a body, seconds for a request to come and for its answer to be taken,
connections at a time. A connection that fails ends alone.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

import h11
import structlog
import trio

from egressd.admin.request_guard import Access, Refusal, Target, access_of, check_request
from egressd.admin.state import AdminState
from egressd.admin.views import TEXT, Answer, act, answer

REQUEST_S = 10.0  # from the end of the last answer to the end of a request
ANSWER_S = 60.0  # to make an answer and have it taken
MAX_HEAD_BYTES = 16384
MAX_BODY_BYTES = 65536  # nothing that is asked here has a body
MAX_CONNECTIONS = 64
_LINGER_S = 2.0  # a close with bytes unread is a reset, which takes the answer away from the client
_LINGER_BYTES = 8 * 1024 * 1024
ACTING = b"x-egressd-admin"
_LOOK_ONLY = b"this user may look and not act: that is for root (sudo) and the node's own user\n"

log = structlog.get_logger("egressd.admin")


async def serve_admin(state: AdminState, listener: socket.socket) -> None:
    """Serve on a listening socket until cancelled."""
    listener.setblocking(False)
    wrapped = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
    connections = Connections(MAX_CONNECTIONS)
    serve = partial(_serve, state=state, connections=connections)
    await trio.serve_listeners(serve, [wrapped])


class Connections:
    """How many are open. One more than the most closes the one that waits longest for a request."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open = 0
        self._waiting: dict[trio.CancelScope, None] = {}  # in the order in which they began

    @contextmanager
    def admitted(self) -> Iterator[bool]:
        """Counts a connection; False: all are busy, there is no room for it."""
        is_full = self._open >= self._most
        if is_full and self._waiting:
            oldest = next(iter(self._waiting))
            del self._waiting[oldest]
            oldest.cancel()
            is_full = False
        self._open += 1
        try:
            yield not is_full
        finally:
            self._open -= 1

    @contextmanager
    def waiting(self, limit_s: float) -> Iterator[trio.CancelScope]:
        """A wait for a request, which ends after its time or when somebody needs the place."""
        with trio.move_on_after(limit_s) as scope:
            self._waiting[scope] = None
            try:
                yield scope
            finally:
                self._waiting.pop(scope, None)


async def _serve(stream: trio.SocketStream, state: AdminState, connections: Connections) -> None:
    sock = stream.socket
    peer_uid = _peer_uid(sock) if sock.family is socket.AF_UNIX else 0
    access = access_of(sock.getsockname(), peer_uid, os.geteuid())
    await serve_connection(stream, access, state, connections)


def _peer_uid(sock: trio.socket.SocketType) -> int:
    credentials = struct.Struct("3i")  # struct ucred of unix(7)
    found = sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, credentials.size)
    _, uid, _ = credentials.unpack(found)
    return int(uid)


async def serve_connection(
    stream: trio.SocketStream, access: Access, state: AdminState, connections: Connections
) -> None:
    """One connection: requests one after the other. Whatever goes wrong ends it alone."""
    try:
        async with stream:
            with connections.admitted() as has_room:
                exchange = _Exchange(stream, access, connections)
                if not has_room:
                    await exchange.refuse(Refusal(503, "too many connections"))
                    return
                while await exchange.run(state):
                    pass
    except (trio.BrokenResourceError, trio.ClosedResourceError, OSError):
        return  # the client is gone
    except Exception:
        log.exception("admin connection failed")


class _Exchange:
    """The requests of one connection."""

    def __init__(self, stream: trio.SocketStream, access: Access, connections: Connections) -> None:
        self._stream = stream
        self._access = access
        self._connections = connections
        self._is_head = False
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)

    async def run(self, state: AdminState) -> bool:
        """One request and its answer; whether another may follow."""
        request: h11.Request | None = None
        self._is_head = False
        try:
            with self._connections.waiting(REQUEST_S) as limit:
                request = await self._next_request()
            if limit.cancelled_caught and self._http.trailing_data[0]:
                raise Refusal(408, f"no whole request within {REQUEST_S:g} s")
            if request is None:
                return False
            target = check_request(
                request.target, request.http_version, request.headers, self._access
            )
        except h11.RemoteProtocolError as error:
            await self.refuse(Refusal(error.error_status_hint, "a malformed request"))
            return False
        except Refusal as refusal:
            await self.refuse(refusal)
            return False
        with trio.move_on_after(ANSWER_S) as limit:
            await self._send(await _answer(state, request, target, self._access))
        if limit.cancelled_caught or self._http.our_state is not h11.DONE:
            return False
        if self._http.their_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    async def _next_request(self) -> h11.Request | None:
        """The next request with its body read and dropped; None: the client ended. Raises `Refusal`,
        `h11.RemoteProtocolError`."""
        request: h11.Request | None = None
        size = 0
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                if self._http.they_are_waiting_for_100_continue:
                    raise Refusal(417, "no body is expected here")
                self._http.receive_data(await self._stream.receive_some(MAX_HEAD_BYTES))
            elif isinstance(event, h11.Request):
                request = event
                self._is_head = request.method == b"HEAD"
            elif isinstance(event, h11.Data):
                size += len(event.data)
                if size > MAX_BODY_BYTES:
                    raise Refusal(413, f"a body of more than {MAX_BODY_BYTES} bytes")
            elif isinstance(event, h11.EndOfMessage):
                return request
            else:
                return None

    async def refuse(self, refusal: Refusal) -> None:
        """Say why and close, so that the client can read it: what it still sends is read and dropped."""
        if self._http.our_state not in (h11.IDLE, h11.SEND_RESPONSE):
            return
        with self._connections.waiting(_LINGER_S):
            await self._send(Answer(refusal.status, TEXT, f"{refusal}\n".encode()), last=True)
            await self._stream.send_eof()
            left = _LINGER_BYTES
            while left > 0 and (data := await self._stream.receive_some(65536)):
                left -= len(data)

    async def _send(self, found: Answer, *, last: bool = False) -> None:
        headers = [
            ("content-type", found.content_type),
            ("content-length", str(len(found.body))),
            ("cache-control", "no-store"),
            ("x-content-type-options", "nosniff"),
        ]
        if last:
            headers.append(("connection", "close"))
        head = h11.Response(status_code=found.status, headers=headers)
        data = self._http.send(head) or b""
        if not self._is_head:
            data += self._http.send(h11.Data(data=found.body)) or b""
        data += self._http.send(h11.EndOfMessage()) or b""
        await self._stream.send_all(data)


async def _answer(
    state: AdminState, request: h11.Request, target: Target, access: Access
) -> Answer:
    headers = dict(request.headers)
    accept = headers.get(b"accept", b"").decode("latin-1")
    try:
        if request.method == b"POST":
            if ACTING not in headers:  # a web page cannot send it: no other site acts here
                return Answer(403, TEXT, b"POST needs the header x-egressd-admin\n")
            if not access.may_act:
                return Answer(403, TEXT, _LOOK_ONLY)
            return await act(state, target)
        if request.method not in (b"GET", b"HEAD"):
            return Answer(405, TEXT, b"GET, HEAD and POST only\n")
        return await answer(state, target, accept)
    except Exception:
        log.exception("admin request failed", path=target.path)
        return Answer(500, TEXT, b"internal error; see the log\n")
