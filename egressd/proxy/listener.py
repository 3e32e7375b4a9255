"""Accepting: one trio task a listening socket, a fiber a connection, a handler that says what is
spoken on it."""

from __future__ import annotations

import enum
import errno
import select
import socket
from collections.abc import Awaitable, Callable
from itertools import islice
from time import monotonic

import trio

from egressd.net.stream import Stream
from egressd.proxy.accept import AcceptFault, fault_of
from egressd.proxy.context import Session, WorkerContext
from egressd.proxy.downstream import Downstream
from egressd.proxy.l4 import original_destination, peek_server_name, serve_session
from egressd.proxy.l4_target import tcp_target, tls_target, wants_server_name
from egressd.proxy.reply import LocalReply
from egressd.proxy.scope import Scope

_PAUSE_S = 0.1
_FULL_PAUSE_S = 0.02
_BROKEN_PAUSE_S = 1.0
_ACCEPTS = 256
"""Accepted in one go before other tasks get their turn."""
_FAILURES = 16
"""Connections lost in one go; a refusal that never ends must not take the loop."""
_LOOKED_AT = 256
_GIVEN_UP = 16
"""Idle connections that a round of a shortage closes, of so many; ten rounds a second."""

Handler = Callable[[Downstream], Awaitable[None]]


class Taken(enum.Enum):
    """How a round of accepting ended, and how long to wait for the next one, seconds."""

    ALL = 0.0  # nobody waits
    MORE = 0.0001
    FULL = _FULL_PAUSE_S  # the node has as many connections as it may
    SHORT = _PAUSE_S  # descriptors or memory, or one failure after the other
    BROKEN = _BROKEN_PAUSE_S  # the listening socket itself


_KEPT = OSError(
    errno.EMFILE, "Too many open files: the rest is kept for the upstreams of those who are there"
)
_PAUSES = (Taken.FULL, Taken.SHORT, Taken.BROKEN)
_ENDS = {
    AcceptFault.NOTHING: Taken.ALL,
    AcceptFault.LISTENER: Taken.BROKEN,
}


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
        """Accept until cancelled. Where connections cannot be had it waits: the kernel's queue holds
        them.

        `current` says what new connections get, where that may change.
        """
        listener.setblocking(False)
        listening = self.context.loop.listening
        place = listening.add(listener)
        try:
            while True:
                await self._wait(listener)
                # Woken, and cancelled in the same round: whoever cancelled may have closed it.
                await trio.lowlevel.checkpoint_if_cancelled()
                served = self if current is None else current()
                taken = served.accept_waiting(listener)
                if taken in _PAUSES:
                    await trio.sleep(taken.value)
        finally:
            listening.remove(place)

    async def _wait(self, listener: socket.socket) -> None:
        """Until somebody waits to be accepted, or accept(2) has an error to tell."""
        try:
            await trio.lowlevel.wait_readable(listener)
        except OSError as error:  # not a descriptor that can be waited for: accept(2) says why
            self.context.accepts.failed(self.name, error, AcceptFault.LISTENER, monotonic())
            await trio.sleep(_BROKEN_PAUSE_S)

    async def take_queue(self, listener: socket.socket, within_s: float) -> None:
        """Accept all that waits, for a listener that is about to close: nobody else would answer
        these clients. `within_s` bounds it where they come without end, or cannot be had."""
        with trio.move_on_after(within_s):
            while True:
                taken = self.accept_waiting(listener)
                if taken in (Taken.ALL, Taken.BROKEN):
                    return
                await trio.sleep(taken.value)

    def accept_waiting(self, listener: socket.socket) -> Taken:
        """Start to serve the connections that wait now, a bounded number."""
        context = self.context
        admission = context.admission
        failures = 0
        for _ in range(_ACCEPTS):
            if context.descriptors.is_short(len(context.connections)):
                return self._keep_waiting(listener, _KEPT)
            # Who may wait is left in the queue while there is no room; else there has to be somebody
            # whom to refuse.
            admitted = admission.waits and admission.admit()
            if admission.waits and not admitted:
                context.accepts.full(self.name, admission.limit, True, monotonic())
                return Taken.FULL
            try:
                sock, address = listener.accept()
            except OSError as error:
                if admitted:
                    admission.release()
                fault = fault_of(error.errno)
                if fault is AcceptFault.SHORTAGE:
                    return self._keep_waiting(listener, error)
                if fault is not AcceptFault.NOTHING:
                    context.accepts.failed(self.name, error, fault, monotonic())
                failures += 1
                if fault in _ENDS:
                    return _ENDS[fault]
                if failures >= _FAILURES:
                    return Taken.SHORT
                continue
            context.descriptors.took(sock.fileno())
            if not admitted and not admission.admit():
                sock.close()
                context.accepts.full(self.name, admission.limit, False, monotonic())
                continue
            self.start(sock, address)
        return Taken.MORE

    def _keep_waiting(self, listener: socket.socket, error: OSError) -> Taken:
        """Descriptors are short: who waits gets the place of one who keeps a connection for nothing."""
        if not is_waited_for(listener):
            return Taken.ALL
        self.context.accepts.failed(self.name, error, AcceptFault.SHORTAGE, monotonic())
        given_up = 0
        for downstream in islice(self.context.connections, _LOOKED_AT):
            if downstream.idle and given_up < _GIVEN_UP:
                downstream.drain()
                given_up += 1
        return Taken.SHORT

    def start(self, sock: socket.socket, address: object) -> None:
        """Begin to serve a connection that was accepted and admitted."""
        context = self.context
        try:
            sock.setblocking(False)
            if sock.family != socket.AF_UNIX:
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            local = _text(sock.getsockname())
            stream = Stream(context.loop, sock)
        except OSError:
            sock.close()  # the client went before it was served, or no memory to watch it
            context.admission.release()
            return
        downstream = Downstream(context, stream, self.scope, self.handle, local, _text(address))
        context.loop.spawn(downstream.serve)


def is_waited_for(listener: socket.socket) -> bool:
    """Whether somebody waits to be accepted."""
    poll = select.poll()
    poll.register(listener, select.POLLIN)
    return bool(poll.poll(0))


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
        session.flags, session.details = reply.flags, reply.details
        session.transport_failure = str(reply)
        session.context.recorder.protocol_error("downstream")
        session.context.recorder.session_finished(session)
        return False
    return True


def _text(address: object) -> str:
    if isinstance(address, tuple) and len(address) >= 2:
        host, port = address[0], address[1]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    return str(address)
