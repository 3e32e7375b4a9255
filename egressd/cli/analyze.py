"""`egressd analyze`."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from egressd.analysis.analyze import analyze as analyze_resources
from egressd.analysis.finding import CODES, Finding
from egressd.api.resource import Resource, Severity
from egressd.cli.node_access import load_node, open_registry, read_files
from egressd.cli.options import node_options, output_option
from egressd.cli.output import echo, print_json
from egressd.node.profile import node_profile


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, path_type=Path))
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning", "never"]),
    default="error",
    help="What makes the exit status 1.  [default: error]",
)
@click.option("--suppress", multiple=True, help="CODE, or CODE=KIND/NAMESPACE/NAME.")
@click.option("--expiry-days", default=30, help="A certificate ends soon within this many days.")
@node_options
@output_option
def analyze(
    paths: tuple[Path, ...],
    fail_on: str,
    suppress: tuple[str, ...],
    expiry_days: int,
    bootstrap_path: Path | None,
    output: str,
) -> None:
    """Find what resources do to each other: routes that no request reaches, destinations that lead
    nowhere, hosts claimed twice, TLS ports called in plain, certificates about to end.

    Without PATHS the node's own registry is analyzed. docs/analyze.md lists every code.

    \b
    egressd analyze resources/
    egressd analyze --fail-on warning --suppress EG0305 resources/
    egressd analyze -o json
    """
    for one in suppress:
        if one.partition("=")[0] not in CODES:
            raise click.UsageError(f"--suppress {one}: no such code; docs/analyze.md lists them")
    bootstrap = load_node(bootstrap_path)
    findings = analyze_resources(
        _resources(list(paths), bootstrap_path),
        datetime.now(UTC),
        node_profile(bootstrap),
        timedelta(days=expiry_days),
    )
    shown = [found for found in findings if not _is_suppressed(found, suppress)]
    if output == "json":
        print_json([{**_plain(found), "title": found.title} for found in shown])
    else:
        for found in shown:
            echo(str(found))
        errors = sum(found.severity is Severity.ERROR for found in shown)
        echo(f"{errors} errors, {len(shown) - errors} warnings")
    failing = {"error": (Severity.ERROR,), "warning": tuple(Severity), "never": ()}[fail_on]
    sys.exit(any(found.severity in failing for found in shown))


def _resources(paths: list[Path], bootstrap_path: Path | None) -> list[Resource]:
    """Of files, where they parse; else what the node's registry holds."""
    if not paths:
        with open_registry(bootstrap_path) as reader:
            return [record.resource for record in reader.all_records()]
    resources, problems = read_files(paths)
    broken = [p for p in problems if p.severity is Severity.ERROR]
    for problem in broken:
        echo(str(problem), err=True)
    return resources


def _is_suppressed(found: Finding, suppress: tuple[str, ...]) -> bool:
    return found.code in suppress or f"{found.code}={found.resource}" in suppress


def _plain(found: Finding) -> dict[str, object]:
    return {
        "code": found.code,
        "severity": str(found.severity),
        "file": found.place.file,
        "line": found.place.line,
        "resource": found.resource,
        "field": found.field,
        "found": found.found,
        "fix": found.fix,
    }
