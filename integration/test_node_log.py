"""A node whose standard error is broken, full or unread serves, restarts what dies, and stops."""

from __future__ import annotations

import fcntl
import json
import os
import re
import resource
import signal
import subprocess
import sys
import termios
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from integration.node import Node, eventually

RESOURCES = {
    "hello.yaml": """
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: hello, namespace: default}
spec:
  hosts: [hello.test]
  ports: [{number: 80, name: http, protocol: HTTP}]
  resolution: STATIC
  endpoints: [{address: 127.0.0.1, ports: {http: 9}}]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: hello, namespace: default}
spec:
  hosts: [hello.test]
  http: [{directResponse: {status: 200, body: {string: hello}}}]
"""
}
_PAGE = 4096


class Muted(Node):
    """A node with a standard error of the test's."""

    def __init__(self, directory: Path, **config: object) -> None:
        super().__init__(directory, RESOURCES, log={"level": "debug"}, **config)
        self.stdout: int = subprocess.DEVNULL
        self.stderr: int | None = None
        self.before: Callable[[], None] | None = None

    def start(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "egressd.cli.main", "run", "--bootstrap", str(self.config)],
            stdin=subprocess.DEVNULL,
            stdout=self.stdout,
            stderr=self.stderr,
            preexec_fn=self.before,
        )
        eventually(self._is_ready, 30.0)

    def log(self) -> str:
        return "(the test has it)"

    def serves(self) -> bool:
        return self.get("hello.test")[0] == 200

    def reload(self) -> None:
        """SIGHUP with a changed option, until the new generation serves."""
        generation = self.status()["generation"]
        self.settings["limits"] = {"maxHeaders": 99, "drainTimeout": "1s"}
        self.save()
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)
        eventually(
            lambda: self.status()["generation"] != generation and self.status()["state"] == "ready",
            30.0,
        )

    def kill_worker(self) -> None:
        """SIGKILL, until its replacement serves."""
        index, pid = next(iter(self.pids("worker").items()))
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: self.pids("worker").get(index, pid) != pid, 20.0)

    def dropped(self) -> float:
        body = self.admin("/metrics")[1].decode()
        found = re.search(r"^egressd_log_lines_dropped_total (\S+)", body, re.MULTILINE)
        assert found is not None
        return float(found[1])

    def survives(self) -> None:
        """What must go on whatever becomes of the log."""
        assert self.serves()
        self.reload()
        assert self.serves()
        self.kill_worker()
        eventually(self.serves)
        assert self.process is not None and self.process.poll() is None


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Muted]:
    node = Muted(tmp_path)
    yield node
    if node.process is not None:
        node.process.kill()
        node.process.wait()


def unread_pipe() -> tuple[int, int]:
    """A pipe as small as they come, already full."""
    reader, writer = os.pipe()
    fcntl.fcntl(writer, fcntl.F_SETPIPE_SZ, _PAGE)
    os.set_blocking(writer, False)
    os.write(writer, b"." * (_PAGE - 1) + b"\n")
    os.set_blocking(writer, True)
    return reader, writer


def test_a_pipe_whose_reader_is_gone(node: Muted) -> None:
    reader, node.stderr = os.pipe()
    node.start()
    os.close(reader)
    os.close(node.stderr)
    node.survives()
    assert node.dropped() > 0
    assert node.stop() == 0


def test_a_standard_error_that_is_closed(node: Muted) -> None:
    node.before = lambda: os.close(2)
    node.start()
    node.survives()
    assert node.stop() == 0


def test_a_full_device(node: Muted) -> None:
    node.stderr = os.open("/dev/full", os.O_WRONLY)
    node.start()
    os.close(node.stderr)
    node.survives()
    assert node.dropped() > 0
    assert node.stop() == 0


def test_a_full_pipe_that_nobody_reads(node: Muted) -> None:
    reader, node.stderr = unread_pipe()
    node.start()
    os.close(node.stderr)
    node.survives()
    assert node.stop() == 0
    os.close(reader)


def test_a_full_pipe_and_few_descriptors(node: Muted) -> None:
    reader, node.stderr = unread_pipe()
    node.before = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (150, 150))
    node.start()
    os.close(node.stderr)
    node.survives()
    assert node.stop() == 0
    os.close(reader)


@pytest.mark.parametrize("what", ["unread", "no reader", "full device", "shared"])
def test_an_access_log_that_cannot_be_written(node: Muted, what: str) -> None:
    node.settings["accessLog"] = {"path": "/dev/stdout", "format": "json"}
    node.save()
    reader, node.stdout = unread_pipe()
    node.stderr = subprocess.DEVNULL
    if what == "full device":
        node.stdout = os.open("/dev/full", os.O_WRONLY)
    elif what == "shared":
        node.stderr = node.stdout  # 2>&1
    node.start()
    os.close(node.stdout)
    if what == "no reader":
        os.close(reader)
    for _ in range(200):
        assert node.serves()
    node.survives()
    assert node.stop() == 0


def test_lines_dropped_are_told_once_somebody_reads(node: Muted) -> None:
    node.settings["accessLog"] = {"path": "/dev/stderr", "format": "json"}
    node.save()
    reader, node.stderr = os.pipe()
    os.set_blocking(reader, False)
    fcntl.fcntl(node.stderr, fcntl.F_SETPIPE_SZ, _PAGE)
    node.start()
    os.close(node.stderr)
    node.survives()
    seen = bytearray()

    def lines() -> list[dict[str, object]]:
        while True:
            try:
                data = os.read(reader, 65536)
            except BlockingIOError:
                break
            if not data:
                break
            seen.extend(data)
        return [json.loads(line) for line in bytes(seen).splitlines() if line.startswith(b"{")]

    eventually(lambda: any(line.get("event") == "ready" for line in lines()))
    assert node.serves()
    eventually(lambda: any(line.get("authority") == "hello.test" for line in lines()))
    assert node.stop() == 0
    os.close(reader)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a file system")
def test_a_full_disk(node: Muted, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(disk)], check=False
    )
    if mounted.returncode:
        pytest.skip("no mount here")
    try:
        path = disk / "node.log"
        ballast = disk / "ballast"
        node.stderr = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        node.start()
        os.close(node.stderr)
        for file in (ballast, path):  # the last page of the log, too
            with pytest.raises(OSError, match="No space left"), file.open("ab") as full:
                full.write(b"." * 65536)
        node.survives()
        assert node.dropped() > 0
        ballast.unlink()
        node.kill_worker()
        eventually(lambda: b"log lines dropped" in path.read_bytes())
        assert node.stop() == 0
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=False)


def test_what_a_dying_process_says_is_in_the_log(node: Muted, tmp_path: Path) -> None:
    path = tmp_path / "said"
    node.stderr = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    node.start()
    os.close(node.stderr)
    os.kill(next(iter(node.pids("worker").values())), signal.SIGABRT)

    def said() -> bool:
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        return any("Fatal Python error: Aborted" in str(line.get("text")) for line in lines)

    eventually(said)
    assert node.stop() == 0


def test_a_terminal_that_was_stopped(node: Muted) -> None:
    terminal, node.stderr = os.openpty()
    node.start()
    termios.tcflow(node.stderr, termios.TCOOFF)  # ^S
    node.survives()
    assert node.stop() == 0
    os.close(node.stderr)
    os.close(terminal)


def test_a_wrong_configuration_alone_ends_with_status_1(node: Muted) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "egressd.cli.main", "run", "--bootstrap", str(node.config)]
    node.config.write_text("workers: none")
    assert subprocess.run(command, stderr=writer, timeout=30, check=False).returncode == 1
    node.settings["runDir"] = "/proc/no"
    node.save()
    assert subprocess.run(command, stderr=writer, timeout=30, check=False).returncode == 3
    os.close(writer)
