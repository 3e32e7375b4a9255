"""What the supervisor opens once and keeps: run directory, sockets, bells, shared memory."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Callable, MutableMapping
from contextlib import suppress
from pathlib import Path

from egressd.dns.shared_answers import create as create_names
from egressd.node.bells import ring
from egressd.node.bootstrap_model import Bootstrap
from egressd.node.inherited import Inherited
from egressd.node.lifeline import DESK_FD, PULSE_FD, PULSE_SLOT, READY_FD, Pulses
from egressd.node.sockets import (
    ADMIN_NAME,
    ListenerPool,
    Named,
    StartError,
    open_admin,
    take_passed_sockets,
)
from egressd.node.stray_output import StrayOutput
from egressd.upstream.node_state import NodeState
from egressd.upstream.node_state import create as create_node_state


class Holdings:
    """Every descriptor that outlives the children. Raises StartError when made."""

    def __init__(self, bootstrap: Bootstrap, environ: MutableMapping[str, str]) -> None:
        self._bootstrap = bootstrap
        self._undo: list[Callable[[], None]] = []
        self._owns_files = False
        self.lock_fds: list[int] = []
        try:
            self._open(bootstrap, environ)
        except BaseException:
            self.close()
            raise

    def _open(self, bootstrap: Bootstrap, environ: MutableMapping[str, str]) -> None:
        directories = {"runDir": bootstrap.run_dir, "stateDir": bootstrap.state_dir}
        for field, path in directories.items():
            _make_directory(path, field)
        if os.path.samefile(bootstrap.run_dir, bootstrap.state_dir):
            del directories["stateDir"]
        self._undo.append(self._close_locks)
        for field, path in directories.items():
            self.lock_fds.append(_lock_directory(path, field))
        self._owns_files = True
        self._remove_files()  # of a node that was killed
        passed = take_passed_sockets(environ, os.getpid())
        self.listeners = ListenerPool([pair for pair in passed if pair[0] != ADMIN_NAME])
        self._undo.append(lambda: self.listeners.close())
        admins = [sock for name, sock in passed if name == ADMIN_NAME]
        self.admin = admins[0] if admins else open_admin(bootstrap.admin_address)
        self._owns_admin_path = not admins
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

    def need_bells(self, count: int) -> None:
        """Have a bell for worker indices below `count`."""
        while len(self.bells) < count:
            self.bells.append(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))
            self._calls.append(os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC))

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

    def _close_locks(self) -> None:
        while self.lock_fds:
            os.close(self.lock_fds.pop())

    def _remove_files(self) -> None:
        if not self._owns_files:
            return
        run_dir = Path(self._bootstrap.run_dir)
        status = Path(self._bootstrap.status_path)
        left = [status, status.with_name(f".{status.name}.new"), *run_dir.glob("worker-*.sock")]
        if getattr(self, "_owns_admin_path", False):
            address = self._bootstrap.admin_address
            left += [Path(address.removeprefix("unix:"))] if address.startswith("unix:") else []
        for path in left:
            with suppress(OSError):
                path.unlink()


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


def _lock_directory(path: str, field: str) -> int:
    """Hold the directory itself, so that no lock file can be left behind."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(fd)
        if error.errno != errno.EWOULDBLOCK:
            raise StartError(f"{field} {path}: {error.strerror}") from error
        raise StartError(
            f"{field} {path}: another node runs in it; stop it, or set another {field}"
        ) from error
    return fd
