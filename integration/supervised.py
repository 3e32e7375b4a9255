"""A supervised node of dummy workers (`integration.supervised_node`) for tests."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import yaml

from egressd.node.status import ChildStatus, SupervisorStatus, read_status

PATIENCE_S = 20.0


def eventually(claim: Callable[[], bool], what: str) -> None:
    """Wait until `claim` holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not claim():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.02)


class Node:
    """A supervised node of dummy workers."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.config = path / "egressd.yaml"
        self.notifications = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notifications.bind(str(path / "notify"))
        self.notifications.settimeout(PATIENCE_S)
        self.process: subprocess.Popen[bytes] | None = None

    def write_config(self, *, behaviour: str = "", version: str = "1", **fields: object) -> None:
        config = {
            "node": {"labels": {"behaviour": behaviour, "version": version}},
            "workers": 1,
            "listeners": [{"name": "egress", "port": 0}],
            "runDir": str(self.path / "run"),
            "stateDir": str(self.path / "state"),
            "limits": {"drainTimeout": "5s"},
            **fields,
        }
        self.config.write_text(yaml.safe_dump(config))

    def start(self, *, is_managed: bool = True) -> None:
        notify = {"NOTIFY_SOCKET": str(self.path / "notify")} if is_managed else {}
        environment = {**os.environ, **notify}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "integration.supervised_node", str(self.config)],
            env=environment,
            stdout=subprocess.DEVNULL,
        )

    def start_ready(self) -> None:
        self.start()
        self.wait_notified("READY=1")

    def start_unmanaged(self) -> None:
        """Without anybody who would start it again."""
        self.start(is_managed=False)
        status = self.path / "run" / "supervisor.json"
        eventually(lambda: status.exists() and self.status().state == "ready", "it is ready")

    def wait_notified(self, wanted: str) -> str:
        """The next notification that holds `wanted`."""
        while True:
            message = self.notifications.recv(4096).decode()
            if wanted in message.split("\n"):
                return message

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def end(self) -> int:
        assert self.process is not None
        return self.process.wait(PATIENCE_S)

    def status(self) -> SupervisorStatus:
        return read_status(self.path / "run" / "supervisor.json")

    def child(self, role: str) -> ChildStatus:
        """The one child of `role` that does not drain; the first where one more stands in."""
        return min(
            (
                child
                for child in self.status().children
                if child.role == role and child.state != "draining"
            ),
            key=lambda child: child.index,
        )

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), PATIENCE_S)

    @property
    def port(self) -> int:
        return self.status().listeners[0].port

    def events(self) -> list[str]:
        return (self.path / "state" / "events").read_text().splitlines()

    def _pids(self) -> list[int]:
        """The children that the status file last named and that are of this node."""
        try:
            named = [child.pid for child in self.status().children if child.pid]
        except OSError:
            return []
        return [pid for pid in named if str(self.config) in _command_line(pid)]

    def kill_everything(self) -> None:
        if self.process is not None:
            pids = self._pids()
            self.process.kill()
            self.process.wait()
            for pid in filter(is_alive, pids):  # a failed test leaves nobody behind either
                os.kill(pid, signal.SIGKILL)
        self.notifications.close()


def ask(connection: socket.socket, line: str) -> str:
    connection.sendall(f"{line}\n".encode())
    return connection.recv(200).decode().strip()


def _command_line(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except OSError:
        return ""


def is_refused(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE_S).close()
    except ConnectionRefusedError:
        return True
    return False


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
