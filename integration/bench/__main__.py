"""`python -m integration.bench`: all scenarios through all proxies, interleaved, and the table."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

import trustme

from integration.bench.measure import (
    LOAD_CORE,
    PROXY_CORE,
    Sample,
    free_port,
    run_tunnel,
    run_wrk,
    running,
)
from integration.bench.origin import write_origin
from integration.bench.proxies import PROXIES, Proxy, Setup
from integration.bench.report import summary, write
from integration.bench.scenarios import SCENARIOS, Scenario, write_script


def main() -> int:
    """Parse the options, run, print; exit status 1 when any answer was wrong."""
    options = _options()
    proxies = [p for p in PROXIES if not options.proxies or p.name in options.proxies.split(",")]
    chosen = [s for s in SCENARIOS if not options.scenario or s.name in options.scenario.split(",")]
    samples: dict[str, dict[str, list[Sample]]] = {}
    with tempfile.TemporaryDirectory(prefix="egressd-bench-") as text:
        root = Path(text)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(root / "ca.pem")
        certificate = authority.issue_cert("origin.bench")
        certificate.cert_chain_pems[0].write_to_path(root / "origin.pem")
        certificate.private_key_pem.write_to_path(root / "origin.key")
        plain, tls = free_port(), free_port()
        config = write_origin(root, plain, tls, root / "origin.pem", root / "origin.key")
        with running(["nginx", "-c", str(config)], LOAD_CORE, plain, root / "origin.out"):
            for scenario in chosen:
                samples[scenario.name] = {proxy.name: [] for proxy in proxies}
                for number in range(options.rounds):
                    for proxy in proxies:
                        sample = _round(root, scenario, proxy, plain, tls, options.seconds)
                        if sample is not None:
                            samples[scenario.name][proxy.name].append(sample)
                            _say(scenario, proxy, number, sample)
    result = summary(samples)
    print(write(result, Path(options.out), Path("README.md") if options.readme else Path("-")))
    return 1 if any(row["wrong"] for rows in result.values() for row in rows.values()) else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m integration.bench", description=__doc__)
    parser.add_argument(
        "--scenario", default="", help="comma-separated: small,post,large,tls,connect,vhost,vhosts"
    )
    parser.add_argument("--proxies", default="", help="comma-separated: egressd,envoy,haproxy,...")
    parser.add_argument("--seconds", type=int, default=8, help="of measured load a round")
    parser.add_argument("--rounds", type=int, default=3, help="A B A B rounds")
    parser.add_argument("--quick", action="store_true", help="2 s, 1 round")
    parser.add_argument("--out", default="integration/bench/results", help="JSON and chart go here")
    parser.add_argument("--readme", action="store_true", help="put the table into README.md")
    options = parser.parse_args()
    if options.quick:
        options.seconds, options.rounds = 2, 1
    return options


def _round(
    root: Path, scenario: Scenario, proxy: Proxy, plain: int, tls: int, seconds: int
) -> Sample | None:
    with tempfile.TemporaryDirectory(dir=root) as text:
        directory = Path(text)
        setup = Setup(directory, free_port(), plain, tls, root / "ca.pem", scenario)
        command = proxy.command(setup)
        if command is None:
            return None
        with running(command, PROXY_CORE, setup.listen, directory / "proxy.out") as pid:
            if scenario.name == "connect":
                return run_tunnel(scenario, setup.listen, plain, pid, seconds)
            script = write_script(scenario, directory)
            return run_wrk(scenario, script, setup.listen, pid, seconds)


def _say(scenario: Scenario, proxy: Proxy, number: int, sample: Sample) -> None:
    print(
        f"{scenario.name} {proxy.name} round {number + 1}: {sample.cost:.2f}, {sample.rps:,.0f}/s, "
        f"p99 {sample.p99_ms:.1f} ms, {sample.wrong} wrong",
        file=sys.stderr,
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())
