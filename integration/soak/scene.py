"""The node under soak and all that stands around it: origins, Consul, files, certificates, disk."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import trustme

from integration.node import Node, eventually
from integration.servers.consul import ConsulAgent, free_ports

HERE = Path(__file__).resolve().parents[2]
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")
STABLE = ("plain.example", "tls.example", "file.example", "web.service.consul")
SHAKY = "shaky.example"
ECHO = "echo.example"
_DISK_BYTES = 64 << 20


class OriginProcess:
    """`integration.soak.origin` on ports of its own, kept over restarts."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self.plain, self.tls, self.echo = free_ports(3)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        ports = (str(port) for port in (self.plain, self.tls, self.echo))
        with (self._directory / "origin.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "integration.soak.origin", str(self._directory), *ports],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()


class SoakNode(Node):
    """A node whose log is a pipe that can be left unread, and whose wall clock can be moved."""

    def __init__(
        self,
        directory: Path,
        log: Path,
        clock: Path | None,
        tree: Path,
        resources: Mapping[str, str],
        **config: object,
    ) -> None:
        super().__init__(directory, resources, **config)
        self._tree = tree
        self._log_path = log
        self._clock = clock
        self.log_is_read = threading.Event()
        self.log_is_read.set()

    def start(self) -> None:
        environment = {**os.environ, "PYTHONPATH": str(self._tree)}
        if self._clock is not None:
            environment |= {
                "LD_PRELOAD": str(FAKETIME),
                "FAKETIME_TIMESTAMP_FILE": str(self._clock),
                "FAKETIME_CACHE_DURATION": "1",
                "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                "NO_FAKE_STAT": "1",
            }
        reader, writer = os.pipe()
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", "egressd.cli.main", "run", "--bootstrap", str(self.config)],
            stdin=subprocess.DEVNULL, stdout=writer, stderr=writer, env=environment,
        )  # fmt: skip
        os.close(writer)
        threading.Thread(target=self._copy_log, args=(reader,), daemon=True).start()
        eventually(self._is_ready, 60)

    def _copy_log(self, reader: int) -> None:
        with self._log_path.open("ab", buffering=0) as log:
            while data := os.read(reader, 4096):
                log.write(data)
                self.log_is_read.wait()
        os.close(reader)

    def log(self) -> str:
        return self._log_path.read_text(errors="replace")

    @property
    def pid(self) -> int:
        """The supervisor's."""
        assert self.process is not None
        return self.process.pid


class Scene:
    """Everything, while it runs."""

    def __init__(
        self, root: Path, disk: Path, tree: Path, *, is_small_disk: bool, has_clock: bool
    ) -> None:
        self.root = root
        self.disk = disk
        self.is_small_disk = is_small_disk
        self.clock = root / "clock" if has_clock and FAKETIME.exists() else None
        if self.clock is not None:
            self.clock.write_text("+0\n")
        self._authority = trustme.CA()
        self._authority.cert_pem.write_to_path(root / "ca.pem")
        self.rotate_certificate()
        self.origin = OriginProcess(root)
        self.shaky = OriginProcess(root)
        self.consul = ConsulAgent(root / "consul")
        self.file_text = service("file", {"http": self.origin.plain})
        self.node = SoakNode(
            disk, root / "node.log", self.clock, tree, self._resources(),
            adapters=[{"type": "consul", "options": {"address": self.consul.address}}],
            limits={"heartbeatTimeout": "5s", "drainTimeout": "10s", "streamIdleTimeout": "15s"},
        )  # fmt: skip

    def _resources(self) -> Mapping[str, str]:
        return {
            "plain.yaml": service("plain", {"http": self.origin.plain}),
            "shaky.yaml": service("shaky", {"http": self.shaky.plain}),
            "tls.yaml": service("tls", {"http": self.origin.tls}) + self._tls_rule(),
            "file.yaml": self.file_text,
            "echo.yaml": service("echo", {"tcp": self.origin.echo}, "{number: 7000, name: tcp, "
                                 "protocol: TCP}"),
        }  # fmt: skip

    def _tls_rule(self) -> str:
        return f"""\
---
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: tls}}
spec:
  host: tls.example
  trafficPolicy: {{tls: {{mode: SIMPLE, caCertificates: {self.root}/ca.pem}}}}
"""

    def rotate_certificate(self) -> None:
        """Put another certificate of the origin in place."""
        issued = self._authority.issue_cert("tls.example")
        beside = self.root / "origin.pem.new"
        issued.private_key_and_cert_chain_pem.write_to_path(beside)
        beside.replace(self.root / "origin.pem")

    def register(self) -> None:
        """Tell Consul of the origin."""
        self.consul.register("web", self.origin.plain, service_id="w0")


def service(name: str, ports: Mapping[str, int], port: str = "") -> str:
    """A ServiceEntry of one loopback endpoint."""
    port = port or "{number: 80, name: http, protocol: HTTP}"
    endpoint = ", ".join(f"{key}: {number}" for key, number in ports.items())
    return f"""\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: [{name}.example]
  ports: [{port}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{{endpoint}}}}}]
"""


@contextmanager
def running_scene(root: Path, *, has_clock: bool = True, tree: Path = HERE) -> Iterator[Scene]:
    """Start everything and wait until each host is served; end it all with the block. `tree` is the
    checkout whose egressd is the node."""
    with ExitStack() as stack:
        disk = root / "disk"
        disk.mkdir()
        is_small = stack.enter_context(_small_disk(disk))
        scene = Scene(root, disk, tree, is_small_disk=is_small, has_clock=has_clock)
        for origin in (scene.origin, scene.shaky):
            stack.callback(origin.kill)
            origin.start()
        stack.enter_context(scene.consul)
        scene.register()
        stack.callback(lambda: scene.node.process and scene.node.process.kill())
        scene.node.start()
        for host in (*STABLE, SHAKY):
            eventually(lambda host=host: _is_served(scene.node, host), 60)
        yield scene


def _is_served(node: Node, host: str) -> bool:
    target = "/s/id-000000000000?size=1&mode=plain"
    status, _, _ = node.get(host, target, x_soak_id="id-000000000000")
    return status == 200


@contextmanager
def _small_disk(directory: Path) -> Iterator[bool]:
    """A file system of its own that can be filled; only root can have one."""
    if os.geteuid():
        yield False
        return
    options = f"size={_DISK_BYTES}"
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(directory)])
    try:
        yield not done.returncode
    finally:
        if not done.returncode:
            subprocess.run(["umount", "--lazy", str(directory)], check=False)
