"""The worker's ports of Gateways and of the Sidecar: what the resources ask for is opened, changed and
closed while the others serve on."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from contextlib import suppress
from functools import partial

import msgspec
import structlog
import trio

from egressd.api.resource import Problem
from egressd.net.handshakes import GRACE_S
from egressd.node.socket_desk import Answer, Lent, Place, Recalled, Wants
from egressd.node.worker_listeners import Accepting, WorkerListeners
from egressd.proxy.context import WorkerContext
from egressd.proxy.gateway import GatewayPort
from egressd.proxy.listener import Listener
from egressd.proxy.sidecar import SidecarPort
from egressd.registry.profile import NodeProfile
from egressd.registry.view import RegistryView
from egressd.routing.gateway import GatewayListener, compile_listeners
from egressd.routing.sidecar import SidecarListener, compile_sidecar_listeners
from egressd.upstream.server_tls import ServerContextCache

_RETRY_S = 2.0
_RELEASE_S = 1.0
_MOST = 1 << 16
_message = msgspec.json.Decoder(Answer | Lent | Recalled)
Key = tuple[str, int]
Port = GatewayPort | SidecarPort
Spec = GatewayListener | SidecarListener

log = structlog.get_logger("egressd.worker")


class _Open:
    """A port that is served on a socket."""

    def __init__(self, port: Port, sock: socket.socket) -> None:
        self.port = port
        self.accepting = Accepting(sock, self.current)
        self.released = trio.Event()

    def current(self) -> Listener:
        """What new connections get."""
        return self.port.listener


class GatewayPorts:
    """Keeps the open ports at what Gateways and the Sidecar say; where both want one, the Gateway
    has it. One a worker."""

    def __init__(
        self,
        context: WorkerContext,
        view: RegistryView,
        profile: NodeProfile,
        line: socket.socket | None,
        listeners: WorkerListeners,
        *,
        address: str,
        ports: Mapping[str, int],
    ) -> None:
        self._context = context
        self._view = view
        self._profile = profile
        self._line = line
        self._listeners = listeners
        self._address = address
        self._port_map = {int(port): target for port, target in ports.items()}
        self._contexts = ServerContextCache()
        self._open: dict[Key, _Open] = {}
        self._waiting: dict[Key, Port] = {}  # asked for, no socket yet
        self._closing: dict[Key, _Open] = {}
        self._nursery: trio.Nursery | None = None
        self._stopping = 0
        self._unanswered: set[Key] = set()
        self._answered = trio.Event()
        self.problems: tuple[Problem, ...] = ()
        self.supervisor_gone = trio.Event()

    def follow(self) -> None:
        """Bring the ports to what the registry says now."""
        listeners, self.problems = compile_listeners(
            self._view, self._profile, bind=self._address, ports=self._port_map
        )
        specs: list[Spec] = [*compile_sidecar_listeners(self._view, self._profile), *listeners]
        wanted = {(one.address, one.port): one for one in specs}
        for key in (self._open.keys() | self._waiting.keys()) - wanted.keys():
            self._release(key)
        for key, spec in wanted.items():
            self._serve(key, spec)
        self._ask()

    def _port(self, spec: Spec) -> Port:
        if isinstance(spec, SidecarListener):
            return SidecarPort(self._context, spec)
        return GatewayPort(self._context, spec, self._contexts, self._profile)

    def _serve(self, key: Key, spec: Spec) -> None:
        found = self._open[key].port if key in self._open else self._waiting.get(key)
        if found is None:
            self._waiting[key] = self._port(spec)
        elif _follows(found, spec):
            pass
        else:  # another protocol: the socket stays, the new connections get the new port
            found.retire()
            port = self._port(spec)
            if key in self._open:
                self._open[key].port = port
            else:
                self._waiting[key] = port

    def _release(self, key: Key) -> None:
        port = self._waiting.pop(key, None)
        if port is not None:
            port.retire()
        opened = self._open.pop(key, None)
        if opened is not None:
            self._closing[key] = opened
            assert self._nursery is not None
            self._nursery.start_soon(self._close, key, opened)

    def _ask(self) -> None:
        """Say every place that is wanted; the desk answers for those that are new."""
        if self._line is None:
            return
        wanted = {key: opened.port for key, opened in self._open.items()} | self._waiting
        places = tuple(Place(*key, port.spec.owner) for key, port in wanted.items())
        self._unanswered = set(self._waiting)
        if not self._waiting:
            self._answered.set()
        with suppress(OSError):  # the supervisor is gone: the next one's workers open what is new
            self._line.send(msgspec.json.encode(Wants(places)))

    # -- tasks -------------------------------------------------------------------------------

    async def run(self) -> None:
        """Take sockets as they come, and ask again for those that could not be had."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self.follow()
            nursery.start_soon(self._retry)
            while self._line is not None:
                await trio.lowlevel.wait_readable(self._line)
                self._take_answers(self._line)

    async def first(self, within_s: float) -> None:
        """Wait until every port that is wanted at start is open or refused."""
        with trio.move_on_after(within_s):
            await self._answered.wait()

    async def _retry(self) -> None:
        while True:
            await trio.sleep(_RETRY_S)
            if self._waiting:
                self._ask()

    def _take_answers(self, line: socket.socket) -> None:
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(line, _MOST, 4)
            except BlockingIOError:
                return
            except OSError:  # it died with something of ours unread
                data = b""
            if not data:
                self._line = None
                self.supervisor_gone.set()
                return
            message = _message.decode(data)
            sockets = [socket.socket(fileno=fd) for fd in fds]
            if isinstance(message, Recalled):
                self._listeners.give_back(message.number)
            elif isinstance(message, Lent):
                for sock in sockets:
                    self._borrow(message, sock)
            elif message.released:
                closing = self._closing.get(message.key)
                if closing is not None:
                    closing.released.set()
            else:
                self._take_answer(message, sockets)

    def _take_answer(self, answer: Answer, sockets: list[socket.socket]) -> None:
        for sock in sockets:
            self._take(answer.key, sock)
        self._unanswered.discard(answer.key)
        if not self._unanswered:
            self._answered.set()

    def _borrow(self, lent: Lent, sock: socket.socket) -> None:
        """Another worker does not take from this queue."""
        opened = self._open.get(lent.key)
        if lent.name:
            self._listeners.borrow(lent.number, sock, partial(self._listeners.at, lent.name))
        elif opened is not None:
            self._listeners.borrow(lent.number, sock, opened.current)
        else:
            sock.close()  # this worker has not opened the port, or closed it already

    def _take(self, key: Key, sock: socket.socket) -> None:
        port = self._waiting.pop(key, None)
        if port is None or self._nursery is None:
            sock.close()  # not wanted any more
            return
        opened = self._open[key] = _Open(port, sock)
        self._nursery.start_soon(opened.accepting.run)

    async def _close(self, key: Key, opened: _Open) -> None:
        """The desk lets no new handshake begin and closes its copy; those under way finish and are
        taken from the queue; then ours closes."""
        with trio.move_on_after(_RELEASE_S):
            await opened.released.wait()
        await trio.sleep(GRACE_S)
        await self._stop(opened)
        if self._closing.get(key) is opened:
            del self._closing[key]

    async def _stop(self, opened: _Open) -> None:
        self._stopping += 1
        await opened.accepting.stop()
        opened.port.retire()
        self._stopping -= 1

    def drain(self) -> None:
        """The worker stops: take what is queued, then close; `is_taking` until it is done."""
        for opened in (*self._open.values(), *self._closing.values()):
            assert self._nursery is not None
            self._nursery.start_soon(self._stop, opened)
        self._open.clear()
        self._closing.clear()
        self._waiting.clear()

    @property
    def is_taking(self) -> bool:
        """Whether queued connections may still come."""
        return self._stopping > 0

    def places(self) -> list[tuple[Key, socket.socket]]:
        """Where it listens."""
        return [(key, one.accepting.sock) for key, one in self._open.items()]


def _follows(port: Port, spec: Spec) -> bool:
    """Bring a port to what the resources say now; False: it cannot become that."""
    if port.spec.speech is not spec.speech:
        return False
    if isinstance(port, GatewayPort) and isinstance(spec, GatewayListener):
        if port.spec != spec:
            port.update(spec)
        return True
    if isinstance(port, SidecarPort) and isinstance(spec, SidecarListener):
        port.update(spec)
        return True
    return False
