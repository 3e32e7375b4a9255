"""The worker's bootstrap listeners: their sockets, and what is served on them until the worker stops."""

from __future__ import annotations

import socket
from collections.abc import Callable
from functools import partial

import trio

from egressd.node.bootstrap_model import Bootstrap, ListenerProtocol
from egressd.node.sockets import BACKLOG, Named
from egressd.proxy.context import WorkerContext
from egressd.proxy.listener import Listener, handle_http, handle_tcp, handle_tls

TAKE_S = 5.0
"""How long a stopping worker takes connections from a queue that does not end."""

_HANDLERS = {
    ListenerProtocol.HTTP: handle_http,
    ListenerProtocol.TLS: handle_tls,
    ListenerProtocol.TCP: handle_tcp,
}


class Accepting:
    """One socket that is accepted from until told to stop. `current` says what its connections get."""

    def __init__(self, sock: socket.socket, current: Callable[[], Listener]) -> None:
        self.sock = sock
        self._current = current
        self._scope = trio.CancelScope()
        self._is_stopped = False

    async def run(self) -> None:
        """Accept until stopped or left, which may have happened before this task had its first turn."""
        if self._is_stopped:
            return
        is_listening = self.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        if self.sock.family != socket.AF_UNIX and not is_listening:
            self.sock.listen(BACKLOG)  # see `ListenerPool`
        with self._scope:
            await self._current().serve(self.sock, self._current)

    async def stop(self) -> None:
        """Take what is queued, then close: the supervisor has closed its copy, and nobody else would
        answer these clients."""
        if not self._is_stopped:
            self._is_stopped = True
            self._scope.cancel()
            await self._current().take_queue(self.sock, TAKE_S)
            self.sock.close()

    def leave(self) -> None:
        """Close this copy of a socket that somebody else accepts from."""
        if not self._is_stopped:
            self._is_stopped = True
            self._scope.cancel()
            self.sock.close()


class WorkerListeners:
    """What one worker accepts from, beside the ports that resources ask for."""

    def __init__(self, context: WorkerContext, bootstrap: Bootstrap) -> None:
        self._protocols = {one.name: one.protocol for one in bootstrap.listeners}
        self._context = context
        self._listeners: dict[str, Listener] = {}
        self._open: list[Accepting] = []
        self._lent: dict[int, Accepting] = {}  # of other workers, by number
        self._nursery: trio.Nursery | None = None
        self._stopping = 0

    def at(self, name: str) -> Listener:
        """What is served on the listener of this name."""
        found = self._listeners.get(name)
        if found is None:
            handler = _HANDLERS[self._protocols.get(name, ListenerProtocol.HTTP)]
            mesh = self._context.directory.mesh
            found = self._listeners[name] = Listener(self._context, name, mesh, handler)
        return found

    def serve(self, nursery: trio.Nursery, sockets: tuple[Named, ...]) -> None:
        """Accept from these sockets until `stop`."""
        self._nursery = nursery
        for name, sock in sockets:
            accepting = Accepting(sock, partial(self.at, name))
            self._open.append(accepting)
            nursery.start_soon(accepting.run)

    def borrow(self, number: int, sock: socket.socket, current: Callable[[], Listener]) -> None:
        """Accept from another worker's socket, too, until `give_back`."""
        if self._nursery is None:
            sock.close()
            return
        self.give_back(number)
        accepting = self._lent[number] = Accepting(sock, current)
        self._nursery.start_soon(accepting.run)

    def give_back(self, number: int) -> None:
        """Its owner takes from it again."""
        accepting = self._lent.pop(number, None)
        if accepting is not None:
            accepting.leave()

    def stop(self) -> None:
        """Begin to take what is queued, and to close; `is_taking` until it is done."""
        nursery, self._nursery = self._nursery, None
        for accepting in (*self._open, *self._lent.values()):
            assert nursery is not None
            self._stopping += 1
            nursery.start_soon(self._stop, accepting)
        self._open.clear()
        self._lent.clear()

    async def _stop(self, accepting: Accepting) -> None:
        await accepting.stop()
        self._stopping -= 1

    @property
    def is_taking(self) -> bool:
        """Whether queued connections may still come."""
        return self._stopping > 0
