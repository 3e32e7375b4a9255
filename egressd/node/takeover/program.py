"""Starting the program that is to take over: the same command line, found anew on disk.

Its listening sockets come by the protocol of sd_listen_fds(3); the descriptors behind them are the line
to the owner and the locks of the node's directories. A lock of flock(2) belongs to the open file: two
processes that have it share it, so the node is never without one, and never has two.
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from typing import NoReturn

from egressd.node.signals import HANDLED
from egressd.node.sockets import Named
from egressd.node.takeover.line import PROTOCOL, TakeoverLine

VARIABLE = "EGRESSD_TAKEOVER"
"""Protocol, descriptor of the line, descriptors of the locks: "1:9:10:11"."""

_FIRST = 3  # SD_LISTEN_FDS_START of sd_listen_fds(3)


def command_line() -> list[str]:
    """What started this program. A script is started by its name: it may lie elsewhere by now, with
    another interpreter."""
    first, *others = sys.orig_argv
    if others and os.path.isabs(others[0]) and os.access(others[0], os.X_OK):
        return others
    return [sys.executable or first, *others]


@dataclass(frozen=True, slots=True)
class Inheritance:
    """What a candidate gets. `locks` are descriptors; `environ` is added to this process's own."""

    sockets: Sequence[Named]
    locks: Sequence[int]
    environ: Mapping[str, str]


def start(command: Sequence[str], inheritance: Inheritance, line: socket.socket) -> int:
    """Start `command` with `line` as its end of a `TakeoverLine`; its process id.

    It is nobody's child, so that the service manager adopts it. Raises OSError.
    """
    told, tells = os.pipe2(os.O_CLOEXEC)
    try:
        between = os.fork()
        if not between:
            _be_between(command, inheritance, line, tells)
        os.close(tells)
        tells = -1
        os.waitpid(between, 0)
        pid = int.from_bytes(os.read(told, 8), "little")
    finally:
        os.close(told)
        if tells >= 0:
            os.close(tells)
    if not pid:
        raise OSError(0, "the process could not be made")
    return pid


def _be_between(
    command: Sequence[str], inheritance: Inheritance, line: socket.socket, tells: int
) -> NoReturn:
    """The process that ends at once and so leaves the candidate to the service manager."""
    try:
        pid = os.fork()
        if not pid:
            _exec(command, inheritance, line)
        os.write(tells, pid.to_bytes(8, "little"))
    finally:
        os._exit(0)


def _exec(command: Sequence[str], inheritance: Inheritance, line: socket.socket) -> NoReturn:
    try:
        for number in HANDLED:
            signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        # As the manager starts it. The kernel shares the processor out by sessions (autogroup): in the
        # session of busy workers a start takes several times as long. In a terminal Ctrl-C then reaches
        # the first process alone, which passes it on: twice would mean to wait for no request.
        os.setsid()
        sockets = inheritance.sockets
        wanted = [sock.fileno() for _, sock in sockets] + [line.fileno(), *inheritance.locks]
        clear = _FIRST + len(wanted)
        copies = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, clear) for fd in wanted]
        for at, fd in enumerate(copies, _FIRST):
            os.dup2(fd, at)  # inheritable
        ours = ":".join(str(_FIRST + len(sockets) + at) for at in range(1 + len(inheritance.locks)))
        environ = {
            **os.environ,
            **inheritance.environ,
            "LISTEN_PID": str(os.getpid()),
            "LISTEN_FDS": str(len(sockets)),
            "LISTEN_FDNAMES": ":".join(name for name, _ in sockets),
            VARIABLE: f"{PROTOCOL}:{ours}",
        }
        os.execvpe(command[0], list(command), environ)
    finally:
        os._exit(127)


@dataclass(slots=True)
class Candidacy:
    """The candidate's side of what it was started with."""

    line: TakeoverLine
    locks: list[int]


def candidacy_from_environment(environ: MutableMapping[str, str]) -> Candidacy | None:
    """Takes the variable out of `environ`; None for an ordinary start. Raises ValueError when the owner
    speaks another protocol."""
    value = environ.pop(VARIABLE, "")
    if not value:
        return None
    protocol, line, *locks = (int(part) for part in value.split(":"))
    if protocol != PROTOCOL:
        raise ValueError(f"{VARIABLE}: found protocol {protocol}, expected {PROTOCOL}")
    for fd in (line, *locks):
        os.set_inheritable(fd, False)
    return Candidacy(TakeoverLine(socket.socket(fileno=line)), locks)
