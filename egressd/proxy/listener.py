"""Accepting: one trio task a listening socket, a fiber a connection, a handler that says what is
spoken on it."""

from __future__ import annotations

import errno
import socket
from collections.abc import Awaitable, Callable
from time import monotonic

import structlog
import trio

from egressd.net.stream import Stream
from egressd.proxy.context import Session, WorkerContext
from egressd.proxy.downstream import Downstream
from egressd.proxy.l4 import original_destination, peek_server_name, serve_session
from egressd.proxy.l4_target import tcp_target, tls_target, wants_server_name
from egressd.proxy.reply import LocalReply
from egressd.proxy.scope import Scope

_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE_S = 0.1
_ACCEPTS = 256
"""Accepted in one go before other tasks get their turn."""

Handler = Callable[[Downstream], Awaitable[None]]

log = structlog.get_logger("egressd.worker")


class Listener:
    """What is served on the sockets of one place. `scope` has the names until more is known."""

    __slots__ = ("context", "handle", "name", "scope")

    def __init__(self, context: WorkerContext, name: str, scope: Scope, handle: Handler) -> None:
        self.context = context
        self.name = name
        self.scope = scope
        self.handle = handle

    async def serve(
        self, listener: socket.socket, current: Callable[[], Listener] | None = None
    ) -> None:
        """Accept until cancelled. Out of descriptors, it waits: the kernel's queue holds the rest.

        `current` says what new connections get, where that may change.
        """
        listener.setblocking(False)
        listening = self.context.loop.listening
        place = listening.add(listener)
        try:
            while True:
                await trio.lowlevel.wait_readable(listener)
                # Woken, and cancelled in the same round: whoever cancelled may have closed it.
                await trio.lowlevel.checkpoint_if_cancelled()
                served = self if current is None else current()
                if not served.accept_waiting(listener):
                    await trio.sleep(_PAUSE_S)
        finally:
            listening.remove(place)

    def accept_waiting(self, listener: socket.socket) -> bool:
        """Start to serve the connections that wait now, a bounded number. False: no more can be had."""
        for _ in range(_ACCEPTS):
            if _is_full(self.context):
                return False
            try:
                sock, address = listener.accept()
            except (BlockingIOError, ConnectionError):
                return True
            except OSError as error:
                if error.errno not in _OUT_OF_DESCRIPTORS:
                    raise
                log.error("cannot accept", listener=self.name, reason=str(error))
                return False
            self.start(sock, address)
        return True

    def start(self, sock: socket.socket, address: object) -> None:
        """Begin to serve an accepted connection."""
        loop = self.context.loop
        try:
            sock.setblocking(False)
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            local = _text(sock.getsockname())
        except OSError:
            sock.close()  # the client went before it was served
            return
        downstream = Downstream(
            self.context, Stream(loop, sock), self.scope, self.handle, local, _text(address)
        )
        loop.spawn(downstream.serve)


async def handle_http(downstream: Downstream) -> None:
    """Plain HTTP."""
    await downstream.serve_http()


async def handle_tls(downstream: Downstream) -> None:
    """TLS of the node's own clients, left closed: by SNI (bootstrap listener, protocol TLS)."""
    session = Session(downstream, monotonic())
    downstream.target_address, downstream.port = original_destination(downstream.stream.sock)
    if not await read_server_name(session):
        return
    await serve_session(session, tls_target)


async def handle_tcp(downstream: Downstream) -> None:
    """Any bytes of the node's own clients, by where they were going (protocol TCP)."""
    session = Session(downstream, monotonic())
    downstream.target_address, downstream.port = original_destination(downstream.stream.sock)
    wants = wants_server_name(downstream.scope, downstream.target_address, downstream.port)
    if wants and not await read_server_name(session):
        return
    await serve_session(session, tcp_target)


async def read_server_name(session: Session) -> bool:
    """Learn the SNI. False: what came is no TLS; counted, logged, and to be closed."""
    try:
        session.downstream.sni = await peek_server_name(session)
    except LocalReply as reply:
        session.flag, session.details = reply.flag, reply.details
        session.transport_failure = str(reply)
        session.context.recorder.protocol_error("downstream")
        session.context.recorder.session_finished(session)
        return False
    return True


def _is_full(context: WorkerContext) -> bool:
    limit = context.settings.max_connections
    return limit > 0 and len(context.connections) >= limit


def _text(address: object) -> str:
    if isinstance(address, tuple) and len(address) >= 2:
        host, port = address[0], address[1]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    return str(address)
