"""`egressd status`."""

from __future__ import annotations

import time
from pathlib import Path

import click

from egressd.admin.state import ClusterView, EndpointView, SourceView, StatusView
from egressd.api.counted import counted
from egressd.cli.node_access import ask_admin, load_node
from egressd.cli.options import node_options, output_option
from egressd.cli.output import echo, print_json, print_report, print_table

_PROBLEMS = 50
_FAILURES = 20
_IDLE = 3  # the rank of what nobody uses
_STATE = 60  # characters of a source's error in the table; the whole of it stands below


@click.command()
@node_options
@output_option
def status(bootstrap_path: Path | None, output: str) -> None:
    """Processes, sources, endpoints and ejections of the running node, what is most urgent first. Exit 1
    when it is down."""
    bootstrap = load_node(bootstrap_path)
    found = ask_admin(bootstrap, "/status", StatusView)
    if output == "json":
        print_json(found)
        return
    clusters = ask_admin(bootstrap, "/clusters?format=json", list[ClusterView])
    echo(f"node {found.node}: {found.state}, egressd {found.version}")
    echo(f"listening on {', '.join(found.listeners)}")
    echo(f"registry version {found.registry_version}, {counted(found.registry_records, 'record')}")
    if found.registry_error:
        print_report(f"ALARM nothing can be published: {found.registry_error}")
    if found.not_ready:
        silent = [s.name for s in found.sources if s.is_required and not s.has_answered]
        said = f"required sources have never answered: {', '.join(silent)}" if silent else ""
        print_report(f"NOT READY: {said or found.not_ready}")
    if found.config_error:
        print_report(f"last reload refused: {found.config_error}")
    if found.upgrade_error:
        ago = time.time() - found.upgrade_failed_at
        print_report(
            f"last upgrade failed {ago:.0f} s ago, this program stays: {found.upgrade_error}"
        )
    _alarms(found, clusters)
    _processes(found)
    _sources(found)
    _endpoints(clusters)
    _failures(clusters)
    for problem in found.problems[:_PROBLEMS]:
        print_report(problem)
    if len(found.problems) > _PROBLEMS:
        echo(f"and {len(found.problems) - _PROBLEMS} more problems (-o json shows all)")


def _alarms(found: StatusView, clusters: list[ClusterView]) -> None:
    """What somebody should act on, before the tables: those may be long."""
    for source in found.sources:
        if source.held:
            print_report(f"ALARM source {source.name}: {source.held}")
            echo(f"  to believe it now: egressd registry confirm {source.name}")
    for source in found.sources:
        if source.error and _state(source) != source.error:
            print_report(f"source {source.name} fails: {source.error}")
    for cluster in clusters:
        if cluster.name_trouble:
            print_report(f"{cluster.name}: {cluster.name_trouble}")


def _failures(clusters: list[ClusterView]) -> None:
    """The last failure of endpoints that have any."""
    lines = [
        f"{cluster.name} {endpoint.id}: {endpoint.failures} of {endpoint.requests} requests failed, "
        f"the last one: {endpoint.last_failure}"
        for cluster in clusters
        for endpoint in cluster.endpoints
        if endpoint.last_failure
    ]
    for line in lines[:_FAILURES]:
        print_report(line)
    if len(lines) > _FAILURES:
        echo(f"and {len(lines) - _FAILURES} more that fail (`/clusters` has all)")


def _processes(found: StatusView) -> None:
    echo()
    now = time.time()
    rows = [
        [
            f"{p.role} {p.index}" if p.role == "worker" else p.role,
            str(p.pid),
            p.state,
            f"{now - p.started_at:.0f} s" if p.started_at else "-",
            str(p.restarts),
            p.last_exit or "-",
        ]
        for p in sorted(found.processes, key=lambda one: one.state == "ready")
    ]
    print_table(["PROCESS", "PID", "STATE", "UP", "RESTARTS", "LAST EXIT"], rows)


def _sources(found: StatusView) -> None:
    echo()
    rows = [
        [
            source.name,
            source.type,
            str(source.records),
            f"{source.age_s:.1f} s ago" if source.age_s >= 0 else "not yet",
            _state(source),
            str(len(source.problems)),
        ]
        for source in sorted(found.sources, key=_source_rank)
    ]
    print_table(["SOURCE", "TYPE", "RECORDS", "HEARD", "STATE", "PROBLEMS"], rows)


def _state(source: SourceView) -> str:
    if source.error:
        line = " ".join(source.error.split())
        return line if len(line) <= _STATE else f"{line[: _STATE - 4]} ..."
    if source.progress is not None:
        done, total = source.progress
        return f"first sync, {done} of {total or '?'}"
    if source.held:
        return "mass loss held"
    return "ok" if source.age_s >= 0 else "-"


def _endpoints(clusters: list[ClusterView]) -> None:
    rows = []
    for cluster in sorted(clusters, key=_cluster_rank):
        if cluster.failure:
            rows.append([cluster.name, "-", cluster.failure, "", "", "", ""])
        for endpoint in sorted(cluster.endpoints, key=_endpoint_rank):
            left = f"ejected, {endpoint.ejected_for_s:.1f} s left"
            rows.append(
                [
                    cluster.name,
                    endpoint.id,
                    "healthy" if endpoint.healthy else left,
                    str(endpoint.requests),
                    str(endpoint.failures),
                    str(endpoint.active),
                    str(endpoint.times_ejected),
                ]
            )
    if rows:
        echo()
        head = ["CLUSTER IN USE", "ENDPOINT", "HEALTH", "REQUESTS", "FAILED", "ACTIVE", "EJECTIONS"]
        print_table(head, rows)


def _endpoint_rank(endpoint: EndpointView) -> int:
    """Ejected ones first, then those that fail, those in use, idle ones."""
    used = endpoint.requests or endpoint.active
    marks = (not endpoint.healthy, endpoint.failures or endpoint.times_ejected, used)
    return next((rank for rank, mark in enumerate(marks) if mark), _IDLE)


def _cluster_rank(cluster: ClusterView) -> int:
    """As its most urgent endpoint; one that cannot be used at all before all."""
    return -1 if cluster.failure else min(map(_endpoint_rank, cluster.endpoints), default=_IDLE)


def _source_rank(source: SourceView) -> int:
    return 0 if source.error or source.held else 1
