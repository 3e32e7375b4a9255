"""Medians and ratios as JSON, a Markdown table and a chart."""

from __future__ import annotations

import json
import os
import platform
import statistics
from collections.abc import Mapping
from datetime import date
from pathlib import Path

from integration.bench.measure import Sample
from integration.bench.scenarios import SCENARIOS

Samples = Mapping[str, Mapping[str, list[Sample]]]
"""Scenario to proxy to its rounds."""

_BEGIN, _END = "<!-- bench -->", "<!-- /bench -->"


def summary(samples: Samples) -> dict[str, dict[str, dict[str, float]]]:
    """Medians over the rounds, with the ratio of the cost to Envoy's."""
    result: dict[str, dict[str, dict[str, float]]] = {}
    for scenario, proxies in samples.items():
        rows = {name: _median(rounds) for name, rounds in proxies.items() if rounds}
        base = rows.get("envoy", {}).get("cost")
        for row in rows.values():
            if base:
                row["ratio_to_envoy"] = row["cost"] / base
        result[scenario] = rows
    return result


def _median(rounds: list[Sample]) -> dict[str, float]:
    return {
        "cost": statistics.median(s.cost for s in rounds),
        "rps": statistics.median(s.rps for s in rounds),
        "p50_ms": statistics.median(s.p50_ms for s in rounds),
        "p99_ms": statistics.median(s.p99_ms for s in rounds),
        "requests": sum(s.requests for s in rounds),
        "wrong": sum(s.wrong for s in rounds),
        "verified": sum(s.verified for s in rounds),
        "rounds": len(rounds),
    }


def machine() -> str:
    """Processor and kernel, for the table's caption."""
    model = "unknown CPU"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    cores = os.cpu_count()  # not the affinity: the tunnel client pins itself
    return (
        f"{cores} cores of {model}, Linux {platform.release()}, CPython {platform.python_version()}"
    )


def markdown(result: dict[str, dict[str, dict[str, float]]], where: str) -> str:
    """The table that the README shows."""
    lines = [
        f"Measured {date.today().isoformat()} on {where}; proxy on one core, load and origin on the "
        "other; access logs off, metrics on; medians of interleaved rounds "
        "(`python -m integration.bench`).",
        "",
        "| scenario | proxy | CPU | x Envoy | requests/s | p50 ms | p99 ms | wrong answers |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    titles = {scenario.name: scenario for scenario in SCENARIOS}
    for name, rows in result.items():
        scenario = titles[name]
        unit = "s/GiB" if scenario.bytes_per_request else "µs/request"
        for proxy, row in sorted(rows.items(), key=lambda item: item[1]["cost"]):
            ratio = f"{row['ratio_to_envoy']:.2f}" if "ratio_to_envoy" in row else "-"
            lines.append(
                f"| {scenario.title} | {proxy} | {row['cost']:.2f} {unit} | {ratio} "
                f"| {row['rps']:,.0f} | {row['p50_ms']:.2f} | {row['p99_ms']:.2f} "
                f"| {row['wrong']:.0f} of {row['verified']:.0f} checked |"
            )
    return "\n".join(lines) + "\n"


def write(result: dict[str, dict[str, dict[str, float]]], directory: Path, readme: Path) -> str:
    """Write JSON, chart and the README's table; returns the table."""
    directory.mkdir(parents=True, exist_ok=True)
    where = machine()
    document = {"date": date.today().isoformat(), "machine": where, "scenarios": result}
    (directory / "latest.json").write_text(json.dumps(document, indent=1) + "\n")
    table = markdown(result, where)
    _chart(result, directory / "latest.png")
    if readme.exists():
        text = readme.read_text()
        if _BEGIN in text and _END in text:
            head, _, rest = text.partition(_BEGIN)
            readme.write_text(head + _BEGIN + "\n" + table + _END + rest.partition(_END)[2])
    return table


def _chart(result: dict[str, dict[str, dict[str, float]]], path: Path) -> None:
    try:
        import matplotlib
    except ImportError:
        return
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(result), figsize=(4 * len(result), 4), squeeze=False)
    for axis, (name, rows) in zip(axes[0], result.items(), strict=True):
        shown = {proxy: row for proxy, row in rows.items() if proxy != "mitmproxy"}
        colors = ["tab:orange" if proxy == "egressd" else "tab:gray" for proxy in shown]
        axis.bar(list(shown), [row["cost"] for row in shown.values()], color=colors)
        scenario = next(s for s in SCENARIOS if s.name == name)
        axis.set_title(scenario.title, fontsize=9)
        axis.set_ylabel("CPU s/GiB" if scenario.bytes_per_request else "CPU µs/request")
    figure.tight_layout()
    figure.savefig(path, dpi=80)
