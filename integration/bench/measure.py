"""One run of one scenario through one proxy: CPU of its process tree, and what wrk says."""

from __future__ import annotations

import math
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping
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
def running(
    command: list[str],
    core: str,
    port: int,
    log: Path,
    environment: Mapping[str, str] | None = None,
    *,
    within_s: float = _START_S,
) -> Iterator[int]:
    """A process (group) pinned to a core until the block ends; yields its pid once it listens."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["taskset", "-c", core, *command],
            stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True,
            env=environment,
        )  # fmt: skip
    try:
        _wait_for(port, process, log, within_s)
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


def _wait_for(port: int, process: subprocess.Popen[bytes], log: Path, within_s: float) -> None:
    until = time.monotonic() + within_s
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


def wait_until_served(port: int, host: str) -> None:
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


def run_wrk(scenario: Scenario, script: Path, port: int, pid: int, seconds: float) -> Sample:
    """Warm up, then measure."""
    warm_up(scenario, script, port)
    return measure_wrk(scenario, script, port, pid, seconds)


def _wrk(scenario: Scenario, script: Path, port: int, seconds: float) -> str:
    command = [
        "taskset", "-c", LOAD_CORE, "wrk", "-t1", f"-c{scenario.connections}", "--timeout", "10s",
        "-s", str(script), f"http://127.0.0.1:{port}", "-d", f"{math.ceil(seconds)}s",
    ]  # fmt: skip
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def warm_up(scenario: Scenario, script: Path, port: int) -> None:
    """Wait until the last host is served, then load for two seconds."""
    wait_until_served(port, host_name(scenario.hosts - 1))
    _wrk(scenario, script, port, 2)


def measure_wrk(scenario: Scenario, script: Path, port: int, pid: int, seconds: float) -> Sample:
    """One run of wrk (whole seconds) against a warm proxy."""
    before = tree_cpu_s(pid)
    output = _wrk(scenario, script, port, seconds)
    cpu = tree_cpu_s(pid) - before
    line = next(line for line in output.splitlines() if line.startswith("RESULT"))
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


def open_tunnel(port: int, origin: int) -> socket.socket:
    """A CONNECT tunnel through the proxy to the origin, once the proxy knows the name. Raises
    RuntimeError where it stays refused."""
    target = f"{host_name(1)}:{origin}"
    until = time.monotonic() + _START_S
    while True:
        tunnel = socket.create_connection(("127.0.0.1", port), 30)
        tunnel.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        answer = tunnel.recv(4096)
        if b" 200 " in answer:
            return tunnel
        tunnel.close()
        if time.monotonic() > until:
            raise RuntimeError(f"CONNECT refused: {answer!r}")
        time.sleep(0.2)


def run_tunnel(scenario: Scenario, port: int, origin: int, pid: int, seconds: float) -> Sample:
    """Read large bodies through one CONNECT tunnel; the client runs on the load core."""
    os.sched_setaffinity(0, {int(LOAD_CORE)})
    size = scenario.bytes_per_request
    with open_tunnel(port, origin) as tunnel:
        read_body(tunnel, size)
        before = tree_cpu_s(pid)
        started = time.monotonic()
        count = wrong = 0
        while time.monotonic() - started < seconds:
            wrong += read_body(tunnel, size) != size
            count += 1
        elapsed = time.monotonic() - started
        cpu = tree_cpu_s(pid) - before
    each = elapsed / count * 1000
    return Sample(_cost(scenario, cpu, count), count / elapsed, each, each, count, wrong, count)


def read_body(tunnel: socket.socket, size: int) -> int:
    """Ask for the large body through a tunnel; how many bytes came."""
    tunnel.sendall(f"GET /large HTTP/1.1\r\nHost: {host_name(1)}\r\n\r\n".encode())
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
