"""The admin HTTP server: h11 on trio streams, a deadline on everything."""

from __future__ import annotations

import socket
from contextlib import suppress
from functools import partial

import h11
import structlog
import trio

from egressd.admin.state import AdminState
from egressd.admin.views import TEXT, Answer, act, answer

_REQUEST_S = 10.0
_CHUNK = 65536
ACTING = b"x-egressd-admin"

log = structlog.get_logger("egressd.admin")


async def serve_admin(state: AdminState, listener: socket.socket) -> None:
    """Serve on a listening socket until cancelled."""
    listener.setblocking(False)
    wrapped = trio.SocketListener(trio.socket.from_stdlib_socket(listener))
    await trio.serve_listeners(partial(_serve, state=state), [wrapped])


async def _serve(stream: trio.SocketStream, state: AdminState) -> None:
    """One connection: requests one after the other."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=16384)
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError, h11.RemoteProtocolError):
        async with stream:
            while True:
                with trio.move_on_after(_REQUEST_S) as limit:
                    request = await _next_request(stream, connection)
                    if request is None:
                        return
                    await _respond(stream, connection, request, await _answer(state, request))
                if limit.cancelled_caught or connection.our_state is h11.MUST_CLOSE:
                    return
                connection.start_next_cycle()


async def _next_request(
    stream: trio.SocketStream, connection: h11.Connection
) -> h11.Request | None:
    request: h11.Request | None = None
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some(_CHUNK))
        elif isinstance(event, h11.Request):
            request = event
        elif isinstance(event, h11.EndOfMessage):
            return request
        elif isinstance(event, h11.ConnectionClosed):
            return None


async def _answer(state: AdminState, request: h11.Request) -> Answer:
    headers = dict(request.headers)
    accept = headers.get(b"accept", b"").decode("latin-1")
    target = request.target.decode("latin-1")
    try:
        if request.method == b"POST":
            if ACTING not in headers:  # a web page cannot send it: no other site acts here
                return Answer(403, TEXT, b"POST needs the header x-egressd-admin\n")
            return await act(state, target)
        if request.method not in (b"GET", b"HEAD"):
            return Answer(405, TEXT, b"GET, HEAD and POST only\n")
        return await answer(state, target, accept)
    except Exception:
        log.exception("admin request failed", target=target)
        return Answer(500, TEXT, b"internal error; see the log\n")


async def _respond(
    stream: trio.SocketStream, connection: h11.Connection, request: h11.Request, found: Answer
) -> None:
    headers = [
        ("content-type", found.content_type),
        ("content-length", str(len(found.body))),
        ("cache-control", "no-store"),
    ]
    data = connection.send(h11.Response(status_code=found.status, headers=headers)) or b""
    if request.method != b"HEAD":
        data += connection.send(h11.Data(data=found.body)) or b""
    data += connection.send(h11.EndOfMessage()) or b""
    await stream.send_all(data)
