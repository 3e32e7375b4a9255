"""Listening sockets: opened by the supervisor or taken from systemd, and dealt out to workers.

One SO_REUSEPORT socket a worker spreads connections without a shared accept queue. They stay open
here across a worker's death and a reload, so that what waits in their queues is served by whoever
comes next.
"""

from __future__ import annotations

import errno
import ipaddress
import os
import socket
import stat
from collections.abc import Iterable, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from egressd.node.bootstrap_model import Bootstrap, ListenerConfig

T = TypeVar("T")

BACKLOG = 4096
"""Of a listening socket; the kernel cuts it to net.core.somaxconn."""

_FIRST_PASSED_FD = 3  # SD_LISTEN_FDS_START of sd_listen_fds(3)
ADMIN_NAME = "admin"
"""FileDescriptorName of a systemd socket that is the admin address."""

KEPT = "kept-"
"""How the names of descriptors begin that a supervisor left for the next one."""

KEPT_ADMIN = f"{KEPT}{ADMIN_NAME}"

Named = tuple[str, socket.socket]


class StartError(Exception):
    """The node cannot start, or a reload cannot be done: says what, where, and the fix."""


def deal(sockets: Sequence[T], workers: int) -> list[list[T]]:
    """Each worker's share: every socket has a worker, every worker has a socket.

    With fewer sockets than workers (systemd passed one) several workers accept from the same.
    With more (there were more workers once) some accept from several.
    """
    if len(sockets) < workers:
        return [[sockets[worker % len(sockets)]] for worker in range(workers)]
    return [list(sockets[worker::workers]) for worker in range(workers)]


def kept_name(place: tuple[str, int]) -> str:
    """The name under which the sockets of a place are left for the next supervisor (FDNAME of
    sd_notify(3): no colon, at most 255 characters)."""
    return f"{KEPT}{place[0]}-{place[1]}".replace(":", "_")


def elsewhere(
    listeners: Iterable[ListenerConfig], bound: Iterable[tuple[str, str, int]]
) -> list[str]:
    """A sentence for each listener that does not listen where the configuration says, because a socket
    unit's address counts; `bound` is name, address and port as the kernel has them."""
    found = {name: (address, port) for name, address, port in bound}
    said = []
    for listener in listeners:
        address, port = found.get(listener.name, (listener.address, listener.port))
        if _plain(address) == _plain(listener.address) and listener.port in (0, port):
            continue
        real = address if address.startswith("unix:") else f"{address} port {port}"
        said.append(
            f"listener {listener.name} listens on {real}, as its socket unit says, and not on "
            f"{listener.address} port {listener.port}: change the unit as well (`systemctl edit "
            "egressd.socket`), then restart both"
        )
    return said


def _plain(address: str) -> str:
    """An IPv6 address as the kernel spells it."""
    with suppress(ValueError):
        return str(ipaddress.ip_address(address))
    return address


class ListenerPool:
    """Every listening socket of the bootstrap's listeners, and what the supervisor before left."""

    def __init__(self, passed: Sequence[Named] = ()) -> None:
        self._opened: dict[tuple[str, int], list[socket.socket]] = {}  # by configured address, port
        self._passed: dict[str, list[socket.socket]] = {}
        self._kept: dict[str, list[socket.socket]] = {}  # by `kept_name`, until somebody wants them
        for name, sock in passed:
            into = self._kept if name.startswith(KEPT) else self._passed
            into.setdefault(name, []).append(sock)

    def take_kept(self, place: tuple[str, int], most: int = 1 << 16) -> list[socket.socket]:
        """Sockets of a place that the supervisor before left; the caller's from now on."""
        left = self._kept.get(kept_name(place), [])
        taken, left[:] = left[:most], left[most:]
        return taken

    def close_unwanted(self) -> None:
        """Close what the supervisor before left and nobody took."""
        for sockets in self._kept.values():
            for sock in sockets:
                sock.close()
        self._kept.clear()

    def own(self) -> dict[str, list[socket.socket]]:
        """What was not passed by a socket unit, by `kept_name`."""
        return {kept_name(place): sockets for place, sockets in self._opened.items()}

    def passed(self) -> list[Named]:
        """What was, by its name."""
        return [(name, sock) for name, sockets in self._passed.items() for sock in sockets]

    def shares(self, config: Bootstrap) -> list[tuple[Named, ...]]:
        """Each worker's named sockets, opening what is not open yet. Raises StartError."""
        unknown = self._passed.keys() - {listener.name for listener in config.listeners}
        if unknown:
            raise StartError(
                f"systemd passed a socket named {sorted(unknown)[0]!r}: no listener has this name; "
                "set FileDescriptorName= in the .socket unit to a listener's name, or to 'admin'"
            )
        shares: list[list[Named]] = [[] for _ in range(config.workers)]
        for listener in config.listeners:
            dealt = deal(self._sockets_of(listener, config.workers), config.workers)
            for share, sockets in zip(shares, dealt, strict=True):
                share.extend((listener.name, sock) for sock in sockets)
        return [tuple(share) for share in shares]

    def addresses(self, config: Bootstrap) -> list[tuple[str, str, int]]:
        """Name, address and port of each listener as the kernel has it."""
        bound = []
        for listener in config.listeners:
            sockets = self._passed.get(listener.name) or self._opened[place_of(listener)]
            name = sockets[0].getsockname()
            if isinstance(name, str):
                bound.append((listener.name, f"unix:{name}", 0))
            else:
                bound.append((listener.name, str(name[0]), int(name[1])))
        return bound

    def name_at(self, place: tuple[str, int]) -> str:
        """The name of the listener that has this address and port, "" for none."""
        for sockets in (*self._opened.values(), *self._passed.values()):
            bound = sockets[0].getsockname() if sockets else ""
            if isinstance(bound, tuple) and bound[:2] == place:
                return f"{bound[0]}:{bound[1]}"
        return ""

    def counts(self) -> dict[tuple[str, int], int]:
        """How many sockets are open in each place; for `close_beyond`."""
        return {place: len(sockets) for place, sockets in self._opened.items()}

    def close_beyond(self, counts: dict[tuple[str, int], int]) -> None:
        """Close what was opened since `counts`. A socket that nobody accepts from would take its
        part of the connections all the same and let them wait for ever."""
        for place, sockets in list(self._opened.items()):
            kept = counts.get(place, 0)
            for sock in sockets[kept:]:
                sock.close()
            self._opened[place] = sockets[:kept]
            if not kept:
                del self._opened[place]

    def keep_only(self, config: Bootstrap) -> None:
        """Close what `config` does not name."""
        wanted = {place_of(listener) for listener in config.listeners}
        for place in self._opened.keys() - wanted:
            for sock in self._opened.pop(place):
                sock.close()

    def all(self) -> list[socket.socket]:
        """Every socket."""
        pools = (*self._opened.values(), *self._passed.values(), *self._kept.values())
        return [sock for sockets in pools for sock in sockets]

    def close(self) -> None:
        """Close every socket: connections are refused as soon as no worker has a copy open."""
        for sock in self.all():
            sock.close()
        self._opened.clear()
        self._passed.clear()
        self._kept.clear()

    def _sockets_of(self, listener: ListenerConfig, workers: int) -> list[socket.socket]:
        if listener.name in self._passed:
            return self._passed[listener.name]
        place = place_of(listener)
        sockets = self._opened.get(place) or self.take_kept(place)
        if sockets and not _is_one_of_many(sockets[0]):
            self._opened[place] = sockets  # once passed by a socket unit: all workers share it
            return sockets
        fresh: list[socket.socket] = []
        try:
            port = sockets[0].getsockname()[1] if sockets else probe(listener)
            while len(sockets) + len(fresh) < workers:
                fresh.append(bind(listener, port))
                if not sockets:
                    # Beside others it would get its part of the connections before its worker serves.
                    fresh[-1].listen(BACKLOG)
        except OSError as error:
            for sock in fresh:
                sock.close()
            raise StartError(_explain(listener, error)) from error
        self._opened[place] = [*sockets, *fresh]
        return self._opened[place]


def place_of(listener: ListenerConfig) -> tuple[str, int]:
    """What `kept_name` takes. Two listeners of one address may both ask for "any port"; they are told
    apart by name."""
    return (
        f"{listener.address}#{listener.name}" if not listener.port else listener.address,
        listener.port,
    )


def _is_one_of_many(sock: socket.socket) -> bool:
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT))


def _family(address: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in address else socket.AF_INET


def probe(listener: ListenerConfig) -> int:
    """The port to listen on. Raises OSError where another process has it.

    SO_REUSEPORT alone would silently share the port with another node of the same user.
    """
    with socket.socket(_family(listener.address), socket.SOCK_STREAM) as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((listener.address, listener.port))
        return int(sock.getsockname()[1])


def listen(listener: ListenerConfig, port: int) -> socket.socket:
    """A listening SO_REUSEPORT socket. Raises OSError."""
    sock = bind(listener, port)
    try:
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def bind(listener: ListenerConfig, port: int) -> socket.socket:
    """A SO_REUSEPORT socket that takes no connections before `listen`. Raises OSError."""
    sock = socket.socket(_family(listener.address), socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if sock.family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind((listener.address, port))
    except OSError:
        sock.close()
        raise
    return sock


def _explain(listener: ListenerConfig, error: OSError) -> str:
    return explain_place(
        f"listener {listener.name!r} on {listener.address} port {listener.port}", error
    )


def explain_place(where: str, error: OSError) -> str:
    """Why nobody can listen there, and what to do."""
    fix = {
        errno.EADDRINUSE: "another process has this port: stop it, or set another port",
        errno.EADDRNOTAVAIL: "this machine has no such address: set one that it has",
        errno.EACCES: "ports below 1024 need CAP_NET_BIND_SERVICE, or a socket from systemd",
    }.get(error.errno or 0, "see the address and port that were asked for")
    return f"{where}: {error.strerror}; {fix}"


def take_passed_sockets(environ: MutableMapping[str, str], pid: int) -> list[Named]:
    """The sockets that systemd passed (sd_listen_fds(3)), by FileDescriptorName.

    Takes the variables out of `environ`. Raises StartError for what is not a listening stream.
    """
    for_pid = environ.pop("LISTEN_PID", "")
    count = environ.pop("LISTEN_FDS", "")
    names = environ.pop("LISTEN_FDNAMES", "").split(":")
    if for_pid != str(pid) or not count.isdigit():
        return []
    passed: list[Named] = []
    for offset in range(int(count)):
        fd = _FIRST_PASSED_FD + offset
        name = names[offset] if offset < len(names) else "unknown"
        os.set_inheritable(fd, False)
        try:
            sock = socket.socket(fileno=fd)
            listening = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        except OSError as error:
            raise StartError(f"systemd passed {name!r}, not a socket: {error.strerror}") from error
        if sock.type != socket.SOCK_STREAM or not (listening or name.startswith(KEPT)):
            raise StartError(f"systemd passed {name!r}: expected ListenStream= and Accept=no")
        sock.setblocking(False)
        passed.append((name, sock))
    return passed


def open_admin(address: str) -> socket.socket:
    """The admin socket: "unix:/path" (mode 0660, a stale file replaced) or loopback TCP.

    Raises StartError.
    """
    try:
        if address.startswith("unix:"):
            return listen_unix(address.removeprefix("unix:"))
        host, _, port = address.rpartition(":")
        host = host.strip("[]")
        sock = socket.socket(_family(host), socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, int(port)))
        sock.listen(128)
    except OSError as error:
        raise StartError(f"admin.address {address}: {error.strerror or error}") from error
    return sock


def listen_unix(path: str, mode: int = 0o660) -> socket.socket:
    """A listening Unix socket, a stale file replaced; "@name" is an abstract one. Raises OSError."""
    is_abstract = path.startswith("@")
    if not is_abstract:
        _remove_stale(Path(path))
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    before = os.umask(0o777 & ~mode)
    try:
        sock.bind("\0" + path[1:] if is_abstract else path)
        sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    finally:
        os.umask(before)
    return sock


def _remove_stale(path: Path) -> None:
    """Remove a socket file that nobody listens on. Raises OSError when somebody does."""
    try:
        is_socket = stat.S_ISSOCK(path.lstat().st_mode)
    except FileNotFoundError:
        return
    if not is_socket:
        raise FileExistsError(errno.EEXIST, "a file that is not a socket stands there")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError(errno.EADDRINUSE, "another process listens there")
