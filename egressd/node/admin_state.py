"""The node's state for the admin server: registry process, workers and supervisor in one place."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from time import time

import msgspec
import trio

import egressd
from egressd.admin.state import (
    ClusterView,
    ProcessView,
    SourceView,
    StatusView,
    merge_clusters,
)
from egressd.admin.worker_link import Counters, ask_all
from egressd.api.resource import Kind, Problem
from egressd.node.bootstrap_model import Bootstrap
from egressd.node.log import dropped_lines
from egressd.node.registry_state import RegistryState
from egressd.node.shown import shown_bootstrap
from egressd.node.status import ChildState, ChildStatus, SupervisorStatus, read_status
from egressd.registry.lookup import candidates
from egressd.registry.records import Record, SourceState, never_answered
from egressd.telemetry.exposition import EjectedEndpoint, NodeMetrics, SourceMetrics, render


class NodeAdmin:
    """Implements `egressd.admin.state.AdminState`."""

    def __init__(
        self, registry: RegistryState, bootstrap: Bootstrap, confirm: Callable[[str], bool]
    ) -> None:
        self._registry = registry
        self._bootstrap = bootstrap
        self._confirm = confirm
        self._counters = Counters()

    def _supervisor(self) -> SupervisorStatus | None:
        try:
            return read_status(Path(self._bootstrap.status_path))
        except (OSError, msgspec.DecodeError):
            return None

    def _workers(self) -> list[ChildStatus]:
        status = self._supervisor()
        if status is None:
            return []
        serving = (ChildState.READY, ChildState.DRAINING)
        return [c for c in status.children if c.role == "worker" and c.state in serving]

    async def _ask(self, command: str) -> tuple[list[ChildStatus], list[bytes | None]]:
        workers = self._workers()
        paths = [self._bootstrap.worker_socket(worker.index) for worker in workers]
        return workers, await ask_all(paths, command)

    def is_ready(self) -> tuple[bool, str]:
        """Ready: the registry is loaded and the supervisor saw every worker serve."""
        if not self._registry.is_loaded:
            return False, "the registry has not heard of its sources yet"
        if missing := self._registry.unanswered:
            return False, "; ".join(f"source {s.name} {never_answered(s.error)}" for s in missing)
        status = self._supervisor()
        if status is None:
            return False, "the supervisor has not said anything yet"
        waiting = [
            f"worker {child.index} is {child.state}"
            for child in status.children
            if child.role == "worker" and child.state in (ChildState.STARTING, ChildState.WAITING)
        ]
        return not waiting, ", ".join(waiting) or "ready"

    async def metrics(self, accept: str) -> tuple[bytes, str]:
        """All processes in one scrape."""
        workers, answers = await self._ask("stats")
        keys = [(worker.index, worker.pid) for worker in workers]
        totals = self._counters.take(dict(zip(keys, answers, strict=True)))
        ejected = tuple(
            EjectedEndpoint(cluster, endpoint)
            for cluster, endpoint, _ in _ejected(await self.clusters())
        )
        now = time()
        sources = tuple(
            SourceMetrics(
                s.name,
                s.age_s(now),
                s.records,
                s.errors,
                bool(s.error),
                len(s.problems),
                s.held.lost if s.held is not None else 0,
                s.holds,
            )
            for s in self._registry.sources()
        )
        status = self._supervisor()
        node = NodeMetrics(
            version=egressd.__version__,
            registry_version=self._registry.version,
            registry_conflicts=len(self._registry.conflicts),
            registry_failing=bool(self._registry.write_error),
            sources=sources,
            ejected=ejected,
            worker_restarts=status.worker_restarts if status else 0,
            registry_restarts=status.registry_restarts if status else 0,
            workers_up=sum(1 for answer in answers if answer),
            workers=self._bootstrap.workers,
            log_lines_dropped=dropped_lines() + (status.log_lines_dropped if status else 0),
        )
        return render(totals, node, accept)

    async def clusters(self) -> list[ClusterView]:
        """Clusters in use, summed over workers."""
        _, answers = await self._ask("clusters")
        return merge_clusters(answers)

    async def status(self) -> StatusView:
        """The node at a glance."""
        supervisor = self._supervisor()
        is_ready, why = self.is_ready()
        now = time()
        sources = tuple(
            SourceView(
                s.name,
                s.type,
                s.records,
                round(s.age_s(now), 3),
                s.source_version,
                s.error,
                s.errors,
                tuple(str(problem) for problem in s.problems),
                s.held.describe(trio.current_time()) if s.held is not None else "",
                s.progress,
                s.is_required,
                s.has_answered,
            )
            for s in self._registry.sources()
        )
        children = supervisor.children if supervisor else ()
        return StatusView(
            node=self._bootstrap.node.id,
            version=egressd.__version__,
            state=supervisor.state if supervisor else "unknown",
            registry_version=self._registry.version,
            registry_error=self._registry.write_error,
            registry_records=sum(source.records for source in sources),
            config_path=supervisor.config_path if supervisor else "",
            config_error=supervisor.config_error if supervisor else "",
            listeners=tuple(
                f"{one.name} {one.address}:{one.port}"
                for one in (supervisor.listeners if supervisor else ())
            ),
            processes=tuple(
                ProcessView(
                    c.role, c.index, c.pid, c.state.value, c.started_at, c.restarts, c.last_exit
                )
                for c in children
            ),
            sources=sources,
            ejected=tuple(_ejected(await self.clusters())),
            problems=tuple(str(problem) for problem in self._registry.problems),
            upgrade_error=supervisor.upgrade_error if supervisor else "",
            upgrade_failed_at=supervisor.upgrade_failed_at if supervisor else 0.0,
            not_ready="" if is_ready else why,
        )

    def records(self, host: str) -> Sequence[Record]:
        """All resources, or those that claim a host."""
        view = self._registry.view
        if not host:
            return view.all_records()
        return [r for key in candidates(host) for kind in Kind for r in view.claims(kind, key)]

    def source_states(self) -> Mapping[str, SourceState]:
        return self._registry.view.source_states()

    def problems(self) -> tuple[Problem, ...]:
        return self._registry.problems

    def confirm(self, source: str) -> bool | None:
        """Believe the loss that is held of a source."""
        if all(status.name != source for status in self._registry.sources()):
            return None
        return self._confirm(source)

    def bootstrap(self) -> object:
        """The configuration in use, without secrets."""
        return shown_bootstrap(self._bootstrap)


def _ejected(clusters: Sequence[ClusterView]) -> list[tuple[str, str, float]]:
    return [
        (cluster.name, endpoint.id, endpoint.ejected_for_s)
        for cluster in clusters
        for endpoint in cluster.endpoints
        if not endpoint.healthy
    ]
