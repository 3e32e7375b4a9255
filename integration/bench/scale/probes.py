"""Looking at a node from outside: a connection to each worker, memory, load."""

from __future__ import annotations

import http.client
import re
import subprocess
from pathlib import Path

from integration.bench.measure import LOAD_CORE
from integration.node import Node

_WRK = """
local hosts = {{{hosts}}}
local n, errors = 0, 0
local threads = {{}}
local requests = {{}}
function setup(thread) table.insert(threads, thread) end
function init(args)
  for i, host in ipairs(hosts) do requests[i] = wrk.format("GET", "/", {{Host = host}}) end
end
function request() n = n % #requests + 1 return requests[n] end
function response(status) if status ~= 200 then errors = errors + 1 end wrong = errors end
function done(summary, latency)
  local wrong = 0
  for _, thread in ipairs(threads) do wrong = wrong + (thread:get("wrong") or 0) end
  local e = summary.errors
  io.write(string.format("RESULT %d %d %d %d\\n", summary.requests, summary.duration,
    latency:percentile(99), wrong + e.connect + e.read + e.write + e.timeout))
end
"""


class WorkerProbe:
    """A kept connection to one worker."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        self._connection.connect()
        self.local_port = int(self._connection.sock.getsockname()[1])

    def ask(self, host: str) -> bytes:
        """The body of the answer: the endpoint's address."""
        self._connection.request("GET", "/", headers={"Host": host})
        return self._connection.getresponse().read()

    def close(self) -> None:
        self._connection.close()


def probe_workers(node: Node) -> list[WorkerProbe]:
    """One connection to each worker: the kernel spreads connections, so some are thrown away."""
    wanted = set(node.pids("worker").values())
    found: dict[int, WorkerProbe] = {}
    while found.keys() != wanted:
        probe = WorkerProbe(node.port)
        probe.ask("nobody.example")  # it is accepted when it answers
        pid = _owner(node.port, probe.local_port, wanted)
        if pid in found:
            probe.close()
        else:
            found[pid] = probe
    return list(found.values())


def _owner(port: int, peer_port: int, pids: set[int]) -> int:
    """The process that has the accepted end of a connection of loopback."""
    ends = f"0100007F:{port:04X} 0100007F:{peer_port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if f"{fields[1]} {fields[2]}" == ends:
            link = f"socket:[{fields[9]}]"
            for pid in pids:
                if any(_link(fd) == link for fd in Path(f"/proc/{pid}/fd").iterdir()):
                    return pid
    raise RuntimeError(f"no worker has the connection from port {peer_port}")


def _link(path: Path) -> str:
    try:
        return str(path.readlink())
    except OSError:
        return ""


def memory_mib(pid: int) -> dict[str, float]:
    """Resident and proportional (shared pages divided) memory of a process."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    found = {name: int(kib) for name, kib in re.findall(r"^(\w+):\s+(\d+) kB", text, re.M)}
    return {"rss": found["Rss"] / 1024, "pss": found["Pss"] / 1024}


def load(directory: Path, port: int, hosts: list[str], seconds: float) -> dict[str, float]:
    """Requests per second and p99 of wrk with 64 connections over the hosts."""
    script = directory / "scale.lua"
    script.write_text(_WRK.format(hosts=",".join(f'"{host}"' for host in hosts)))
    command = ["taskset", "-c", LOAD_CORE, "wrk", "-t1", "-c64", "-d", f"{seconds:g}s"]
    command += ["--timeout", "10s", "-s", str(script), f"http://127.0.0.1:{port}"]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT"))
    requests, duration_us, p99_us, wrong = (int(x) for x in line.split()[1:])
    return {"rps": requests / (duration_us / 1e6), "p99_ms": p99_us / 1000, "wrong": wrong}
