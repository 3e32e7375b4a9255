"""A real node for tests: `egressd run` as a child process, on free ports, in its own directory."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")
_START_S = 30.0


def eventually(check: Callable[[], T], within_s: float = 10.0) -> T:
    """The first true value of `check`; fails when there is none in time."""
    until = time.monotonic() + within_s
    while True:
        found = check()
        if found:
            return found
        assert time.monotonic() < until, f"not within {within_s} s: {check!r}, last {found!r}"
        time.sleep(0.02)


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("admin", timeout=10)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(10)
        self.sock.connect(self._path)


class Node:
    """One node. `resources` maps file names to YAML; the directory may be written to later.
    `waits_for_sources`: it has started only when every source has answered."""

    def __init__(
        self,
        directory: Path,
        resources: Mapping[str, str] | None = None,
        *,
        workers: int = 2,
        waits_for_sources: bool = True,
        **config: object,
    ) -> None:
        self.directory = directory
        self._waits_for_sources = waits_for_sources
        self.resources = directory / "resources"
        self.resources.mkdir(parents=True, exist_ok=True)
        for name, text in (resources or {}).items():
            self.write(name, text)
        self.config = directory / "egressd.yaml"
        self.settings: dict[str, object] = {
            "node": {"id": "node-under-test"},
            "workers": workers,
            "listeners": [{"name": "egress", "address": "127.0.0.1", "port": 0}],
            "resources": [str(self.resources)],
            "accessLog": {"path": str(directory / "access.log"), "format": "json"},
            "stateDir": str(directory / "state"),
            "runDir": str(directory / "run"),
            **config,
        }
        self.save()
        self.process: subprocess.Popen[bytes] | None = None

    def save(self) -> None:
        """Write the bootstrap file."""
        self.config.write_text(json.dumps(self.settings))

    def write(self, name: str, text: str) -> None:
        """Write a resource file as editors do: beside, then renamed into place."""
        beside = self.resources / f".{name}.new"
        beside.write_text(text)
        beside.replace(self.resources / name)

    def __enter__(self) -> Node:
        try:
            self.start()
        except BaseException:  # nobody else would end it
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Start and wait until the node says that it is ready."""
        with (self.directory / "node.log").open("ab") as log:
            self.process = subprocess.Popen(
                self.command(),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment(),
            )
        eventually(self._is_ready, _START_S)

    def command(self) -> list[str]:
        """What is started."""
        return [sys.executable, "-m", "egressd.cli.main", "run", "--bootstrap", str(self.config)]

    def environment(self) -> dict[str, str]:
        """Of the supervisor."""
        return dict(os.environ)

    def _is_ready(self) -> bool:
        assert self.process is not None
        assert self.process.poll() is None, self.log()
        try:
            status, said = self.admin("/readyz")
            is_well = status == 200 or (not self._waits_for_sources and b"answered" in said)
            return is_well and self.status()["state"] == "ready"
        except (OSError, KeyError, ValueError):
            return False

    def stop(self) -> int:
        """SIGTERM, and the exit status."""
        if self.process is None:
            return 0
        process, self.process = self.process, None
        process.send_signal(signal.SIGTERM)
        try:
            return process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            raise

    def log(self) -> str:
        """What the node wrote."""
        return (self.directory / "node.log").read_text(errors="replace")

    def access_log(self) -> list[dict[str, object]]:
        """The access log's entries so far."""
        path = self.directory / "access.log"
        if not path.exists():
            return []
        return [json.loads(line) for line in path.read_text().splitlines() if line]

    # -- asking ------------------------------------------------------------------------------

    def status(self) -> dict[str, object]:
        """The supervisor's status file."""
        path = self.directory / "run" / "supervisor.json"
        loaded: dict[str, object] = json.loads(path.read_text())
        return loaded

    @property
    def port(self) -> int:
        """The egress port."""
        listeners = self.status()["listeners"]
        assert isinstance(listeners, list)
        return int(listeners[0]["port"])

    def pids(self, role: str) -> dict[int, int]:
        """Serving processes of a role by index."""
        children = self.status()["children"]
        assert isinstance(children, list)
        return {
            c["index"]: c["pid"] for c in children if c["role"] == role and c["state"] == "ready"
        }

    def admin(self, target: str) -> tuple[int, bytes]:
        """Status and body of an admin path."""
        connection = _UnixConnection(str(self.directory / "run" / "admin.sock"))
        try:
            connection.request("GET", target)
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()

    def admin_json(self, target: str) -> object:
        """A JSON answer of the admin server."""
        return json.loads(self.admin(target)[1])

    def get(
        self, host: str, path: str = "/", *, method: str = "GET", **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """One request through the egress port, on a connection of its own."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=15)
        try:
            sent = {"Host": host, **{k.replace("_", "-"): v for k, v in headers.items()}}
            connection.request(method, path, headers=sent)
            response = connection.getresponse()
            found = {k.lower(): v for k, v in response.getheaders()}
            return response.status, found, response.read()
        finally:
            connection.close()

    def cli(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """A command against this node."""
        return subprocess.run(
            [sys.executable, "-m", "egressd.cli.main", *arguments],
            env={**os.environ, "EGRESSD_CONFIG": str(self.config)},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
