"""Instructions a request of one worker under callgrind, by difference of two counts of requests.

Start-up is not in it: the windows are measured on a warm worker. What the worker does by the clock
(sweeps, heartbeats) is measured while it idles, and taken out. No two requests to one host are ever
in flight at once, so that each host has one upstream connection, made before the first window.
"""

from __future__ import annotations

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

from integration.bench.counted_load import CONNECTIONS, CountedLoad
from integration.bench.measure import (
    LOAD_CORE,
    PROXY_CORE,
    open_tunnel,
    read_body,
    running,
    wait_until_served,
)
from integration.bench.proxies import Setup, egressd
from integration.bench.scenarios import LARGE_SCENARIOS, Scenario, host_name
from integration.bench.trees import Tree

_ANY_CORE = f"{PROXY_CORE},{LOAD_CORE}"  # instructions do not depend on it
_LAUNCHER = Path(__file__).with_name("without_pidfd.py")
_READY_S = 180.0
_CONTROL_S = 120
_TOTALS = re.compile(rb"^totals: (\d+)", re.MULTILINE)
_HOSTS = 3 * CONNECTIONS
"""Virtual hosts of each scenario here: each costs the slow worker its compilation once."""
_IDLE_S = 3.0


class Counts(NamedTuple):
    """Requests of a window: those before the first, then the smaller and the larger."""

    warm: int
    low: int
    high: int


_SMALL, _LARGE = Counts(600, 500, 2000), Counts(20, 20, 80)


def is_possible() -> bool:
    """Whether valgrind is installed."""
    return bool(shutil.which("valgrind") and shutil.which("callgrind_control"))


def counted(scenario: Scenario) -> Scenario:
    """The scenario with fewer hosts."""
    return replace(scenario, hosts=min(scenario.hosts, _HOSTS))


def instructions(tree: Tree, setup: Setup, origin: int, repeats: int) -> list[float]:
    """Instructions a request (or a MiB, for the scenarios of large bodies), `repeats` times."""
    counts = _LARGE if setup.scenario.name in LARGE_SCENARIOS else _SMALL
    with _worker(tree, setup) as worker, _load(setup, origin) as load:
        worker.control("-i", "on")
        load.run(counts.warm)
        worker.window(lambda: None)
        idle, idle_s = worker.window(lambda: time.sleep(_IDLE_S))
        found = []
        for _ in range(repeats):
            low, low_s = worker.window(partial(load.run, counts.low))
            high, high_s = worker.window(partial(load.run, counts.high))
            by_the_clock = idle / idle_s * (high_s - low_s)
            found.append((high - low - by_the_clock) / (counts.high - counts.low))
        return found


class _Worker:
    def __init__(self, pid: int, directory: Path) -> None:
        self._pid = pid
        self._directory = directory
        self._dumps = 0
        self._since = time.monotonic()

    def control(self, *arguments: str) -> None:
        """Tell the worker's callgrind. Raises CalledProcessError, TimeoutExpired."""
        command = ["callgrind_control", f"--vgdb-prefix={self._directory}/vgdb", *arguments]
        subprocess.run(
            [*command, str(self._pid)], check=True, capture_output=True, timeout=_CONTROL_S
        )

    def window(self, run: Callable[[], None]) -> tuple[int, float]:
        """Instructions and seconds of `run`; the dump before was the window's begin."""
        run()
        found, now = self._dump(), time.monotonic()
        elapsed, self._since = now - self._since, now
        return found, elapsed

    def _dump(self) -> int:
        self.control("-d")
        self._dumps += 1
        path = self._directory / f"callgrind.{self._pid}.{self._dumps}"
        totals = _TOTALS.search(path.read_bytes())
        if totals is None:
            raise RuntimeError(f"{path} has no totals")
        return int(totals[1])


@contextmanager
def _worker(tree: Tree, setup: Setup) -> Iterator[_Worker]:
    directory = setup.directory
    command = egressd(setup)
    path = directory / "egressd.yaml"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "limits": {"heartbeatTimeout": "0s"}}))
    assert command is not None
    valgrind = [
        "valgrind", "--quiet", "--tool=callgrind", "--trace-children=yes", "--instr-atstart=no",
        f"--callgrind-out-file={directory}/callgrind.%p", f"--vgdb-prefix={directory}/vgdb",
        sys.executable, "-P", str(_LAUNCHER), *command[3:],
    ]  # fmt: skip
    log, environment = directory / "proxy.out", tree.environment()
    with running(valgrind, _ANY_CORE, setup.listen, log, environment, within_s=_READY_S):
        yield _Worker(_ready_worker(directory), directory)


def _ready_worker(directory: Path) -> int:
    """The pid of the worker, once it serves."""
    until = time.monotonic() + _READY_S
    while time.monotonic() < until:
        try:
            status = json.loads((directory / "run" / "supervisor.json").read_text())
        except OSError:
            status = {"state": "starting"}
        if status["state"] == "ready":
            return next(int(c["pid"]) for c in status["children"] if c["role"] == "worker")
        time.sleep(0.1)
    raise RuntimeError(f"not ready:\n{(directory / 'proxy.out').read_text()[-2000:]}")


class _Load(Protocol):
    def run(self, count: int) -> None: ...


@contextmanager
def _load(setup: Setup, origin: int) -> Iterator[_Load]:
    if setup.scenario.name != "connect":
        wait_until_served(setup.listen, host_name(setup.scenario.hosts - 1))
        load = CountedLoad(setup.scenario, setup.listen)
        try:
            yield load
        finally:
            load.close()
        return
    with open_tunnel(setup.listen, origin) as tunnel:
        yield _TunnelLoad(tunnel, setup.scenario.bytes_per_request)


class _TunnelLoad:
    def __init__(self, tunnel: socket.socket, size: int) -> None:
        self._tunnel = tunnel
        self._size = size

    def run(self, count: int) -> None:
        for _ in range(count):
            found = read_body(self._tunnel, self._size)
            if found != self._size:
                raise RuntimeError(f"{found} bytes of body, expected {self._size}")
