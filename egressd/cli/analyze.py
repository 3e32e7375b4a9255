"""`egressd analyze`."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click

from egressd.analysis.analyze import analyze as analyze_resources
from egressd.analysis.analyze import in_order
from egressd.analysis.codes import CODES
from egressd.analysis.finding import Finding, finding_of
from egressd.analysis.observed import Seen
from egressd.analysis.surroundings import with_registry
from egressd.api.counted import counted
from egressd.api.resource import Severity
from egressd.cli.ignore_kinds import ignore_kinds_option
from egressd.cli.node_access import load_node, node_clusters, parse_files
from egressd.cli.options import node_options, output_option
from egressd.cli.output import echo, print_findings, print_json
from egressd.cli.registry_access import find_surroundings, registry_options
from egressd.node.bootstrap_model import Bootstrap
from egressd.node.profile import node_profile
from egressd.routing.table import ClusterKey


@click.command()
@click.argument("paths", nargs=-1, type=click.Path(exists=True, readable=False, path_type=Path))
@ignore_kinds_option
@click.option(
    "--fail-on",
    type=click.Choice(["error", "warning", "never"]),
    default="error",
    help="What makes the exit status 1.  [default: error]",
)
@click.option("--suppress", multiple=True, help="CODE, or CODE=KIND/NAMESPACE/NAME.")
@click.option("--expiry-days", default=30, help="A certificate ends soon within this many days.")
@registry_options
@node_options
@output_option
def analyze(
    paths: tuple[Path, ...],
    fail_on: str,
    suppress: tuple[str, ...],
    expiry_days: int,
    registry: Path | None,
    offline: bool,
    bootstrap_path: Path | None,
    output: str,
) -> None:
    """Find what resources do to each other: routes that no request reaches, destinations that lead
    nowhere, hosts claimed twice, TLS ports called in plain, certificates about to end.

    PATHS are analyzed together with the node's registry, where it has one, as they will be once they are
    in force; without PATHS that registry alone. docs/analyze.md lists every code.

    \b
    egressd analyze resources/
    egressd analyze --fail-on warning --suppress EG0305 resources/
    egressd analyze --offline resources/
    egressd analyze --registry /backup/egressd resources/
    egressd analyze -o json
    """
    for one in suppress:
        if one.partition("=")[0] not in CODES:
            raise click.UsageError(f"--suppress {one}: no such code; docs/analyze.md lists them")
    bootstrap = load_node(bootstrap_path)
    around = find_surroundings(bootstrap_path, registry, offline=offline)
    if not paths and not around.name:
        raise click.UsageError(
            f"no PATHS, and no registry in {bootstrap.store_path}: name files, or --registry"
        )
    resources, problems = parse_files(list(paths))
    findings = analyze_resources(
        with_registry(resources, around.records, around.places(paths), around.order),
        datetime.now(UTC),
        node_profile(bootstrap),
        timedelta(days=expiry_days),
        _seen(bootstrap) if around.name and registry is None else (),
    )
    findings = in_order([*map(finding_of, problems), *findings])
    shown = [found for found in findings if not _is_suppressed(found, suppress)]
    if output == "json":
        print_json([{**_plain(found), "title": found.title} for found in shown])
    else:
        print_findings(shown)
        errors = sum(found.severity is Severity.ERROR for found in shown)
        beside = f"; with the registry {around.name}" if around.name else "; offline"
        warnings = counted(len(shown) - errors, "warning")
        echo(f"{counted(errors, 'error')}, {warnings}{beside}")
    failing = {"error": (Severity.ERROR,), "warning": tuple(Severity), "never": ()}[fail_on]
    sys.exit(any(found.severity in failing for found in shown))


def _seen(bootstrap: Bootstrap) -> Iterator[Seen]:
    """What the running node has seen of its clusters; nothing where none runs."""
    for cluster in (node_clusters(bootstrap) or {}).values():
        yield Seen(
            ClusterKey(cluster.host, cluster.subset, cluster.port),
            cluster.tls_answers,
            cluster.unanswered,
            sum(one.requests for one in cluster.endpoints),
            sum(one.failures for one in cluster.endpoints),
        )


def _is_suppressed(found: Finding, suppress: tuple[str, ...]) -> bool:
    return found.code in suppress or f"{found.code}={found.resource}" in suppress


def _plain(found: Finding) -> dict[str, object]:
    return {
        "code": found.code,
        "severity": str(found.severity),
        "file": found.place.file,
        "line": found.place.line,
        "column": found.place.column,
        "resource": found.resource,
        "field": found.field,
        "found": found.found,
        "fix": found.fix,
        "istio": list(found.istio),
    }
