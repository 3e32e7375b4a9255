"""What we do to ourselves loses no request: kill -9 of a worker and of the registry, SIGHUP."""

from __future__ import annotations

import os
import re
import signal
import socket
import time
from pathlib import Path

import trio

from integration.node import Node, eventually
from integration.origins import Origin, service_entry

CONNECTIONS = 64
REQUEST = b"GET / HTTP/1.1\r\nHost: web.example\r\n\r\n"


class Load:
    """Keep-alive clients that note which of their connections failed, by local port."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.failed: set[int] = set()
        self.wrong: list[bytes] = []
        self.done = 0

    async def run(self) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(CONNECTIONS):
                nursery.start_soon(self._client)

    async def _client(self) -> None:
        while True:
            stream = await trio.open_tcp_stream("127.0.0.1", self.port)
            own_port = stream.socket.getsockname()[1]
            async with stream:
                try:
                    while await self._exchange(stream):
                        pass
                except (trio.BrokenResourceError, EOFError):
                    self.failed.add(own_port)

    async def _exchange(self, stream: trio.SocketStream) -> bool:
        await stream.send_all(REQUEST)
        data = b""
        with trio.fail_after(15):
            while True:
                more = await stream.receive_some(65536)
                if not more:
                    raise EOFError
                data += more
                head, end, body = data.partition(b"\r\n\r\n")
                if end:
                    length = re.search(rb"content-length: (\d+)", head.lower())
                    if length and len(body) >= int(length[1]):
                        break
        if not data.startswith(b"HTTP/1.1 200"):
            self.wrong.append(data)
        self.done += 1
        return b"connection: close" not in head.lower()


def _held_by(pid: int, port: int) -> set[int]:
    """Client ports of the connections that a process has open on the listening port."""
    inodes = set()
    for entry in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{entry}")
        except OSError:
            continue
        if target.startswith("socket:["):
            inodes.add(target[8:-1])
    held = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == port and fields[9] in inodes:
            held.add(int(fields[2].rpartition(":")[2], 16))
    return held


async def test_killed_processes_cost_only_the_connections_they_held(tmp_path: Path) -> None:
    with Origin("web") as origin:
        with Node(tmp_path, {"web.yaml": service_entry("web", origin.port)}, workers=2) as node:
            load = Load(node.port)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(load.run)
                await _until(lambda: load.done > 500)
                victim = node.pids("worker")[0]
                held = _held_by(victim, node.port)
                assert held
                os.kill(victim, signal.SIGKILL)
                killed = time.monotonic()
                await _until(lambda: node.pids("worker").get(0) not in (None, victim))
                assert time.monotonic() - killed < 5  # the promise is 1 s; a busy CI gets more
                await _progress(load)
                assert load.failed <= held
                os.kill(node.pids("registry")[0], signal.SIGKILL)
                await _progress(load)
                assert node.process is not None
                node.process.send_signal(signal.SIGHUP)
                await _progress(load)
                assert load.failed <= held
                assert not load.wrong
                nursery.cancel_scope.cancel()
            eventually(lambda: node.admin("/readyz")[0] == 200)
            assert node.get("web.example")[2] == b"web"


async def _until(check: object) -> None:
    assert callable(check)
    with trio.fail_after(20):
        while not check():
            await trio.sleep(0.02)


async def _progress(load: Load) -> None:
    """Two thousand more requests."""
    goal = load.done + 2000
    await _until(lambda: load.done >= goal)


def test_a_connection_waiting_in_the_queue_of_a_dead_worker_is_served(tmp_path: Path) -> None:
    with Origin("web") as origin:
        with Node(tmp_path, {"web.yaml": service_entry("web", origin.port)}, workers=1) as node:
            os.kill(node.pids("worker")[0], signal.SIGSTOP)
            stopped = node.pids("worker")[0]
            with socket.create_connection(("127.0.0.1", node.port), 15) as waiting:
                waiting.sendall(REQUEST)
                os.kill(stopped, signal.SIGKILL)
                assert waiting.recv(65536).startswith(b"HTTP/1.1 200")


async def test_a_reload_that_replaces_every_worker_loses_no_request(tmp_path: Path) -> None:
    with Origin("web") as origin:
        with Node(tmp_path, {"web.yaml": service_entry("web", origin.port)}, workers=2) as node:
            load = Load(node.port)
            before = set(node.pids("worker").values())
            async with trio.open_nursery() as nursery:
                nursery.start_soon(load.run)
                await _until(lambda: load.done > 500)
                node.settings["limits"] = {"maxHeaders": 50}
                node.save()
                assert node.process is not None
                node.process.send_signal(signal.SIGHUP)
                await _until(lambda: before.isdisjoint(_all_pids(node)))
                await _progress(load)
                assert not load.failed
                assert not load.wrong
                nursery.cancel_scope.cancel()


def _all_pids(node: Node) -> set[int]:
    """Every worker, those that drain included."""
    children = node.status()["children"]
    assert isinstance(children, list)
    return {child["pid"] for child in children if child["role"] == "worker"}
