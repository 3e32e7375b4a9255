"""The supervisor's status file `runDir/supervisor.json`: what runs, since when, restarts.

Written whole and renamed into place, so that a reader (admin, `egressd status`) never sees half.
"""

from __future__ import annotations

import enum
import os
from pathlib import Path

import msgspec


class ChildState(enum.StrEnum):
    """Where a child stands in its life."""

    STARTING = "starting"
    READY = "ready"
    DRAINING = "draining"
    WAITING = "waiting"  # ended; its next start is due after a pause


class ChildStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One child process. `started_at` is Unix seconds; `pid` 0 while it waits to be started."""

    role: str  # "worker" or "registry"
    index: int
    pid: int
    state: ChildState
    started_at: float
    restarts: int  # of this place, since the node started
    last_exit: str = ""  # "signal SIGKILL", "exit 1"; "" = never ended
    crash_loop: bool = False


class ListenerStatus(msgspec.Struct, frozen=True, rename="camel"):
    """A listener as the kernel has it: the port is the real one where 0 was asked for."""

    name: str
    address: str
    port: int
    error: str = ""  # why it is not open


class ReloadCounts(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Reloads since the supervisor's process started. `needs_restart`: changed fields that the last one
    could not take."""

    begun: int = 0
    ended: int = 0
    needs_restart: tuple[str, ...] = ()


class SupervisorStatus(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """The whole node. `generation` grows with every configuration that took effect."""

    pid: int
    state: str  # starting, ready, reloading, upgrading, stopping
    started_at: float
    generation: int
    config_path: str
    config_error: str  # why the last reload was refused; "" = it was not
    admin_address: str
    worker_restarts: int
    registry_restarts: int
    listeners: tuple[ListenerStatus, ...]
    children: tuple[ChildStatus, ...]
    log_lines_dropped: int = 0  # of the supervisor's own log
    version: str = ""  # of the program that runs
    upgrade_error: str = ""  # why the last upgrade failed
    upgrade_failed_at: float = 0.0  # Unix seconds; 0 = none has failed
    reloads: ReloadCounts = ReloadCounts()


def write_status(path: Path, status: SupervisorStatus) -> None:
    """Replace the file. Raises OSError."""
    beside = path.with_name(f".{path.name}.new")
    fd = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
    with open(fd, "wb") as file:
        file.write(msgspec.json.format(msgspec.json.encode(status)))
    beside.replace(path)


def read_status(path: Path) -> SupervisorStatus:
    """What the supervisor said last. Raises OSError or msgspec.ValidationError."""
    return msgspec.json.decode(path.read_bytes(), type=SupervisorStatus)
