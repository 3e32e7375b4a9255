"""A real Consul agent for tests.

    with ConsulAgent(tmp_path) as consul:
        consul.register("web", port=8080)

Started as `consul agent -dev` (memory only) or, `persistent`, as a single server with a data
directory whose state outlives `restart`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import random
import socket
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

from integration.servers.fetch import CONSUL, program_of

READY_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0
REQUEST_TIMEOUT_S = 10.0
PORT_RANGE = (20000, 32000)  # below the ports that the kernel gives to clients


class ConsulError(Exception):
    """The agent did not start, or refused a request."""


class ConsulAgent:
    """One agent on free loopback ports, kept over `restart`. Ended at the end of `with`."""

    def __init__(
        self,
        directory: Path,
        *,
        persistent: bool = False,
        token: str = "",
        config: Mapping[str, object] | None = None,
    ) -> None:
        """`token` enables ACLs (default: deny) with that master token. `config` is merged over the
        agent's configuration: `{"ports": {"https": …}, "cert_file": …}`."""
        self.token = token
        self._directory = directory
        self._persistent = persistent
        self._config = dict(config or {})
        self._process: subprocess.Popen[bytes] | None = None
        self.port, self._serf, self._server = free_ports(3)

    @property
    def address(self) -> str:
        """The agent's HTTP address as an URL."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()

    def start(self) -> None:
        """Start, and wait until the agent has a leader and serves its own node."""
        program = program_of(CONSUL)
        self._directory.mkdir(parents=True, exist_ok=True)
        config = self._directory / "agent.json"
        config.write_text(json.dumps(self._configuration()))
        mode = ["-dev"] if not self._persistent else ["-server", "-bootstrap-expect=1"]
        log = (self._directory / "consul.log").open("ab")
        with log:
            self._process = subprocess.Popen(
                [program, "agent", *mode, f"-config-file={config}"],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        try:
            self._wait_ready()
        except BaseException:
            self.kill()
            raise

    def stop(self) -> None:
        """End the agent as an operator does (SIGTERM)."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
        self.kill()

    def kill(self) -> None:
        """End the agent as a crash does (SIGKILL)."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def restart(self) -> None:
        """Stop and start on the same ports; what the agent knew is lost unless `persistent`."""
        self.stop()
        self.start()

    def register(
        self,
        name: str,
        port: int = 0,
        *,
        address: str = "127.0.0.1",
        service_id: str = "",
        tags: tuple[str, ...] = (),
        meta: Mapping[str, str] | None = None,
        check: str = "",
    ) -> None:
        """Register an instance with the agent; `check` adds a TTL check in that state."""
        own_id = service_id or name
        body: dict[str, object] = {
            "ID": own_id,
            "Name": name,
            "Address": address,
            "Port": port,
            "Tags": list(tags),
            "Meta": dict(meta or {}),
        }
        if check:
            body["Check"] = {"CheckID": f"ttl:{own_id}", "TTL": "1h", "Status": check}
        self.request("PUT", "/v1/agent/service/register", body)

    def fill(self, services: int, instances: int, port: int = 8080) -> None:
        """Enter services svc-0, svc-1, ... with passing instances in the catalog, past the agent: a
        transaction takes 64 operations."""
        operations: list[object] = []
        for service, number in ((s, i) for s in range(services) for i in range(instances)):
            node, own_id = f"vm-{number}", f"svc-{service}-{number}"
            if not service:
                operations.append(
                    {"Node": {"Verb": "set", "Node": {"Node": node, "Address": "127.0.0.1"}}}
                )
            body = {"ID": own_id, "Service": f"svc-{service}", "Port": port, "Address": "127.0.0.1"}
            operations.append({"Service": {"Verb": "set", "Node": node, "Service": body}})
            operations.append(self._check_operation(node, own_id, "passing"))
        for begin in range(0, len(operations), 64):
            self.request("PUT", "/v1/txn", operations[begin : begin + 64])

    def set_filled_check(self, service: int, number: int, status: str) -> None:
        """Set the check of an instance that `fill` entered."""
        operation = self._check_operation(f"vm-{number}", f"svc-{service}-{number}", status)
        self.request("PUT", "/v1/txn", [operation])

    @staticmethod
    def _check_operation(node: str, service_id: str, status: str) -> object:
        check = {
            "Node": node,
            "CheckID": f"c:{service_id}",
            "Name": "check",
            "ServiceID": service_id,
            "Status": status,
        }
        return {"Check": {"Verb": "set", "Check": check}}

    def deregister(self, service_id: str) -> None:
        """Take an instance out of the agent."""
        self.request("PUT", f"/v1/agent/service/deregister/{quote(service_id)}")

    def set_check(self, service_id: str, status: str) -> None:
        """Set the TTL check of an instance: passing, warning or critical."""
        self.request("PUT", f"/v1/agent/check/update/ttl:{service_id}", {"Status": status})

    def maintain(self, service_id: str, *, enable: bool) -> None:
        """Put an instance in maintenance, or take it out of it."""
        flag = str(enable).lower()
        self.request("PUT", f"/v1/agent/service/maintenance/{quote(service_id)}?enable={flag}")

    def request(self, method: str, path: str, body: object = None) -> object:
        """One API request; the decoded answer. Raises `ConsulError` unless it is 200."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=REQUEST_TIMEOUT_S)
        headers = {"X-Consul-Token": self.token} if self.token else {}
        with contextlib.closing(connection):
            sent = None if body is None else json.dumps(body)
            connection.request(method, path, sent, headers)
            answer = connection.getresponse()
            data = answer.read()
        if answer.status != 200:
            raise ConsulError(f"{method} {path}: {answer.status} {data.decode()[:300]}")
        return json.loads(data) if data.strip() else None

    def _configuration(self) -> dict[str, object]:
        own: dict[str, object] = {
            "node_name": "test",
            "bind_addr": "127.0.0.1",
            "client_addr": "127.0.0.1",
            "disable_update_check": True,
            "leave_on_terminate": False,
            "performance": {"raft_multiplier": 1},
        }
        if self._persistent:
            own["data_dir"] = str(self._directory / "data")
        if self.token:
            tokens = {"master": self.token, "agent": self.token, "default": ""}
            own["acl"] = {"enabled": True, "default_policy": "deny", "tokens": tokens}
        ports = {"http": self.port, "serf_lan": self._serf, "server": self._server}
        ports |= {"dns": -1, "grpc": -1, "serf_wan": -1, "https": -1}
        given = dict(self._config)
        extra = given.pop("ports", {})
        assert isinstance(extra, dict)
        return {**own, **given, "ports": {**ports, **extra}}

    def _wait_ready(self) -> None:
        assert self._process is not None
        deadline = time.monotonic() + READY_TIMEOUT_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise ConsulError(f"consul ended with {self._process.returncode}: {self._log()}")
            with contextlib.suppress(OSError, http.client.HTTPException, ConsulError):
                leader = self.request("GET", "/v1/status/leader")
                if leader and self.request("GET", "/v1/health/node/test"):
                    return
            time.sleep(0.05)
        raise ConsulError(f"consul was not ready within {READY_TIMEOUT_S:g} s: {self._log()}")

    def _log(self) -> str:
        return (self._directory / "consul.log").read_text(errors="replace")[-1500:]


def free_ports(count: int) -> list[int]:
    """Different TCP and UDP ports of 127.0.0.1 that nobody has and no client will be given."""
    found: list[int] = []
    while len(found) < count:
        port = random.randrange(*PORT_RANGE)
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            try:
                tcp.bind(("127.0.0.1", port))
                udp.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in found:
            found.append(port)
    return found
