"""What the admin server shows, asked of the registry process and the workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from egressd.api.resource import Problem
from egressd.registry.records import Record, SourceState


class EndpointView(msgspec.Struct, frozen=True):
    """One endpoint; counters are the sums over workers, health is the node's."""

    id: str
    hostname: str
    weight: int
    healthy: bool
    ejected_for_s: float
    times_ejected: int
    consecutive_errors: int
    active: int
    requests: int
    failures: int
    connections: int
    last_failure: str = ""  # of an attempt, as one of the workers saw it; "" = none yet

    def plus(self, other: EndpointView) -> EndpointView:
        """The same endpoint as two workers see it."""
        return msgspec.structs.replace(
            self,
            active=self.active + other.active,
            requests=self.requests + other.requests,
            failures=self.failures + other.failures,
            connections=self.connections + other.connections,
            last_failure=self.last_failure or other.last_failure,
        )


class ClusterView(msgspec.Struct, frozen=True):
    """One cluster in use."""

    name: str
    host: str
    subset: str
    port: int
    resolution: str
    balancer: str
    destination_rule: str
    service_entries: tuple[str, ...]
    failure: str
    endpoints: tuple[EndpointView, ...]
    name_trouble: str = ""  # why a name does not resolve, or lives on its last answer
    tls_answers: int = 0  # plain requests that were answered as a TLS port answers them
    unanswered: int = 0  # new plain connections that were closed before a first byte


class SourceView(msgspec.Struct, frozen=True):
    """One source of the registry. Ages in seconds, -1 = never heard of."""

    name: str
    type: str
    records: int
    age_s: float
    source_version: str
    error: str
    errors: int
    problems: tuple[str, ...]
    held: str = ""  # what the mass-loss guard holds; "" = nothing
    progress: tuple[int, int] | None = None  # parts read and to read (0 = unknown) of a first sync
    is_required: bool = True  # the node is not ready before it has answered
    has_answered: bool = True  # this node, now or in an earlier run


class ProcessView(msgspec.Struct, frozen=True):
    """One process of the node."""

    role: str
    index: int
    pid: int
    state: str
    started_at: float
    restarts: int
    last_exit: str


class StatusView(msgspec.Struct, frozen=True):
    """What `egressd status` prints."""

    node: str
    version: str
    state: str
    registry_version: int
    registry_error: str  # why nothing can be published now; "" = it can
    registry_records: int
    config_path: str
    config_error: str
    listeners: tuple[str, ...]
    processes: tuple[ProcessView, ...]
    sources: tuple[SourceView, ...]
    ejected: tuple[tuple[str, str, float], ...]  # cluster, endpoint, seconds left
    problems: tuple[str, ...]
    upgrade_error: str = ""  # why the last upgrade in place failed; "" = none has
    upgrade_failed_at: float = 0.0  # Unix seconds
    not_ready: str = ""  # why `/readyz` is no 200; "" = it is


class AdminState(Protocol):
    """The node as the admin server asks for it."""

    def is_ready(self) -> tuple[bool, str]: ...

    async def metrics(self, accept: str) -> tuple[bytes, str]: ...

    async def clusters(self) -> list[ClusterView]: ...

    async def status(self) -> StatusView: ...

    def records(self, host: str) -> Sequence[Record]:
        """Those that claim a host; "" = all. Asked from a thread, as `source_states` and `bootstrap`."""

    def source_states(self) -> Mapping[str, SourceState]: ...

    def problems(self) -> tuple[Problem, ...]: ...

    def bootstrap(self) -> object:
        """JSON-like, without secrets."""

    def confirm(self, source: str) -> bool | None:
        """Believe the loss that is held of a source: whether there was one; None = no such source."""


def merge_clusters(answers: Sequence[bytes | None]) -> list[ClusterView]:
    """The workers' reports as one list, by name."""
    merged: dict[str, ClusterView] = {}
    for answer in answers:
        if not answer:
            continue
        for cluster in msgspec.msgpack.decode(answer, type=list[ClusterView]):
            known = merged.get(cluster.name)
            merged[cluster.name] = cluster if known is None else _plus(known, cluster)
    return [merged[name] for name in sorted(merged)]


def _plus(one: ClusterView, other: ClusterView) -> ClusterView:
    endpoints = {endpoint.id: endpoint for endpoint in one.endpoints}
    for endpoint in other.endpoints:
        known = endpoints.get(endpoint.id)
        endpoints[endpoint.id] = endpoint if known is None else known.plus(endpoint)
    trouble = one.name_trouble or other.name_trouble
    return msgspec.structs.replace(
        one,
        endpoints=tuple(endpoints.values()),
        tls_answers=one.tls_answers + other.tls_answers,
        name_trouble=trouble,
        unanswered=one.unanswered + other.unanswered,
    )
