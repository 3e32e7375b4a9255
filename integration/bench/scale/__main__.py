"""`python -m integration.bench.scale`."""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

from integration.bench.measure import LOAD_CORE, PROXY_CORE, running, tree_cpu_s
from integration.bench.origin import run_as
from integration.bench.report import machine
from integration.bench.scale.probes import WorkerProbe, load, memory_mib, probe_workers
from integration.bench.scale.sources import ENDPOINTS, PROBES, SOURCES, Registry
from integration.node import Node, eventually
from integration.servers.consul import free_ports

_IN_USE = 100
_SYNC_S = 300.0
_CHANGES_A_SECOND = 100
_LOOK_S = 0.001  # between two looks whether a change is there: asking must not be a load itself


def main() -> int:
    """Run the chosen sources, print and write the figures; 1 when an answer was wrong."""
    options = _options()
    result: dict[str, object] = {"date": str(date.today()), "machine": machine()}
    wrong = 0.0
    with tempfile.TemporaryDirectory(prefix="egressd-scale-") as text:
        root = Path(text)
        (port,) = free_ports(1)
        with running(["nginx", "-c", str(_origin(root, port))], LOAD_CORE, port, root / "out"):
            for name in options.source.split(","):
                _say(f"{name}: filling {options.services} services")
                directory = root / name
                directory.mkdir()
                with SOURCES[name](directory / "source", options.services, port) as registry:
                    figures = _measure(directory, registry, options)
                result[name] = figures
                wrong += figures["wrong"]
    Path(options.out).write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))
    return 1 if wrong else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m integration.bench.scale", description=__doc__)
    parser.add_argument("--source", default="consul,etcd", help="comma-separated")
    parser.add_argument("--services", type=int, default=10_000, help="of ten endpoints each")
    parser.add_argument(
        "--changes", type=int, default=200, help="whose way to the workers is timed"
    )
    parser.add_argument("--seconds", type=float, default=5, help="of load a round")
    parser.add_argument("--rounds", type=int, default=4, help="with and without changes, each")
    parser.add_argument("--out", default="integration/bench/results/scale.json")
    return parser.parse_args()


def _measure(directory: Path, registry: Registry, options: argparse.Namespace) -> dict[str, float]:
    node = Node(
        directory,
        workers=2,
        resources=[],
        adapters=[dict(registry.adapter)],
        accessLog={"path": ""},
    )
    try:
        figures = _figures(directory, node, registry, options)
    finally:
        node.stop()
    return {name: round(value, 2) for name, value in figures.items()}


def _figures(
    directory: Path, node: Node, registry: Registry, options: argparse.Namespace
) -> dict[str, float]:
    last = registry.host(options.services - 1)
    figures: dict[str, float] = {}
    started = time.monotonic()
    _start(node)
    eventually(lambda: node.get(last)[0] == 200, _SYNC_S)
    figures["first_sync_s"] = time.monotonic() - started
    eventually(lambda: _records(node) >= options.services, _SYNC_S)
    node.stop()
    started = time.monotonic()
    _start(node)
    figures["warm_start_s"] = time.monotonic() - started
    figures["warm_start_served"] = float(node.get(last)[0] == 200)
    eventually(lambda: _heard(node), _SYNC_S)
    hosts = [registry.host(PROBES + n) for n in range(_IN_USE)]
    _use(node, hosts)
    workers = [memory_mib(pid) for pid in node.pids("worker").values()]
    figures["worker_rss_mib"] = max(found["rss"] for found in workers)
    figures["worker_pss_mib"] = max(found["pss"] for found in workers)
    (registry_pid,) = node.pids("registry").values()
    figures["registry_rss_mib"] = memory_mib(registry_pid)["rss"]
    _say("changes")
    delays = _delays(node, registry, options.changes)
    figures["change_p50_ms"] = statistics.median(delays) * 1000
    figures["change_p99_ms"] = sorted(delays)[int(len(delays) * 0.99)] * 1000
    figures |= _dip(directory, node, registry, hosts, options)
    return figures


def _start(node: Node) -> None:
    """The node on its core, this process and what it starts later on both."""
    os.sched_setaffinity(0, {int(PROXY_CORE)})
    try:
        node.start()
    finally:
        os.sched_setaffinity(0, {0, 1})


def _records(node: Node) -> int:
    status = node.admin_json("/status")
    assert isinstance(status, dict)
    return int(status["registry_records"])


def _heard(node: Node) -> bool:
    status = node.admin_json("/status")
    assert isinstance(status, dict)
    return all(source["age_s"] >= 0 for source in status["sources"])


def _use(node: Node, hosts: list[str]) -> None:
    """Have every worker serve every host."""
    probes = probe_workers(node)
    for probe in probes:
        for host in hosts:
            probe.ask(host)
        probe.close()


def _delays(node: Node, registry: Registry, count: int) -> list[float]:
    """Seconds from the moment that the registry has a change until every worker goes by it."""
    probes = probe_workers(node)
    found = []
    for number in range(count):
        probe, endpoint = _turn(number)
        host = registry.host(probe)
        for one in probes:
            one.ask(host)  # in use before it changes
        since = registry.move(probe, endpoint)
        found.append(_until_all(probes, host, f"127.0.{endpoint}.1".encode()) - since)
        time.sleep(random.uniform(0.1, 0.3))
    for one in probes:
        one.close()
    return found


def _turn(number: int) -> tuple[int, int]:
    """Which probe service moves to which endpoint: each in turn to 1, then each back to 0."""
    return number % PROBES, 1 - number // PROBES % 2


def _until_all(probes: list[WorkerProbe], host: str, answer: bytes) -> float:
    waiting = list(probes)
    until = time.monotonic() + 10
    while waiting:
        waiting = [probe for probe in waiting if probe.ask(host) != answer]
        time.sleep(_LOOK_S)
        if time.monotonic() > until:
            raise RuntimeError(f"{host}: not at {answer!r} within 10 s")
    return time.monotonic()


def _dip(
    directory: Path,
    node: Node,
    registry: Registry,
    hosts: list[str],
    options: argparse.Namespace,
) -> dict[str, float]:
    """Load in turns: under changes, and under as many changes that the node does not see."""
    load(directory, node.port, hosts, 2)
    quiet, busy, changes, cpu = [], [], [], []
    (registry_pid,) = node.pids("registry").values()
    for number in range(options.rounds):
        with _Storm(lambda n: registry.move_unseen(*_turn(n))):
            quiet.append(load(directory, node.port, hosts, options.seconds))
        before = tree_cpu_s(registry_pid), time.monotonic()
        with _Storm(lambda n: registry.move(*_turn(n))) as storm:
            busy.append(load(directory, node.port, hosts, options.seconds))
        changes.append(storm.rate)
        cpu.append((tree_cpu_s(registry_pid) - before[0]) / (time.monotonic() - before[1]))
        _say(f"round {number + 1}: {quiet[-1]['rps']:.0f}/s, with changes {busy[-1]['rps']:.0f}/s")
    alone, during = (statistics.median(x["rps"] for x in runs) for runs in (quiet, busy))
    return {
        "rps": alone,
        "rps_under_changes": during,
        "dip_percent": 100 * (1 - during / alone),
        "registry_percent_of_a_core": 100 * statistics.median(cpu),
        "changes_a_second": statistics.median(changes),
        "p99_ms": statistics.median(x["p99_ms"] for x in quiet),
        "p99_ms_under_changes": statistics.median(x["p99_ms"] for x in busy),
        "wrong": sum(x["wrong"] for x in (*quiet, *busy)),
    }


class _Storm:
    """Changes at a steady rate from a thread, for the time of a `with`."""

    def __init__(self, change: Callable[[int], object]) -> None:
        self._change = change
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.rate = 0.0

    def __enter__(self) -> _Storm:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        started = time.monotonic()
        done = 0
        while not self._over.is_set():
            self._change(done)
            done += 1
            time.sleep(max(0.0, started + done / _CHANGES_A_SECOND - time.monotonic()))
        self.rate = done / (time.monotonic() - started)


def _origin(root: Path, port: int) -> Path:
    """nginx at all endpoints, which answers with the address that was called."""
    temporary = "".join(
        f"{name}_temp_path {root}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    listens = [f"listen 127.0.{n}.1:{port};" for n in range(ENDPOINTS)]
    path = root / "origin.conf"
    path.write_text(
        f"""
{run_as()}worker_processes 1; daemon off; error_log {root}/origin.log; pid {root}/origin.pid;
events {{ worker_connections 8192; }}
http {{ access_log off; {temporary} keepalive_requests 10000000;
  server {{ {" ".join(listens)} location / {{ return 200 "$server_addr"; }} }} }}
"""
    )
    return path


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
