"""The supervisor's desk for listening sockets that resources ask for (Istio Gateways).

A worker says which places it wants, always all of them; the desk opens one SO_REUSEPORT socket a place
and worker slot, keeps it open across the worker's death so that its accept queue is served by the
replacement, and closes it when no seat of that slot wants the place any more. The supervisor learns
addresses and ports this way, and no registry data.

A line between desk and worker carries one JSON message a packet; it is never waited on.
"""

from __future__ import annotations

import os
import selectors
import socket
from collections.abc import Callable, Hashable
from contextlib import suppress

import msgspec
import structlog

from egressd.api.names import UNIX
from egressd.net.handshakes import stop_handshakes
from egressd.node.bootstrap_model import ListenerConfig
from egressd.node.sockets import (
    ListenerPool,
    explain_place,
    kept_name,
    listen,
    listen_unix,
    probe,
)

_MOST = 1 << 20  # bytes of one message; a place takes about 60
_FOR_EVERYBODY = 0o666  # as a port on loopback is
log = structlog.get_logger("egressd.supervisor")


class Place(msgspec.Struct, frozen=True):
    """Where a listener stands. `name` is for logs: the resource that asks for it."""

    address: str
    port: int
    name: str = ""

    @property
    def key(self) -> tuple[str, int]:
        return self.address, self.port


class Wants(msgspec.Struct, frozen=True, tag="wants"):
    """Worker to desk: every place that it wants now."""

    places: tuple[Place, ...]


class Answer(msgspec.Struct, frozen=True, tag="answer"):
    """Desk to worker, with the descriptor unless there is an error; or `released`."""

    address: str
    port: int
    error: str = ""
    released: bool = False

    @property
    def key(self) -> tuple[str, int]:
        return self.address, self.port


class Lent(msgspec.Struct, frozen=True, tag="lent"):
    """Desk to worker, with the descriptor: accept from this queue of another worker, too. `name` is
    that of a bootstrap listener; "": the place is one that resources ask for."""

    number: int
    name: str = ""
    address: str = ""
    port: int = 0

    @property
    def key(self) -> tuple[str, int]:
        return self.address, self.port


class Recalled(msgspec.Struct, frozen=True, tag="recalled"):
    """Desk to worker: its owner takes from the queue again; close it."""

    number: int


_encode = msgspec.json.Encoder().encode
_wants = msgspec.json.Decoder(Wants)


class Line:
    """The desk's end of one child's line."""

    def __init__(self, seat: Hashable, slot: int) -> None:
        self.seat = seat
        self.slot = slot
        self.given: set[tuple[str, int]] = set()
        self.is_forgotten = False  # its child drains: it gets nothing more
        self.sock, self.child_end = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK
        )
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MOST)
        self.child_end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _MOST)

    @property
    def is_open(self) -> bool:
        """False: its child is gone."""
        return self.sock.fileno() >= 0


class SocketDesk:
    """Every socket that resources asked for, and who wants it."""

    def __init__(
        self,
        selector: selectors.BaseSelector,
        pool: ListenerPool,
        changed: Callable[[], None],
    ) -> None:
        self._selector = selector
        self._pool = pool  # the bootstrap's listeners, and what a supervisor before left
        self._changed = changed
        self._has_said_unfiltered = False
        self._lines: list[Line] = []
        self._wants: dict[Hashable, tuple[int, dict[tuple[str, int], Place]]] = {}
        self._sockets: dict[tuple[tuple[str, int], int], socket.socket] = {}
        self._spare: dict[
            tuple[str, int], list[socket.socket]
        ] = {}  # for no slot, see `take_spare`
        self._errors: dict[tuple[str, int], str] = {}

    # -- lines -------------------------------------------------------------------------------

    def open_line(self, seat: Hashable, slot: int) -> Line:
        """For a child that is about to be forked; `child_end` is the child's to keep open."""
        line = Line(seat, slot)
        self._selector.register(line.sock, selectors.EVENT_READ, lambda: self._heard(line))
        self._lines.append(line)
        return line

    def close_line(self, line: Line) -> None:
        """The child has ended. What its seat wants stays open for the next one."""
        if line in self._lines:
            self._lines.remove(line)
            self._selector.unregister(line.sock)
            line.sock.close()

    def _heard(self, line: Line) -> None:
        try:
            data = line.sock.recv(_MOST)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self.close_line(line)
            return
        if line.is_forgotten:  # it still follows the registry; a socket of its own would outlive it
            return
        try:
            wants = _wants.decode(data)
        except msgspec.DecodeError as error:
            log.error("a worker asked for sockets in a way not understood", error=str(error))
            return
        self._wants[line.seat] = (line.slot, {place.key: place for place in wants.places})
        for key in line.given - self._wants[line.seat][1].keys():
            line.given.discard(key)
            self._settle(key, line.slot)
            self._say(line, Answer(*key, released=True))
        for place in wants.places:
            if place.key not in line.given:
                self._give(line, place)
        self._settle_all()
        self._changed()

    def _give(self, line: Line, place: Place) -> None:
        key = place.key
        error = ""
        sock = self._sockets.get((key, line.slot))
        if sock is None:
            try:
                sock = self._open(place)
                self._sockets[key, line.slot] = sock
            except OSError as reason:
                error = self._reason(place, reason)
        if error:
            if self._errors.get(key) != error:
                log.error("cannot listen", place=place.name, reason=error)
            self._errors[key] = error
        else:
            self._errors.pop(key, None)
            line.given.add(key)
        self._say(line, Answer(*key, error=error), sock)

    def _open(self, place: Place) -> socket.socket:
        if spare := self._spare.get(place.key):
            return spare.pop()
        if taken := self._pool.name_at(place.key):
            raise OSError(0, f"the bootstrap's listener {taken!r} has it")
        if kept := self._pool.take_kept(place.key, 1):
            return kept[0]
        if place.address.startswith(UNIX):
            # One socket for all workers: Unix sockets have no SO_REUSEPORT.
            shared = next((s for (key, _), s in self._sockets.items() if key == place.key), None)
            path = place.address.removeprefix(UNIX)
            return shared.dup() if shared is not None else listen_unix(path, _FOR_EVERYBODY)
        config = ListenerConfig(name="gateway", address=place.address, port=place.port)
        if not any(key == place.key for key, _ in self._sockets):
            probe(config)
        return listen(config, place.port)

    @staticmethod
    def _reason(place: Place, error: OSError) -> str:
        port = "" if place.address.startswith(UNIX) else f" port {place.port}"
        where = f"{place.name or 'listener'} on {place.address}{port}"
        return explain_place(where, error) if error.errno else f"{where}: {error.strerror}"

    def _say(self, line: Line, answer: Answer, sock: socket.socket | None = None) -> None:
        try:
            fds = [sock.fileno()] if sock is not None and not answer.error else []
            socket.send_fds(line.sock, [_encode(answer)], fds)
        except OSError as error:
            # A worker that does not read its answers is stuck, and its heartbeat ends it.
            line.given.discard(answer.key)
            log.error("a worker does not take its sockets", error=str(error))

    def send(self, line: Line, message: Lent | Recalled, sock: socket.socket | None = None) -> bool:
        """Whether the worker will get it."""
        try:
            socket.send_fds(line.sock, [_encode(message)], [] if sock is None else [sock.fileno()])
        except OSError:
            return False
        return True

    # -- who wants what ----------------------------------------------------------------------

    def forget(self, seat: Hashable) -> None:
        """The seat is no more: what only it wanted closes."""
        for line in self._lines:
            line.is_forgotten = line.is_forgotten or line.seat == seat
        if self._wants.pop(seat, None) is not None:
            self._settle_all()

    def _settle_all(self) -> None:
        for key, slot in tuple(self._sockets):
            self._settle(key, slot)
        wanted = {key for _, places in self._wants.values() for key in places}
        for key in self._spare.keys() - wanted:
            for sock in self._spare.pop(key):
                stop_handshakes(sock)
                sock.close()
        for key in self._errors.keys() - wanted:
            del self._errors[key]

    def _settle(self, key: tuple[str, int], slot: int) -> None:
        """Close the socket of a place and slot that no seat wants. Its worker has it until the
        handshakes under way are done."""
        if not any(at == slot and key in places for at, places in self._wants.values()):
            sock = self._sockets.pop((key, slot), None)
            is_wanted = any(key in places for _, places in self._wants.values())
            if sock is not None and is_wanted and sock.family != socket.AF_UNIX:
                # There are fewer workers now. To close it would reset who is in its queue.
                self._spare.setdefault(key, []).append(sock)
            elif sock is not None:
                if not stop_handshakes(sock):
                    self._say_unfiltered()
                if not any(other == key for other, _ in self._sockets):
                    _unlink(key[0])
                sock.close()

    def _say_unfiltered(self) -> None:
        """Once in the life of the node."""
        if not self._has_said_unfiltered:
            self._has_said_unfiltered = True
            log.info(
                "a port closes without stopping handshakes first: who connects in its last moment "
                "may be reset; this kernel wants CAP_NET_ADMIN for more"
            )

    # -- looking and ending ------------------------------------------------------------------

    def places(self) -> list[tuple[Place, str]]:
        """Each wanted place with the reason why it is not open, "" when it is."""
        found = {key: place for _, places in self._wants.values() for key, place in places.items()}
        return [(place, self._errors.get(key, "")) for key, place in sorted(found.items())]

    def sockets_of(self, slot: int) -> list[tuple[tuple[str, int], socket.socket]]:
        """Place and socket of all that this worker slot accepts from."""
        return [(key, sock) for (key, at), sock in self._sockets.items() if at == slot]

    def take_spare(self) -> None:
        """Have what a supervisor before left of places that are wanted: it had more workers. To close it
        would reset who is in its queue."""
        for key in {key for key, _ in self._sockets}:
            if left := self._pool.take_kept(key):
                self._spare.setdefault(key, []).extend(left)

    def spare(self) -> dict[socket.socket, Lent]:
        """Those sockets, with what is served on them."""
        return {sock: Lent(0, "", *key) for key, left in self._spare.items() for sock in left}

    def own(self) -> dict[str, list[socket.socket]]:
        """Every socket, by `kept_name`."""
        found: dict[str, list[socket.socket]] = {}
        for (key, _), sock in self._sockets.items():
            found.setdefault(kept_name(key), []).append(sock)
        for key, left in self._spare.items():
            found.setdefault(kept_name(key), []).extend(left)
        return found

    def abandon(self) -> None:
        """Another supervisor has these sockets, and their names in the file system."""
        for line in self._lines:
            line.is_forgotten = True
        self._wants.clear()
        for sock in (*self._sockets.values(), *self.spare()):
            sock.close()
        self._sockets.clear()
        self._spare.clear()

    def close_sockets(self) -> None:
        """The node stops: workers have their own copies."""
        self._wants.clear()
        self._settle_all()

    def close_in_child(self, own: Line | None) -> None:
        """In a fresh child: all that is not its own line's end."""
        for line in self._lines:
            line.sock.close()
            if line is not own:
                with suppress(OSError):
                    line.child_end.close()
        for sock in (*self._sockets.values(), *self.spare()):
            sock.close()

    def close(self) -> None:
        """Close everything."""
        for line in tuple(self._lines):
            self.close_line(line)
        self.close_sockets()


def _unlink(address: str) -> None:
    """Take away the name of a Unix socket, before it closes: from then on nobody can connect."""
    if address.startswith(UNIX + "/"):
        with suppress(OSError):
            os.unlink(address.removeprefix(UNIX))


def child_line(fd: int) -> socket.socket:
    """The worker's end from its descriptor."""
    os.set_blocking(fd, False)
    return socket.socket(fileno=fd)
