"""What the supervisor opens once and keeps: run directory, sockets, bells, shared memory."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from contextlib import suppress
from pathlib import Path
from time import monotonic, sleep

import msgspec
import structlog

from egressd.dns.shared_answers import create as create_names
from egressd.node.bells import ring
from egressd.node.bootstrap_model import Bootstrap
from egressd.node.children import Seat
from egressd.node.inherited import Inherited
from egressd.node.lifeline import DESK_FD, PULSE_FD, PULSE_SLOT, READY_FD, Pulses
from egressd.node.sockets import (
    ADMIN_NAME,
    KEPT,
    KEPT_ADMIN,
    ListenerPool,
    Named,
    StartError,
    elsewhere,
    open_admin,
    take_passed_sockets,
)
from egressd.node.status import read_status
from egressd.node.stray_output import StrayOutput
from egressd.node.takeover.orphan_sockets import ask_orphans
from egressd.upstream.node_state import MAX_WORKERS, NodeState
from egressd.upstream.node_state import create as create_node_state

_LOCK_RETRY_S = 0.05

log = structlog.get_logger("egressd.supervisor")


def worker_indices(workers: int) -> int:
    """How many worker indices there are: four generations where shared memory has room, two always.
    Those before drain for a while, and a reload waits where no index is free."""
    return max(2 * workers, min(4 * workers, MAX_WORKERS))


def first_indices(bootstrap: Bootstrap, *, is_candidate: bool) -> list[int]:
    """Those of the first workers. A candidate leaves the owner's alone while there are others: with an
    index goes a control socket in the run directory, and the owner's workers need theirs when the
    candidate does not get ready."""
    taken: set[int] = set()
    if is_candidate:
        with suppress(OSError, msgspec.MsgspecError):
            children = read_status(Path(bootstrap.status_path)).children
            taken = {child.index for child in children if child.role == "worker"}
    indices = range(worker_indices(bootstrap.workers))
    return sorted(indices, key=taken.__contains__)[: bootstrap.workers]


class TakenError(StartError):
    """Another node has the directory."""


class Holdings:
    """Every descriptor that outlives the children. Raises StartError when made."""

    def __init__(
        self,
        bootstrap: Bootstrap,
        environ: MutableMapping[str, str],
        *,
        locks: Sequence[int] = (),
        patience_s: float = 0.0,
    ) -> None:
        """`locks` are those of the supervisor to take over from; without them they are taken, and waited
        for within `patience_s`: a supervisor that ends may not be gone yet."""
        self._bootstrap = bootstrap
        self._undo: list[Callable[[], None]] = []
        self._owns_files = False
        self.lock_fds: list[int] = []
        try:
            self._open(bootstrap, environ, locks, monotonic() + patience_s)
        except BaseException:
            self.close()
            raise

    def _open(
        self,
        bootstrap: Bootstrap,
        environ: MutableMapping[str, str],
        locks: Sequence[int],
        until: float,
    ) -> None:
        directories = {"runDir": bootstrap.run_dir, "stateDir": bootstrap.state_dir}
        for field, path in directories.items():
            _make_directory(path, field)
        if os.path.samefile(bootstrap.run_dir, bootstrap.state_dir):
            del directories["stateDir"]
        self._undo.append(self._close_locks)
        if locks:
            self.lock_fds.extend(locks)
            _compare_locks(locks, directories)
        else:
            for field, path in directories.items():
                self.lock_fds.append(_lock_directory(path, field, until))
            self._owns_files = True
        passed = take_passed_sockets(environ, os.getpid())
        self.kept = [pair for pair in passed if pair[0].startswith(KEPT)]
        if not locks:
            passed += ask_orphans(bootstrap.run_dir, passed)
        admins = {name: sock for name, sock in passed if name in {ADMIN_NAME, KEPT_ADMIN}}
        self.owns_admin = ADMIN_NAME not in admins
        self.listeners = ListenerPool([pair for pair in passed if pair[0] not in admins])
        self._undo.append(lambda: self.listeners.close())
        self._remove_files(is_starting=True)  # of a node that was killed
        self.admin = self._open_admin(admins)
        self._undo.append(self.admin.close)
        self.health_fd = create_node_state()
        self._undo.append(lambda: os.close(self.health_fd))
        self.names_fd = create_names()
        self._undo.append(lambda: os.close(self.names_fd))
        self._calls: list[int] = []  # between workers, see `egressd.upstream.node_state`
        self.node_state = NodeState(self.health_fd, None, self._calls)
        self._undo.append(self.node_state.close)
        self.stray = StrayOutput()
        self._undo.append(self.stray.close)
        self.pulses = Pulses()
        self._undo.append(self.pulses.close)
        self.bells: list[int] = []
        self._undo.append(self._close_bells)

    def _open_admin(self, passed: Mapping[str, socket.socket]) -> socket.socket:
        """The one that was passed, or left by the supervisor before for the same address."""
        address = self._bootstrap.admin_address
        if ADMIN_NAME in passed:
            return passed[ADMIN_NAME]
        if (kept := passed.get(KEPT_ADMIN)) is not None:
            if _is_at(kept, address):
                return kept
            kept.close()
        return open_admin(address)

    def own_files(self) -> None:
        """The files of the run directory are this process's from now on."""
        self._owns_files = True

    def disown(self) -> None:
        """Locks and files are another process's."""
        self._owns_files = False
        self._close_locks()

    def _close_locks(self) -> None:
        while self.lock_fds:
            os.close(self.lock_fds.pop())

    def need_bells(self, count: int) -> None:
        """Have a bell for worker indices below `count`."""
        while len(self.bells) < count:
            self.bells.append(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))
            self._calls.append(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))

    def new_seats(self, bootstrap: Bootstrap, indices: Sequence[int]) -> list[Seat]:
        """Seats for the workers of `bootstrap`, with sockets. Raises StartError."""
        self.need_bells(worker_indices(bootstrap.workers))
        shares = self.listeners.shares(bootstrap)
        for sentence in elsewhere(bootstrap.listeners, self.listeners.addresses(bootstrap)):
            log.warning("a socket unit decides", problem=sentence)
        return [
            Seat("worker", index, bootstrap, share, slot=slot)
            for slot, (index, share) in enumerate(zip(indices, shares, strict=False))
        ]

    def _close_bells(self) -> None:
        for descriptors in (self.bells, self._calls):
            while descriptors:
                os.close(descriptors.pop())

    def ring(self) -> None:
        """Let every worker look whether the registry has a new version."""
        ring(self.bells)

    def for_worker(
        self, index: int, share: tuple[Named, ...], ready_fd: int, pulse_slot: int, desk_fd: int
    ) -> Inherited:
        """What worker `index` gets: its own sockets only."""
        listeners = tuple(share if at == index else () for at in range(len(self.bells)))
        return Inherited(
            listeners,
            tuple(self.bells),
            self.health_fd,
            self.names_fd,
            None,
            {**self._extra(ready_fd, pulse_slot), DESK_FD: desk_fd},
            tuple(self._calls),
        )

    def for_registry(self, ready_fd: int, pulse_slot: int) -> Inherited:
        """What the registry process gets: the admin socket, no listeners."""
        return Inherited(
            (),
            tuple(self.bells),
            self.health_fd,
            self.names_fd,
            self.admin,
            self._extra(ready_fd, pulse_slot),
        )

    def _extra(self, ready_fd: int, pulse_slot: int) -> dict[str, int]:
        return {READY_FD: ready_fd, PULSE_FD: self.pulses.fd, PULSE_SLOT: pulse_slot}

    def close_in_child(self, inherited: Inherited) -> None:
        """Close in a fresh child what is not in its share: a socket that some child has open by
        accident would still take connections after the supervisor and its worker closed theirs."""
        self._close_locks()
        self.node_state.close()
        own = {sock for share in inherited.listeners for _, sock in share}
        for sock in self.listeners.all():
            if sock not in own:
                sock.close()
        if inherited.admin is None:
            self.admin.close()

    def close(self) -> None:
        """Close everything and remove what the node left in its run directory."""
        self._remove_files()
        while self._undo:
            self._undo.pop()()

    def _remove_files(self, *, is_starting: bool = False) -> None:
        if not self._owns_files:
            return
        run_dir = Path(self._bootstrap.run_dir)
        status = Path(self._bootstrap.status_path)
        left = [status, status.with_name(f".{status.name}.new"), *run_dir.glob("worker-*.sock")]
        address = self._bootstrap.admin_address
        if self.owns_admin and not is_starting and address.startswith("unix:"):
            left.append(Path(address.removeprefix("unix:")))
        for path in left:
            with suppress(OSError):
                path.unlink()


def _is_at(sock: socket.socket, address: str) -> bool:
    name = sock.getsockname()
    if isinstance(name, str):
        return address == f"unix:{name}"
    host, _, port = address.rpartition(":")
    return (host.strip("[]"), port) == (str(name[0]), str(name[1]))


def _make_directory(path: str, field: str) -> None:
    try:
        os.makedirs(path, mode=0o750, exist_ok=True)
        writable = os.access(path, os.W_OK | os.X_OK)
    except OSError as error:
        raise StartError(f"{field} {path}: {error.strerror}; {_fix(field)}") from error
    if not writable:
        raise StartError(f"{field} {path}: not writable for this user; {_fix(field)}")


def _fix(field: str) -> str:
    return f"make it, or set {field} in the bootstrap file to a directory of your own"


def _lock_directory(path: str, field: str, until: float) -> int:
    """Hold the directory itself, so that no lock file can be left behind."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return fd
            except BlockingIOError as error:
                if monotonic() > until:
                    raise TakenError(
                        f"{field} {path}: another node runs in it; stop it, or set another {field}"
                    ) from error
                sleep(_LOCK_RETRY_S)
    except OSError as error:
        os.close(fd)
        raise StartError(f"{field} {path}: {error.strerror}") from error
    except StartError:
        os.close(fd)
        raise


def _compare_locks(locks: Sequence[int], directories: Mapping[str, str]) -> None:
    held = [os.fstat(fd) for fd in locks]
    inodes = {(one.st_dev, one.st_ino) for one in held}
    for field, path in directories.items():
        asked = os.stat(path)
        if (asked.st_dev, asked.st_ino) not in inodes or len(held) != len(directories):
            raise StartError(f"{field} {path}: the running node has another; that needs a restart")
