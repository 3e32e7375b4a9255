"""One run of one scenario through one proxy: CPU of its process tree, and what wrk says."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from integration.bench.scenarios import Scenario, host_name

PROXY_CORE, LOAD_CORE = "0", "1"
_TICKS = os.sysconf("SC_CLK_TCK")
_LOAD_S = 180.0
_START_S = 30.0


@dataclass(frozen=True, slots=True)
class Sample:
    """`cost` is CPU microseconds per request, or CPU seconds per GiB for the large scenarios."""

    cost: float
    rps: float
    p50_ms: float
    p99_ms: float
    requests: int
    wrong: int
    verified: int


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(command: list[str], core: str, port: int, log: Path) -> Iterator[int]:
    """A process (group) pinned to a core until the block ends; yields its pid once it listens."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["taskset", "-c", core, *command],
            stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
    try:
        _wait_for(port, process, log)
        yield process.pid
    finally:
        try:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(10)
        except (ProcessLookupError, subprocess.TimeoutExpired):
            pass
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    until = time.monotonic() + _START_S
    while time.monotonic() < until:
        if process.poll() is not None:
            break
        with socket.socket() as probe:
            probe.settimeout(1)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    tail = log.read_text(errors="replace")[-2000:]
    raise RuntimeError(f"{process.args!r} did not listen on {port}:\n{tail}")


def _wait_until_served(port: int, host: str) -> None:
    """A proxy may listen before it has read all of its configuration."""
    request = f"GET /0/api/v1/items/1 HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"
    until = time.monotonic() + _LOAD_S
    answer = b""
    while time.monotonic() < until:
        with socket.create_connection(("127.0.0.1", port), 10) as sock:
            sock.sendall(request.encode())
            answer = sock.recv(4096)
        if b" 200 " in answer[:20]:
            time.sleep(1)  # what it still has to do for that
            return
        time.sleep(0.2)
    raise RuntimeError(f"{host} was not served: {answer[:200]!r}")


def tree_cpu_s(root: int) -> float:
    """User and system seconds of a process and all below it, those that ended included."""
    children: dict[int, list[int]] = {}
    times: dict[int, int] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            children.setdefault(int(fields[1]), []).append(int(entry))
            times[int(entry)] = sum(int(field) for field in fields[11:15])
    total, todo = 0, [root]
    while todo:
        pid = todo.pop()
        total += times.get(pid, 0)
        todo += children.get(pid, [])
    return total / _TICKS


def run_wrk(scenario: Scenario, script: Path, port: int, pid: int, seconds: int) -> Sample:
    """Warm up, then measure."""
    command = [
        "taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{scenario.connections}", "--timeout", "10s",
        "-s", str(script), f"http://127.0.0.1:{port}",
    ]  # fmt: skip
    _wait_until_served(port, host_name(scenario.hosts - 1))
    subprocess.run([*command, "-d", "2s"], check=True, capture_output=True)
    before = tree_cpu_s(pid)
    done = subprocess.run(
        [*command, "-d", f"{seconds}s"], check=True, capture_output=True, text=True
    )
    cpu = tree_cpu_s(pid) - before
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    requests, duration, p50, p99, wrong, verified, errors = (int(x) for x in line.split()[1:])
    return Sample(
        cost=_cost(scenario, cpu, requests),
        rps=requests / (duration / 1e6),
        p50_ms=p50 / 1000,
        p99_ms=p99 / 1000,
        requests=requests,
        wrong=wrong + errors,
        verified=verified,
    )


def _cost(scenario: Scenario, cpu_s: float, requests: int) -> float:
    if not requests:
        return float("nan")
    if scenario.bytes_per_request:
        return cpu_s / (requests * scenario.bytes_per_request / (1 << 30))
    return cpu_s * 1e6 / requests


def run_tunnel(scenario: Scenario, port: int, origin: int, pid: int, seconds: int) -> Sample:
    """Read large bodies through one CONNECT tunnel; the client runs on the load core."""
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    size = scenario.bytes_per_request
    host = host_name(1)
    with socket.create_connection(("127.0.0.1", port), 10) as tunnel:
        tunnel.sendall(
            f"CONNECT {host}:{origin} HTTP/1.1\r\nHost: {host}:{origin}\r\n\r\n".encode()
        )
        answer = tunnel.recv(4096)
        if b" 200 " not in answer:
            raise RuntimeError(f"CONNECT refused: {answer!r}")
        request = f"GET /large HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()
        _read_body(tunnel, request, size)
        before = tree_cpu_s(pid)
        started = time.monotonic()
        count = wrong = 0
        while time.monotonic() - started < seconds:
            wrong += _read_body(tunnel, request, size) != size
            count += 1
        elapsed = time.monotonic() - started
        cpu = tree_cpu_s(pid) - before
    each = elapsed / count * 1000
    return Sample(_cost(scenario, cpu, count), count / elapsed, each, each, count, wrong, count)


def _read_body(tunnel: socket.socket, request: bytes, size: int) -> int:
    tunnel.sendall(request)
    data = tunnel.recv(65536)
    while b"\r\n\r\n" not in data:
        data += tunnel.recv(65536)
    got = len(data.partition(b"\r\n\r\n")[2])
    buffer = bytearray(1 << 18)
    while got < size:
        count = tunnel.recv_into(buffer, min(len(buffer), size - got))
        if not count:
            break
        got += count
    return got
