"""The node, the slow origin, and the client whose latency is the figure."""

from __future__ import annotations

import asyncio
import os
import socket
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from integration.node import Node

_REQUEST = b"GET / HTTP/1.1\r\nHost: web.example\r\n\r\n"


class TreeNode(Node):
    """A node of one worker out of a given checkout; `prefix` is put before its command."""

    tree = Path(__file__).resolve().parents[3]
    prefix: tuple[str, ...] = ()

    def command(self) -> list[str]:
        program, *rest = super().command()
        return [*self.prefix, program, "-P", *rest]

    def environment(self) -> dict[str, str]:
        return super().environment() | {"PYTHONPATH": str(self.tree)}

    def listener(self, name: str) -> int:
        """The port of a listener."""
        listeners = self.status()["listeners"]
        assert isinstance(listeners, list)
        return next(int(one["port"]) for one in listeners if one["name"] == name)

    def worker_cpu_s(self) -> float:
        """User and system seconds of the worker so far."""
        fields = Path(f"/proc/{self.worker}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    @property
    def worker(self) -> int:
        """The pid of the only worker."""
        return self.pids("worker")[0]


class Latency(NamedTuple):
    """Milliseconds of one client that asks for one small answer after the other."""

    p50: float
    p99: float
    worst: float

    def __str__(self) -> str:
        return f"p50 {self.p50:.1f}, p99 {self.p99:.1f}, worst {self.worst:.1f} ms"


class Bystander:
    """A client on a connection of its own, in a thread, until the block ends."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._times: list[float] = []

    def __enter__(self) -> Bystander:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(30)

    def _run(self) -> None:
        with socket.create_connection(("127.0.0.1", self._port), 30) as sock:
            while not self._ended.is_set():
                begun = time.perf_counter()
                sock.sendall(_REQUEST)
                if not sock.recv(65536):
                    return
                self._times.append((time.perf_counter() - begun) * 1000)
                time.sleep(0.001)

    def latency(self) -> Latency:
        """Of what it saw so far."""
        times = sorted(self._times) or [float("nan")]
        return Latency(statistics.median(times), times[int(len(times) * 0.99)], times[-1])


@contextmanager
def slow_origin(delay_s: float) -> Iterator[int]:
    """An origin in a process of its own that answers after a delay; yields its port."""
    with socket.create_server(("127.0.0.1", 0), backlog=1024) as listener:
        command = [
            sys.executable,
            "-m",
            "integration.bench.fairness.parts",
            str(listener.fileno()),
            str(delay_s),
        ]
        process = subprocess.Popen(command, pass_fds=[listener.fileno()])
        try:
            yield int(listener.getsockname()[1])
        finally:
            process.kill()
            process.wait()


async def _serve_slowly(fd: int, delay_s: float) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while await reader.readuntil(b"\r\n\r\n"):
                if delay_s:
                    await asyncio.sleep(delay_s)
                writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")
        except (asyncio.IncompleteReadError, OSError):
            writer.close()

    server = await asyncio.start_server(answer, sock=socket.socket(fileno=fd))
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(_serve_slowly(int(sys.argv[1]), float(sys.argv[2])))
