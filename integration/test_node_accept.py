"""How many clients a node takes: its limit, few descriptors, and what is queued when it stops."""

from __future__ import annotations

import os
import re
import resource
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from integration.node import Node, eventually
from integration.origins import Origin
from integration.test_node_log import RESOURCES

REQUEST = b"GET / HTTP/1.1\r\nHost: hello.test\r\n\r\n"
PATIENCE_S = 20.0


def entry(port: int) -> str:
    """A ServiceEntry of origin.test."""
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: origin, namespace: default}}
spec:
  hosts: [origin.test]
  ports: [{{number: 80, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: 127.0.0.1, ports: {{http: {port}}}}}]
"""


class Limited(Node):
    """A node of a name that it answers itself, perhaps with few descriptors."""

    def __init__(self, directory: Path, *, descriptors: int = 0, **config: object) -> None:
        super().__init__(directory, RESOURCES, **config)  # type: ignore[arg-type]
        self.descriptors = descriptors

    def start(self) -> None:
        count = self.descriptors
        limit: Callable[[], None] | None = None
        if count:
            limit = lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (count, count))  # noqa: E731
        with (self.directory / "node.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "egressd.cli.main", "run", "--bootstrap", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=limit,
            )
        eventually(self._is_ready, 30.0)

    def metric(self, name: str) -> float:
        body = self.admin("/metrics")[1].decode()
        return sum(float(x) for x in re.findall(rf"^{name}(?:{{.*}})? (\S+)", body, re.MULTILINE))


class Clients:
    """Connections that are kept open."""

    def __init__(self, port: int, stack: ExitStack) -> None:
        self._port = port
        self._stack = stack
        self.open: list[socket.socket] = []

    def connect(self, request: bytes = REQUEST) -> socket.socket:
        sock = socket.create_connection(("127.0.0.1", self._port), PATIENCE_S)
        self._stack.callback(sock.close)
        sock.settimeout(PATIENCE_S)
        sock.sendall(request)
        return sock

    def served(self, count: int) -> None:
        """So many more that are answered and stay."""
        for _ in range(count):
            sock = self.connect()
            assert is_answered(sock)
            self.open.append(sock)

    def leave(self, count: int) -> None:
        for _ in range(count):
            self.open.pop().close()


def is_answered(sock: socket.socket) -> bool:
    """False: closed without an answer."""
    try:
        return sock.recv(4096).startswith(b"HTTP/1.1 200")
    except ConnectionError:
        return False


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


def limited(tmp_path: Path, stack: ExitStack, **limits: object) -> tuple[Limited, Clients]:
    node = Limited(tmp_path, limits=limits)
    stack.enter_context(node)
    return node, Clients(node.port, stack)


def test_one_over_the_limit_of_the_node_is_refused_at_once(
    tmp_path: Path, stack: ExitStack
) -> None:
    node, clients = limited(tmp_path, stack, maxDownstreamConnections=10)
    clients.served(10)
    for _ in range(5):
        try:
            assert not is_answered(clients.connect())
        except ConnectionError:
            pass  # refused while it sent
    assert node.metric("egressd_downstream_connections_active") == 10
    assert node.metric("egressd_downstream_overflows_total") == 5
    assert 1 <= node.log().count("at limits.maxDownstreamConnections") <= 2  # one a worker
    clients.leave(3)
    eventually(lambda: node.metric("egressd_downstream_connections_active") == 7)
    clients.served(3)


def test_one_over_the_limit_may_wait(tmp_path: Path, stack: ExitStack) -> None:
    node, clients = limited(
        tmp_path, stack, maxDownstreamConnections=10, overMaxDownstreamConnections="WAIT"
    )
    clients.served(10)
    waiting = [clients.connect() for _ in range(4)]
    eventually(lambda: node.metric("egressd_downstream_overflows_total") > 0)
    clients.leave(4)
    assert all(is_answered(sock) for sock in waiting)
    assert node.metric("egressd_downstream_connections_active") == 10


def test_what_a_killed_worker_held_of_the_limit_is_given_back(
    tmp_path: Path, stack: ExitStack
) -> None:
    node, clients = limited(tmp_path, stack, maxDownstreamConnections=10)
    clients.served(10)
    before = node.pids("worker")
    for pid in before.values():
        os.kill(pid, signal.SIGKILL)
    eventually(
        lambda: len(now := node.pids("worker")) == 2 and not {*now.values()} & {*before.values()}
    )
    Clients(node.port, stack).served(10)


def has_ended(sock: socket.socket) -> bool:
    """Whether the node has closed a connection on which it has answered."""
    sock.setblocking(False)
    try:
        return not sock.recv(1, socket.MSG_PEEK)
    except BlockingIOError:
        return False
    finally:
        sock.settimeout(PATIENCE_S)


def test_a_limit_changed_by_a_reload_counts_those_who_are_there(
    tmp_path: Path, stack: ExitStack
) -> None:
    node, clients = limited(tmp_path, stack, maxDownstreamConnections=10, drainTimeout="3s")
    clients.served(6)
    node.settings["limits"] = {"maxDownstreamConnections": 8, "drainTimeout": "3s"}
    node.save()
    assert node.process is not None
    node.process.send_signal(signal.SIGHUP)
    eventually(lambda: node.status()["generation"] == 2 and node.status()["state"] == "ready", 30.0)
    fresh = Clients(node.port, stack)

    def fills() -> bool:  # as the old ones drain
        sock = fresh.connect()
        try:
            if is_answered(sock):
                fresh.open.append(sock)
        except OSError:
            pass
        assert len(fresh.open) <= 8
        return len(fresh.open) == 8

    eventually(fills, 20.0)
    # An old worker may have taken some of these from its queue, and closed them since.
    eventually(lambda: "draining" not in str(node.status()["children"]), 20.0)
    fresh.open[:] = [sock for sock in fresh.open if not has_ended(sock)]
    eventually(fills, 20.0)
    assert not is_answered(fresh.connect())


def test_few_descriptors_are_one_line_and_end_nothing(tmp_path: Path, stack: ExitStack) -> None:
    node = Limited(tmp_path, workers=1, descriptors=120)
    stack.enter_context(node)
    clients = Clients(node.port, stack)
    idle = [clients.connect(b"GET / HTTP/1.1\r\n") for _ in range(200)]
    eventually(lambda: "Too many open files" in node.log())
    waiting = clients.connect()
    for sock in idle:
        sock.close()
    assert is_answered(waiting)
    assert node.get("hello.test")[0] == 200
    eventually(lambda: node.metric("egressd_accept_errors_total") >= 1)
    assert "Traceback" not in node.log()
    assert node.log().count("cannot accept") == 1
    assert node.stop() == 0


def test_few_descriptors_are_not_for_those_who_keep_connections(
    tmp_path: Path, stack: ExitStack
) -> None:
    node = Limited(tmp_path, workers=1, descriptors=100)
    stack.enter_context(node)
    Clients(node.port, stack).served(100)  # each keeps its connection
    assert "Too many open files" in node.log()


def test_few_descriptors_leave_an_upstream_to_those_who_are_there(
    tmp_path: Path, stack: ExitStack
) -> None:
    origin = stack.enter_context(Origin("origin"))
    node = Limited(tmp_path, workers=1, descriptors=120)
    node.write("origin.yaml", entry(origin.port))
    stack.enter_context(node)
    clients = Clients(node.port, stack)
    kept = [clients.connect(b"") for _ in range(5)]
    for _ in range(200):
        clients.connect(b"GET / HTTP/1.1\r\n")
    eventually(lambda: "Too many open files" in node.log())
    for sock in kept:
        sock.sendall(REQUEST.replace(b"hello.test", b"origin.test"))
    assert all(is_answered(sock) for sock in kept)


def test_a_stopping_worker_serves_all_that_is_queued(tmp_path: Path, stack: ExitStack) -> None:
    node = Limited(tmp_path, workers=1)
    stack.enter_context(node)
    clients = Clients(node.port, stack)
    (worker,) = node.pids("worker").values()
    os.kill(worker, signal.SIGSTOP)
    queued = [clients.connect() for _ in range(700)]
    assert node.process is not None
    node.process.send_signal(signal.SIGTERM)
    eventually(lambda: node.status()["state"] == "stopping")
    os.kill(worker, signal.SIGCONT)
    assert [is_answered(sock) for sock in queued] == [True] * 700
    assert node.process.wait(PATIENCE_S) == 0
