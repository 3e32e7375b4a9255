"""A worker that hangs delays no new connection: the others take from its queue."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from integration.node import eventually
from integration.origins import Origin
from integration.test_node_accept import Clients, Limited, entry, is_answered

GATEWAY = """
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: door, namespace: default}
spec:
  servers:
  - port: {number: %d, name: http, protocol: HTTP}
    hosts: [hello.test]
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: door, namespace: default}
spec:
  hosts: [hello.test]
  gateways: [door]
  http: [{directResponse: {status: 200, body: {string: hello}}}]
"""


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    """SIGSTOP, and SIGCONT at the end."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def listening(pid: int) -> int:
    """Descriptors of a process that are sockets."""
    found = 0
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            found += os.readlink(f"/proc/{pid}/fd/{fd}").startswith("socket:")
        except OSError:
            continue
    return found


def never_killed(tmp_path: Path, stack: ExitStack) -> Limited:
    """A node that leaves a stuck worker alone, so that only the others can answer."""
    node = Limited(tmp_path, limits={"heartbeatTimeout": "0s"})
    stack.enter_context(node)
    return node


def test_new_connections_do_not_wait_for_a_stopped_worker(tmp_path: Path, stack: ExitStack) -> None:
    node = never_killed(tmp_path, stack)
    first, second = node.pids("worker").values()
    sockets = listening(second)
    with stopped(first):
        waiting = [Clients(node.port, stack).connect() for _ in range(30)]
        assert all(is_answered(sock) for sock in waiting)
        eventually(lambda: "others do for it" in node.log())
        for sock in waiting:
            sock.close()
    eventually(lambda: "takes its connections again" in node.log(), 20.0)
    eventually(lambda: listening(second) == sockets)
    assert all(is_answered(Clients(node.port, stack).connect()) for _ in range(30))


def test_gateway_ports_of_a_stopped_worker_are_served_too(tmp_path: Path, stack: ExitStack) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    node = Limited(tmp_path, limits={"heartbeatTimeout": "0s"}, gateways={"address": "127.0.0.1"})
    node.write("door.yaml", GATEWAY % port)
    stack.enter_context(node)
    for pid in node.pids("worker").values():
        with stopped(pid):
            waiting = [Clients(port, stack).connect() for _ in range(20)]
            assert all(is_answered(sock) for sock in waiting)
        eventually(lambda: node.log().count("again") == node.log().count("others do for it"), 20.0)


def test_stops_and_goes_lose_and_double_nothing(tmp_path: Path, stack: ExitStack) -> None:
    node = never_killed(tmp_path, stack)
    origin = stack.enter_context(Origin("origin"))
    node.write("origin.yaml", entry(origin.port))
    eventually(lambda: node.get("origin.test")[0] == 200)
    before = len(origin.seen)
    sent = 0
    for pid in [*node.pids("worker").values()] * 2:
        waiting: list[socket.socket] = []
        with stopped(pid):
            for _ in range(20):
                waiting.append(
                    Clients(node.port, stack).connect(
                        b"GET / HTTP/1.1\r\nHost: origin.test\r\n\r\n"
                    )
                )
        sent += len(waiting)
        assert all(is_answered(sock) for sock in waiting)
    assert len(origin.seen) - before == sent


def test_one_more_worker_serves_while_the_only_one_is_stopped(
    tmp_path: Path, stack: ExitStack
) -> None:
    node = Limited(tmp_path, workers=1, limits={"heartbeatTimeout": "0s", "drainTimeout": "1s"})
    stack.enter_context(node)
    before = node.pids("worker")
    (pid,) = before.values()
    for _ in range(2):
        with stopped(pid):
            waiting = [Clients(node.port, stack).connect() for _ in range(10)]
            assert all(is_answered(sock) for sock in waiting)
        eventually(lambda: node.pids("worker") == before)
        assert is_answered(Clients(node.port, stack).connect())


def test_a_node_stops_while_a_queue_is_lent(tmp_path: Path, stack: ExitStack) -> None:
    node = Limited(tmp_path, limits={"drainTimeout": "1s"})
    stack.enter_context(node)
    first, _ = node.pids("worker").values()
    os.kill(first, signal.SIGSTOP)
    eventually(lambda: "others do for it" in node.log())
    assert node.stop() == 4  # the stopped one had to be killed
