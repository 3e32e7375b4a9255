"""The adapters of a node, each fenced: one that fails or stalls never stops another."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from time import monotonic, time

import structlog
import trio

from egressd.api.grammar import escaped
from egressd.api.resource import Problem
from egressd.api.secret import RedactedError, redact, shown
from egressd.node.bootstrap_model import FILES_ADAPTER, AdapterConfig, Bootstrap
from egressd.node.standing import with_standing
from egressd.registry.adapter import (
    ENTRY_POINT_GROUP,
    Adapter,
    AdapterConfigError,
    AdapterContext,
    AdapterFactory,
)
from egressd.registry.admission import Admission
from egressd.registry.records import Hold, Record, Snapshot
from egressd.telemetry.episode import Episode, Told

_FIRST_RETRY_S = 0.5
_MAX_RETRY_S = 30.0
_PROGRESS_LOG_S = 2.0
_LOGGED_PROBLEMS = 20

log = structlog.get_logger("egressd.registry")


class UnknownAdapter(RedactedError):
    """No installed package offers an adapter of this type. The message lists those there are."""


@dataclass(slots=True)
class SourceStatus:
    """How one source is doing. Times are seconds since the epoch, 0 = never."""

    name: str
    type: str
    records: int = 0
    synced_at: float = 0.0
    source_version: str = ""
    error: str = ""
    errors: int = 0
    problems: tuple[Problem, ...] = ()
    progress: tuple[int, int] | None = (
        None  # parts read and to read of a first sync; total 0 = unknown
    )
    held: Hold | None = None  # a loss that is not believed yet
    holds: int = 0  # how often there was one
    is_required: bool = True  # the node is not ready before it has answered
    answered_before: bool = False  # while an earlier process ran: what it said then is in force

    @property
    def is_synced(self) -> bool:
        """Whether it has said anything since the registry process started."""
        return self.synced_at > 0

    @property
    def has_answered(self) -> bool:
        """Whether it has ever said anything to this node."""
        return self.is_synced or self.answered_before

    def age_s(self, now: float) -> float:
        """Seconds since it was last heard of; -1 = not yet."""
        return now - self.synced_at if self.synced_at else -1.0


class SourceSink:
    """What one adapter talks to. Notes how the source does, hands snapshots on."""

    def __init__(
        self,
        status: SourceStatus,
        on_snapshot: Callable[[str, Snapshot], bool],
        on_word: Callable[[], None],
        known: Callable[[str], tuple[Record, ...]],
        overruled: Callable[[str], tuple[Problem, ...] | None],
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.status = status
        self._known = known
        self._overruled = overruled
        self._admission = Admission()
        self._told: tuple[Problem, ...] = ()  # by the adapter
        self._on_snapshot = on_snapshot
        self._progress_logged_at = time()  # a quick first sync is not worth a line
        self._progress_logged = (0, 0)
        self._on_word = on_word  # anything was heard, good or bad
        self._clock = clock
        self._failure = Episode()

    def publish(self, snapshot: Snapshot) -> bool:
        foreign = next((r for r in snapshot.records if r.source != self.status.name), None)
        if foreign is not None:  # a mistake of the adapter, which must not end the process
            raise ValueError(
                f"{foreign.resource.ref}: found source {foreign.source!r}, expected the adapter's "
                f"name {self.status.name!r}"
            )
        if self.status.progress is not None:
            log.info("first sync done", source=self.status.name, records=len(snapshot.records))
            self.status.progress = None
        if not snapshot.is_failing:
            self.in_sync()
        elif snapshot.records:
            self.status.synced_at = time()
        self.status.source_version = snapshot.source_version
        before = self._admission.problems
        snapshot = self._admission.admit(snapshot)
        if before != self._admission.problems:
            self._note_problems()
        return self._on_snapshot(self.status.name, snapshot)

    def progress(self, done: int, total: int) -> None:
        self.status.progress = (done, total)
        now = time()
        is_news = self._progress_logged != (done, total)
        if is_news and now - self._progress_logged_at >= _PROGRESS_LOG_S:
            self._progress_logged_at, self._progress_logged = now, (done, total)
            log.info("first sync", source=self.status.name, done=done, total=total or "unknown")

    def in_sync(self) -> None:
        now = self._clock()
        failed_s, failures = self._failure.lasted_s(now), self._failure.count
        if self._failure.well(now) is Told.NEWS:
            log.info(
                "source recovered",
                source=self.status.name,
                after_s=round(failed_s, 1),
                failures=failures,
            )
        self.status.error = ""
        self.status.synced_at = time()
        self._on_word()

    def failed(self, reason: str) -> None:
        reason = redact(escaped(reason))  # may quote what a server said
        self.status.errors += 1
        stands = "its last answer stands" if self.status.has_answered else "it has never answered"
        told = self._failure.failed(reason, self._clock())
        if told is Told.NEWS:
            log.warning(f"source failed, {stands}", source=self.status.name, reason=reason)
        elif told is Told.TURNS:
            log.warning(
                f"source fails and recovers again and again, {stands}",
                source=self.status.name,
                reason=reason,
            )
        self.status.error = reason
        self._on_word()

    def known(self) -> tuple[Record, ...]:
        return self._known(self.status.name)

    def problems(self, problems: tuple[Problem, ...]) -> None:
        self._told = problems
        self._note_problems()

    def _note_problems(self) -> None:
        problems = with_standing((*self._told, *self._admission.problems), self.known)
        known = set(self.status.problems)
        new = [problem for problem in problems if problem not in known]
        for problem in new[:_LOGGED_PROBLEMS]:
            log.warning("resource problem", source=self.status.name, problem=str(problem))
        if len(new) > _LOGGED_PROBLEMS:
            left = len(new) - _LOGGED_PROBLEMS
            log.warning("more resource problems", source=self.status.name, count=left)
        self.status.problems = problems

    def overruled(self) -> tuple[Problem, ...] | None:
        return self._overruled(self.status.name)


def configured_sources(bootstrap: Bootstrap) -> tuple[AdapterConfig, ...]:
    """The adapters in order of precedence; `resources` stands first, as the operator's own word."""
    sources = bootstrap.adapters
    if bootstrap.resources:
        options = {"paths": list(bootstrap.resources)}
        files = AdapterConfig(type="static", name=FILES_ADAPTER, options=options)
        sources = (files, *sources)
    return sources


def find_factory(kind: str) -> AdapterFactory:
    """The factory behind an entry point. Raises `UnknownAdapter`."""
    points = entry_points(group=ENTRY_POINT_GROUP)
    for point in points:
        if point.name == kind:
            factory: AdapterFactory = point.load()
            return factory
    known = ", ".join(sorted(point.name for point in points)) or "none"
    raise UnknownAdapter(
        f"adapter type {shown(kind)}: found no such entry point, installed are {known}"
    )


def make_adapter(config: AdapterConfig, bootstrap: Bootstrap) -> Adapter:
    """One adapter. Raises `UnknownAdapter`, `AdapterConfigError`."""
    region, zone, _ = bootstrap.node.locality_parts
    context = AdapterContext(
        name=config.source, node_id=bootstrap.node.id, region=region, zone=zone
    )
    return find_factory(config.type)(context, config.options)


async def run_source(config: AdapterConfig, bootstrap: Bootstrap, sink: SourceSink) -> None:
    """Run one adapter until cancelled; whatever leaves it is logged and it is started again."""
    failures = 0
    while True:
        started = trio.current_time()
        try:
            await make_adapter(config, bootstrap).run(sink)
            reason = "the adapter returned"
        except (UnknownAdapter, AdapterConfigError) as error:
            reason = str(error)
        except BaseException as error:
            if not _is_own(error):
                raise
            reason = _reason(error)
            if reason != sink.status.error:
                log.exception("adapter failed", source=config.source)
        sink.failed(reason)
        failures = 0 if trio.current_time() - started > _MAX_RETRY_S else failures + 1
        wait = min(_FIRST_RETRY_S * 2.0 ** (failures - 1), _MAX_RETRY_S)
        await trio.sleep(wait * (0.5 + random.random() / 2))


def _is_own(error: BaseException) -> bool:
    """Whether it is the adapter's own failure: `sys.exit` of a library is, a cancellation is not."""
    if isinstance(error, BaseExceptionGroup):
        return all(map(_is_own, error.exceptions))
    return isinstance(error, Exception | SystemExit)


def _reason(error: BaseException) -> str:
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return redact(f"{type(error).__name__}: {error}")


def statuses(sources: Sequence[AdapterConfig]) -> dict[str, SourceStatus]:
    """A fresh status for each configured source, by name."""
    return {
        config.source: SourceStatus(config.source, config.type, is_required=config.required)
        for config in sources
    }
