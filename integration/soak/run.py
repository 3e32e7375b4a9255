"""One soak: traffic and disturbances, then quiet, then the report."""

from __future__ import annotations

import random
import re
import signal
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import partial

import trio

from integration.soak import processes
from integration.soak.clients import Clients
from integration.soak.disturbances import Disturbances
from integration.soak.ledger import Ledger
from integration.soak.scene import ECHO, SHAKY, STABLE, Scene

_CLIENTS = {
    "keep-alive": 8,
    "pipelined": 3,
    "behind": 4,
    "bad-origin": 3,
    "upload": 3,
    "vanishing": 4,
    "tunnel": 2,
    "websocket": 2,
}
_QUIET_S = 30.0
_STOP_S = 30.0
_SPARE_DESCRIPTORS = 4
"""Descriptors that a worker may have beyond those at its start and its upstream connections: what a
look at it opens for a moment."""


@dataclass(slots=True)
class Report:
    """What a soak found."""

    seed: int
    ledger: Ledger
    unexcused: list[str] = field(default_factory=list)
    left_over: list[str] = field(default_factory=list)
    memory: list[str] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        return not (self.ledger.crossed_count or self.unexcused or self.left_over)

    def text(self) -> str:
        ledger = self.ledger
        parts = [
            f"seed {self.seed}",
            f"checked: {sum(ledger.checked.values())} {_counts(ledger.checked)}",
            f"left on purpose: {sum(ledger.vanished.values())}",
            f"disturbances: {sum(ledger.disturbances.values())} {_counts(ledger.disturbances)}",
            f"excused: {sum(ledger.excused.values())} {_counts(ledger.excused)}",
            *_section("memory", self.memory),
            f"crossed: {ledger.crossed_count}",
            *(f"  {line}" for line in ledger.crossed),
            f"lost, unexcused: {len(self.unexcused)}",
            *(f"  {line}" for line in self.unexcused[:60]),
            f"left over: {len(self.left_over)}",
            *(f"  {line}" for line in self.left_over),
        ]
        return "\n".join(parts)


def _counts(counter: dict[str, int]) -> str:
    return "(" + ", ".join(f"{name} {count}" for name, count in sorted(counter.items())) + ")"


def _section(name: str, lines: Iterable[str]) -> list[str]:
    return [f"{name}:", *(f"  {line}" for line in lines)]


async def soak(
    scene: Scene, seconds: float, seed: int, only: str = "", clients: float = 1
) -> Report:
    """Run against a scene; ends its node."""
    ledger = Ledger()
    ledger.say = lambda words: print(words, flush=True)
    report = Report(seed, ledger)
    port = scene.node.port
    before = {name: processes.descriptors(pid) for pid, name in _workers(scene).items()}
    load = Clients(port, ledger, random.Random(seed + 1), (*STABLE, SHAKY), f"{ECHO}:7000")
    chosen = Disturbances(scene, ledger, random.Random(seed), port)
    _narrow(chosen, only)
    counts = {kind: max(1, round(count * clients)) for kind, count in _CLIENTS.items()}
    until = time.monotonic() + seconds
    async with trio.open_nursery() as nursery:
        nursery.start_soon(load.run, counts)
        nursery.start_soon(_watch_memory, scene, report, until)
        if chosen.kinds():
            await chosen.run(until)
        await trio.sleep(max(0.0, until - time.monotonic()))
        load.stopping = True
    report.left_over += await _quiet(scene, port, before)
    report.left_over += await trio.to_thread.run_sync(_end, scene)
    report.unexcused = ledger.unexcused()
    return report


def _narrow(chosen: Disturbances, only: str) -> None:
    if only:
        words = only.split(",")
        kept = {k: v for k, v in chosen.kinds().items() if any(word in k for word in words)}
        chosen.kinds = lambda: kept  # type: ignore[method-assign]


def _workers(scene: Scene) -> dict[int, str]:
    return processes.workers(scene.node.pid)


async def _watch_memory(scene: Scene, report: Report, until: float) -> None:
    """Resident memory of workers ten times over the run: that of replaced ones starts anew."""
    pause = max(3.0, (until - time.monotonic()) / 10)
    while time.monotonic() < until - 1:
        await trio.sleep(min(pause, max(0.1, until - 1 - time.monotonic())))
        sizes = [f"{n} {processes.resident_kib(p) // 1024}" for p, n in _workers(scene).items()]
        at = time.monotonic() - report.ledger.begun
        report.memory.append(f"{at:.0f} s: {', '.join(sizes)} MiB")


# -- what is left over -----------------------------------------------------------------------------


async def _quiet(scene: Scene, port: int, before: dict[str, processes.Counter[str]]) -> list[str]:
    """What is still there a while after the last client left; empty as soon as nothing is."""
    until = time.monotonic() + _QUIET_S
    while True:
        try:
            found = await trio.to_thread.run_sync(partial(_left_over, scene, port, before))
        except (OSError, ValueError) as error:
            found = [f"admin: {error!r}"]
        if not found or time.monotonic() > until:
            return found
        await trio.sleep(0.5)


def _left_over(scene: Scene, port: int, before: dict[str, processes.Counter[str]]) -> list[str]:
    found = []
    if scene.node.process is not None and scene.node.process.poll() is not None:
        return [f"the node ended with status {scene.node.process.poll()}"]
    workers = _workers(scene)
    if len(workers) != len(before):
        found.append(f"workers: {sorted(workers.values())}")
    text = scene.node.admin("/metrics")[1].decode()
    for name in ("egressd_downstream_connections_active", "egressd_upstream_requests_active"):
        for line in re.findall(rf"^{name}(?:{{.*}})? \S+$", text, re.MULTILINE):
            if float(line.rpartition(" ")[2]):
                found.append(line)
    clusters = scene.node.admin_json("/clusters?format=json")
    assert isinstance(clusters, list)
    upstream = 0
    for cluster in clusters:
        for endpoint in cluster["endpoints"]:
            upstream += endpoint["connections"]
            if endpoint["active"]:
                found.append(f"{cluster['name']}: {endpoint['id']} active {endpoint['active']}")
    sockets, at_start = 0, max(kinds["socket"] for kinds in before.values())
    for pid, name in workers.items():
        sockets += processes.descriptors(pid)["socket"] - at_start
        for local, remote, state in processes.connections(pid):
            if local == port or state == "CLOSE_WAIT":
                found.append(f"{name}: connection {local} - {remote} {state}")
    if sockets > upstream + _SPARE_DESCRIPTORS:
        found.append(f"{sockets} sockets more than at the start, {upstream} upstream connections")
    return found


def _end(scene: Scene) -> list[str]:
    """Stop the node as an operator does."""
    process = scene.node.process
    assert process is not None
    if process.poll() is not None:
        return []
    process.send_signal(signal.SIGTERM)
    try:
        status = process.wait(_STOP_S)
    except Exception:
        process.kill()
        return [f"SIGTERM was not obeyed within {_STOP_S:g} s"]
    return [f"the node ended with status {status}"] if status else []
