"""A stand-in for systemd where there is none: takes notifications, keeps descriptors (FDSTORE), adopts
what its service leaves behind, and starts the service again with what it kept."""

from __future__ import annotations

import ctypes
import fcntl
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from integration.node import Node, eventually

_PR_SET_CHILD_SUBREAPER = 36
_EXEC = """
import os, sys
count = int(sys.argv[1])
os.environ["LISTEN_PID"] = str(os.getpid())
for fd in range(3, 3 + count):
    os.set_inheritable(fd, True)
os.execv(sys.argv[2], sys.argv[2:])
"""


class ManagedNode(Node):
    """A node under a service manager that restarts it as a unit with KillMode=process does."""

    def __init__(self, directory: Path, resources: Mapping[str, str], **config: object) -> None:
        super().__init__(directory, resources, **config)
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        self._notes = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._place = tempfile.mkdtemp(prefix="notify-")
        self._notes.bind(f"{self._place}/socket")
        self._notes.setblocking(False)
        self.kept: list[tuple[str, int]] = []
        self.main_pid = 0
        self.program = self.command()

    def take_notes(self) -> None:
        """Act on what was said since the last call."""
        while True:
            try:
                data, fds, _, _ = socket.recv_fds(self._notes, 8192, 253)
            except BlockingIOError:
                return
            for fd in fds:
                os.set_inheritable(fd, False)
            said = dict(line.partition("=")[::2] for line in data.decode().split("\n"))
            if "MAINPID" in said:
                self.main_pid = int(said["MAINPID"])
            if "FDSTORE" in said:
                self._keep(said["FDNAME"], fds)
            if "FDSTOREREMOVE" in said:
                gone = [pair for pair in self.kept if pair[0] == said["FDNAME"]]
                for pair in gone:
                    os.close(pair[1])
                    self.kept.remove(pair)

    def _keep(self, name: str, fds: list[int]) -> None:
        inodes = {os.fstat(fd).st_ino for _, fd in self.kept}
        for fd in fds:
            if os.fstat(fd).st_ino in inodes:
                os.close(fd)
            else:
                self.kept.append((name, fd))

    def start(self) -> None:
        """Start the service with what is kept, and wait until it is ready."""
        self.launch()
        eventually(self.is_serving, 30)

    def launch(self) -> None:
        """Start the service with what is kept."""
        self.take_notes()
        spare = [os.dup(fd) for _, fd in self.kept]
        names = ":".join(name for name, _ in self.kept)
        environ = {
            **os.environ,
            "NOTIFY_SOCKET": f"{self._place}/socket",
            "LISTEN_FDS": str(len(spare)),
            "LISTEN_FDNAMES": names,
        }

        def arrange() -> None:
            for at, fd in enumerate(high):
                os.dup2(fd, 3 + at)

        high = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 200) for fd in spare]
        command = [sys.executable, "-c", _EXEC, str(len(spare)), *self.program]
        with (self.directory / "node.log").open("ab") as log:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environ,
                preexec_fn=arrange,
                close_fds=False,
            )
        for fd in [*spare, *high]:
            os.close(fd)
        self.main_pid = self.process.pid

    def is_serving(self) -> bool:
        """Whether a supervisor is ready and known as the main process."""
        self.take_notes()
        with suppress(OSError, ValueError, AssertionError):
            status = self.status()
            return status["state"] == "ready" and status["pid"] == self.main_pid
        return False

    def restart(self) -> None:
        """As `systemctl restart` with the unit's ExecStop."""
        self.take_notes()
        os.kill(self.main_pid, signal.SIGRTMIN)
        self.reap(self.main_pid)
        self.start()

    def reap(self, pid: int) -> None:
        """Wait for a process of the service, ours or adopted."""
        eventually(lambda: has_ended(pid), 40)

    def stop(self) -> None:
        """As `systemctl stop`, and then nothing may be left."""
        self.take_notes()
        with suppress(ProcessLookupError):
            os.kill(self.main_pid, signal.SIGTERM)
        self.reap(self.main_pid)
        eventually(lambda: not self.processes(), 40)
        for _, fd in self.kept:
            os.close(fd)
        self.kept.clear()
        self._notes.close()

    def processes(self) -> list[int]:
        """What lives of the service."""
        asked = str(self.config).encode()
        found = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        return [pid for pid in found if asked in _arguments(pid) and not has_ended(pid)]


def _arguments(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return []


def has_ended(pid: int) -> bool:
    """Whether a process is no more; one of ours is reaped."""
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return file.read().rpartition(b")")[2].split()[0] == b"Z"
    except OSError:
        return True
