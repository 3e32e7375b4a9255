"""Child processes: forked from the preloaded supervisor, watched by pidfd, ended by signal."""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from math import inf
from time import monotonic
from typing import NoReturn

import structlog

from egressd.node.bootstrap_model import Bootstrap
from egressd.node.log import flush_log
from egressd.node.restart import early_deaths, is_crash_loop, restart_pause
from egressd.node.signals import HANDLED, signals_held
from egressd.node.socket_desk import Line
from egressd.node.sockets import Named
from egressd.node.status import ChildState

_PR_SET_PDEATHSIG = 1
_PR_SET_NAME = 15
TRIES = 3
"""Deaths of a new worker before it ever served that show that it will not."""

_CRASHED = 70  # EX_SOFTWARE of sysexits.h: an exception left the child's entry
_libc = ctypes.CDLL(None, use_errno=True)

log = structlog.get_logger("egressd.process")


@dataclass(slots=True, eq=False)
class Child:
    """One living process."""

    pid: int
    pidfd: int  # readable when the process has ended
    ready_fd: int  # readable when it says that it serves; -1 once it has
    pulse_slot: int
    started: float  # monotonic
    started_at: float  # Unix time
    state: ChildState = ChildState.STARTING
    kill_at: float = inf  # monotonic: when patience ends
    line: Line | None = None  # where it asks for listening sockets
    aborted: bool = False  # SIGABRT was sent; SIGKILL is next

    def send(self, number: signal.Signals) -> None:
        """Signal exactly this process (a pid could be somebody else's by now)."""
        with suppress(ProcessLookupError):
            signal.pidfd_send_signal(self.pidfd, number)

    def close(self) -> None:
        """Close what the supervisor holds of it."""
        os.close(self.pidfd)
        if self.ready_fd >= 0:
            os.close(self.ready_fd)
            self.ready_fd = -1


@dataclass(slots=True, eq=False)
class Seat:
    """A place that is always to be filled: worker N of a generation, or the registry process."""

    role: str  # "worker" or "registry"
    index: int
    bootstrap: Bootstrap
    share: tuple[Named, ...] = field(default_factory=tuple)  # listening sockets of this seat
    child: Child | None = None
    due: float = 0.0  # monotonic: when an empty seat is filled
    deaths: int = 0  # early ones in a row
    restarts: int = 0
    last_exit: str = ""
    slot: int = 0  # place among the workers of its generation: who has which listening socket
    replacing: bool = False  # its child was told to end: the next one is no restart
    is_last: bool = False  # the node stops: no child follows this one
    stands_in: bool = False  # for workers that hang: goes when one of them is back
    last_sign: float = field(default_factory=monotonic)  # of a child that serves, monotonic

    @property
    def is_serving(self) -> bool:
        return self.child is not None and self.child.state is ChildState.READY

    @property
    def in_crash_loop(self) -> bool:
        return is_crash_loop(self.deaths)

    def vacate(self, reason: str, now: float) -> None:
        """Its child has ended: decide when the next one starts."""
        assert self.child is not None
        lived = now - self.child.started
        self.child = None
        if self.replacing:
            self.replacing = False
            self.due = now
            return
        self.last_exit = reason
        self.restarts += 1
        self.deaths = early_deaths(self.deaths, lived)
        self.due = now + restart_pause(self.deaths)


def fork_child(
    name: str, before: Callable[[], None], entry: Callable[[], None], *, outlives: bool = False
) -> tuple[int, int]:
    """Start `entry` in a new process named `name`; `before` runs first in it. When this process dies,
    the child gets SIGTERM, unless it `outlives` it.

    Returns pid and pidfd. Raises OSError where the system is out of processes, memory or
    descriptors. In the child it never returns.
    """
    parent = os.getpid()
    with signals_held():
        pid = os.fork()
        if not pid:
            _be_child(name, 0 if outlives else parent, before, entry)
    try:
        return pid, os.pidfd_open(pid)
    except OSError:  # nobody would hear of its end
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _be_child(
    name: str, parent: int, before: Callable[[], None], entry: Callable[[], None]
) -> NoReturn:
    code = _CRASHED
    try:
        _libc.prctl(_PR_SET_NAME, name.encode()[:15], 0, 0, 0)
        before()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, HANDLED)
        if parent:
            # Should the supervisor be killed, the child drains as on any SIGTERM.
            _libc.prctl(_PR_SET_PDEATHSIG, int(signal.SIGTERM), 0, 0, 0)
            if os.getppid() != parent:
                os.kill(os.getpid(), signal.SIGTERM)
        faulthandler.enable(2)
        entry()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        log.critical("a process failed", process=name, exc_info=True)
    finally:
        with suppress(BaseException):
            flush_log()
        os._exit(code)


def reap(child: Child) -> str:
    """How an ended child ended: "exit 1", "signal SIGKILL"."""
    try:
        result = os.waitid(os.P_PIDFD, child.pidfd, os.WEXITED)
    except ChildProcessError:
        return "unknown"
    if result is None or result.si_code == os.CLD_EXITED:
        return f"exit {result.si_status if result else 0}"
    try:
        return f"signal {signal.Signals(result.si_status).name}"
    except ValueError:
        return f"signal {result.si_status}"
