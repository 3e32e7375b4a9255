"""`python -m integration.bench.compare --base REV`: this tree of egressd beside another one.

Both nodes run at the same time on one core; wrk and nginx share the other. A round measures both
for a few seconds, one after the other, in alternating order (A B, B A, ...). The bench code is this
tree's for both; only the packages egressd and adapters are the other's.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import trustme

from integration.bench.instructions import counted, instructions, is_possible
from integration.bench.measure import (
    LOAD_CORE,
    PROXY_CORE,
    free_port,
    measure_wrk,
    run_tunnel,
    running,
    warm_up,
)
from integration.bench.origin import write_origin
from integration.bench.proxies import Setup, egressd
from integration.bench.scenarios import SCENARIOS, Scenario, write_script
from integration.bench.trees import HERE, Tree, worktree
from integration.bench.verdict import Comparison, compare


@dataclass(frozen=True, slots=True)
class _Bench:
    """What all scenarios share: the origin's ports and certificate, and room for files."""

    root: Path
    plain: int
    tls: int

    def setup(self, directory: Path, scenario: Scenario) -> Setup:
        directory.mkdir()
        ca = self.root / "ca.pem"
        return Setup(directory, free_port(), self.plain, self.tls, ca, scenario)


Measured = tuple[Sequence[float], Sequence[float]]
"""The costs of base and tree, in pairs."""


def main() -> int:
    """Parse the options, measure, print one line a scenario."""
    options = _options()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))  # leaves the blocks
    chosen = [s for s in SCENARIOS if not options.scenario or s.name in options.scenario.split(",")]
    if options.instructions and not is_possible():
        print("--instructions needs valgrind: apt-get install valgrind", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="egressd-compare-") as text, ExitStack() as stack:
        root = Path(text)
        if options.base_tree:
            directory = Path(options.base_tree).resolve()
        else:
            directory = stack.enter_context(worktree(options.base, root / "base"))
        base = Tree(options.base or str(directory), directory, root / "base.pyc")
        tree = Tree("this tree", HERE, root / "tree.pyc")
        for one in (base, tree):
            one.check()
        bench = stack.enter_context(_origin(root))
        print(f"base: {base.name}; {_what(options)}", flush=True)
        print(_HEADER, flush=True)
        for scenario in chosen:
            if options.instructions:
                found = _count(bench, (base, tree), counted(scenario), options.rounds)
            else:
                found = _time(bench, (base, tree), scenario, options.rounds, options.seconds)
            print(_line(scenario, compare(*found), options.instructions), flush=True)
    return 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m integration.bench.compare", description=__doc__
    )
    base = parser.add_mutually_exclusive_group(required=True)
    base.add_argument("--base", help="the git revision to compare with")
    base.add_argument("--base-tree", help="or a directory that holds its egressd/ and adapters/")
    names = ",".join(scenario.name for scenario in SCENARIOS)
    parser.add_argument("--scenario", default="", help=f"comma-separated: {names}")
    parser.add_argument("--rounds", type=int, help="at least 5, default 9; of --instructions: 3")
    parser.add_argument("--seconds", type=float, default=2, help="of load, a tree and round")
    parser.add_argument(
        "--instructions", action="store_true", help="count by callgrind instead of timing"
    )
    options = parser.parse_args()
    if options.rounds is None:
        options.rounds = 3 if options.instructions else 9
    if not options.instructions and options.rounds < 5:
        parser.error("--rounds: expected at least 5")
    return options


def _what(options: argparse.Namespace) -> str:
    if options.instructions:
        return f"instructions of the worker, {options.rounds} windows"
    return f"CPU of the node's processes, {options.rounds} rounds of {options.seconds:g} s"


@contextmanager
def _origin(root: Path) -> Iterator[_Bench]:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(root / "ca.pem")
    certificate = authority.issue_cert("origin.bench")
    certificate.cert_chain_pems[0].write_to_path(root / "origin.pem")
    certificate.private_key_pem.write_to_path(root / "origin.key")
    plain, tls = free_port(), free_port()
    config = write_origin(root, plain, tls, root / "origin.pem", root / "origin.key")
    with running(["nginx", "-c", str(config)], LOAD_CORE, plain, root / "origin.out"):
        yield _Bench(root, plain, tls)


# -- the two kinds of measurement ------------------------------------------------------------------


def _time(
    bench: _Bench, trees: tuple[Tree, Tree], scenario: Scenario, rounds: int, seconds: float
) -> Measured:
    with tempfile.TemporaryDirectory(dir=bench.root) as text, ExitStack() as stack:
        measures = []
        for name, tree in zip(("base", "tree"), trees, strict=True):
            setup = bench.setup(Path(text) / name, scenario)
            measures.append(stack.enter_context(_node(bench, tree, setup, seconds)))
        return _interleaved(measures, rounds)


@contextmanager
def _node(bench: _Bench, tree: Tree, setup: Setup, seconds: float) -> Iterator[Callable[[], float]]:
    """A running, warm node; yields what measures it once."""
    command = egressd(setup)
    assert command is not None
    log, scenario = setup.directory / "proxy.out", setup.scenario
    environment = tree.environment()
    with running(
        [command[0], "-P", *command[1:]], PROXY_CORE, setup.listen, log, environment
    ) as pid:
        if scenario.name == "connect":
            yield lambda: run_tunnel(scenario, setup.listen, bench.plain, pid, seconds).cost
            return
        script = write_script(scenario, setup.directory)
        warm_up(scenario, script, setup.listen)

        def measure() -> float:
            sample = measure_wrk(scenario, script, setup.listen, pid, seconds)
            if sample.wrong:
                raise RuntimeError(f"{tree.name}: {sample.wrong} wrong answers in {scenario.name}")
            return sample.cost

        yield measure


def _interleaved(measures: Sequence[Callable[[], float]], rounds: int) -> Measured:
    """A B, B A, A B, ...: what drifts hits both alike."""
    costs: tuple[list[float], list[float]] = ([], [])
    for number in range(rounds):
        for which in (0, 1) if number % 2 == 0 else (1, 0):
            costs[which].append(measures[which]())
    return costs


def _count(bench: _Bench, trees: tuple[Tree, Tree], scenario: Scenario, windows: int) -> Measured:
    found = []
    for name, tree in zip(("base", "tree"), trees, strict=True):
        with tempfile.TemporaryDirectory(dir=bench.root) as text:
            setup = bench.setup(Path(text) / name, scenario)
            found.append(instructions(tree, setup, bench.plain, windows))
    return found[0], found[1]


# -- output ----------------------------------------------------------------------------------------

_HEADER = f"{'scenario':10} {'base':>20} {'this tree':>20} {'ratio':>7}  verdict"


def _line(scenario: Scenario, found: Comparison, counts: bool) -> str:
    unit = "s/GiB" if scenario.bytes_per_request else "µs"
    if counts:
        unit = "/MiB" if scenario.bytes_per_request else "/req"
    ratio = f"{found.ratio:7.3f}" if found.is_resolved or counts else f"{'-':>7}"
    base = _figure(found.base, found.base_spread, unit, counts)
    tree = _figure(found.tree, found.tree_spread, unit, counts)
    return f"{scenario.name:10} {base:>20} {tree:>20} {ratio}  {found.verdict}"


def _figure(value: float, spread: float, unit: str, counts: bool) -> str:
    shown = f"{value:,.0f}" if counts else f"{value:.2f}"
    return f"{shown} {unit} ±{spread * 100:.1f}%"


if __name__ == "__main__":
    sys.exit(main())
