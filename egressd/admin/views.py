"""What each admin path answers: status, content type, body. No sockets here."""

from __future__ import annotations

import html
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from typing import NamedTuple
from urllib.parse import parse_qs

import msgspec
import trio

import egressd
from egressd.admin.request_guard import Target
from egressd.admin.state import AdminState, ClusterView
from egressd.api.render import shown_resource
from egressd.registry.records import Record, SourceState

JSON = "application/json"
CONFIRM = "/registry/confirm"
TEXT = "text/plain; charset=utf-8"


class Answer(NamedTuple):
    """One HTTP answer."""

    status: int
    content_type: str
    body: bytes


class Query(NamedTuple):
    """What a path is asked with."""

    parameters: Mapping[str, list[str]]
    accept: str

    def get(self, name: str) -> str:
        return self.parameters.get(name, [""])[0]


def _json(value: object, status: int = 200) -> Answer:
    return Answer(status, JSON, msgspec.json.format(msgspec.json.encode(value)) + b"\n")


async def act(state: AdminState, target: Target) -> Answer:
    """Route one POST."""
    if target.path != CONFIRM:
        return Answer(405, TEXT, f"GET and HEAD only, but for POST {CONFIRM}\n".encode())
    source = Query(parse_qs(target.query), "").get("source")
    confirmed = state.confirm(source)
    if confirmed is None:
        return Answer(
            404, TEXT, f"found source {source!r}, expected one of the bootstrap\n".encode()
        )
    return _json({"source": source, "confirmed": confirmed})


async def answer(state: AdminState, target: Target, accept: str) -> Answer:
    """Route one GET."""
    view = VIEWS.get(target.path)
    if view is None:
        return Answer(404, TEXT, f"no such path; there are {', '.join(VIEWS)}\n".encode())
    return await view(state, Query(parse_qs(target.query), accept))


async def _index(state: AdminState, query: Query) -> Answer:
    links = "".join(f'<li><a href="{path}">{html.escape(path)}</a></li>' for path in VIEWS)
    page = (
        "<!doctype html><meta charset=utf-8><title>egressd</title>"
        "<style>body{font:16px system-ui;margin:3em}</style>"
        f"<h1>egressd {egressd.__version__}</h1><ul>{links}</ul>"
    )
    return Answer(200, "text/html; charset=utf-8", f"{page}\n".encode())


async def _healthz(state: AdminState, query: Query) -> Answer:
    return Answer(200, TEXT, b"ok\n")


async def _readyz(state: AdminState, query: Query) -> Answer:
    ready, why = state.is_ready()
    return Answer(200 if ready else 503, TEXT, f"{why}\n".encode())


async def _metrics(state: AdminState, query: Query) -> Answer:
    body, content_type = await state.metrics(query.accept)
    return Answer(200, content_type, body)


async def _version(state: AdminState, query: Query) -> Answer:
    return _json({"version": egressd.__version__})


async def _status(state: AdminState, query: Query) -> Answer:
    return _json(await state.status())


async def _clusters(state: AdminState, query: Query) -> Answer:
    clusters = await state.clusters()
    if query.get("format") == "json":
        return _json(clusters)
    return Answer(200, TEXT, "".join(map(_cluster_lines, clusters)).encode())


def _cluster_lines(cluster: ClusterView) -> str:
    """Envoy's `/clusters` shape: cluster::endpoint::name::value."""
    lines = [f"{cluster.name}::observability_name::{cluster.name}"]
    if cluster.failure:
        lines.append(f"{cluster.name}::failure::{cluster.failure}")
    if cluster.name_trouble:
        lines.append(f"{cluster.name}::name_trouble::{cluster.name_trouble}")
    for endpoint in cluster.endpoints:
        start = f"{cluster.name}::{endpoint.id}"
        flags = "healthy" if endpoint.healthy else "/failed_outlier_check"
        lines += [
            f"{start}::health_flags::{flags}",
            f"{start}::cx_active::{endpoint.connections}",
            f"{start}::rq_active::{endpoint.active}",
            f"{start}::rq_total::{endpoint.requests}",
            f"{start}::rq_error::{endpoint.failures}",
            f"{start}::weight::{endpoint.weight}",
            f"{start}::ejected_for_s::{endpoint.ejected_for_s:g}",
            f"{start}::times_ejected::{endpoint.times_ejected}",
            f"{start}::last_failure::{endpoint.last_failure or '-'}",
        ]
    return "\n".join(lines) + "\n"


async def _registry(state: AdminState, query: Query) -> Answer:
    return await _aside(lambda: _records(state, query.get("host")))


async def _config_dump(state: AdminState, query: Query) -> Answer:
    clusters = await state.clusters()
    problems = state.problems()
    return await _aside(
        lambda: {
            "bootstrap": state.bootstrap(),
            "resources": _records(state, ""),
            "problems": [str(problem) for problem in problems],
            "clusters": clusters,
        }
    )


async def _aside(value: Callable[[], object]) -> Answer:
    """In a thread: 10,000 records take seconds, in which the same loop has to hear the sources. Few
    at a time: each holds the whole registry as text."""
    return await trio.to_thread.run_sync(lambda: _json(value()), limiter=_DUMPS)


def _records(state: AdminState, host: str) -> list[dict[str, object]]:
    states = state.source_states()
    return [record_view(r, states.get(r.source)) for r in state.records(host)]


def record_view(record: Record, source: SourceState | None) -> dict[str, object]:
    """A record as JSON: the resource in Istio's shape with where it comes from."""
    return {
        "source": record.source,
        "origin": record.origin,
        "sourceVersion": record.source_version,
        "firstSeen": timestamp(record.first_seen),
        "lastSeen": timestamp(last_seen(record, source)),
        "isRetained": source is not None and record.key in source.retained,
        "isMerged": record.is_merged,
        "resource": shown_resource(record.resource),
    }


def last_seen(record: Record, source: SourceState | None) -> float:
    """When the source stated the record for the last time, in seconds since the epoch."""
    if source is None or record.key in source.retained:
        return record.last_seen
    return max(record.last_seen, source.synced_at)


def timestamp(at: float) -> str:
    """RFC 3339 with seconds; "" = never."""
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else ""


_DUMPS = trio.CapacityLimiter(2)
View = Callable[[AdminState, Query], Awaitable[Answer]]
VIEWS: Mapping[str, View] = {
    "/": _index,
    "/healthz": _healthz,
    "/readyz": _readyz,
    "/metrics": _metrics,
    "/stats/prometheus": _metrics,
    "/status": _status,
    "/clusters": _clusters,
    "/registry": _registry,
    "/config_dump": _config_dump,
    "/version": _version,
}
