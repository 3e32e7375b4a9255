"""From what the sources say to versions of the shared registry."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from time import time

import structlog
import trio

from egressd.api.resource import Problem
from egressd.node.bells import ring
from egressd.node.bootstrap_model import AdapterConfig, Bootstrap, EndpointsMode
from egressd.node.debounce import Debounce
from egressd.node.registry_state import RegistryState
from egressd.registry.guard import LossLimit
from egressd.registry.merge import ChangeSet, Merger, SourceRule
from egressd.registry.records import Hold, Record, Snapshot, SourceState
from egressd.registry.store import StoreError, StoreWriter

log = structlog.get_logger("egressd.registry")

_FIRST_VERSION_S = 3.0
_NOTE_S = 30.0
_SETTLE_S = 0.1
_WRITE_AGAIN_S = 1.0
_LOGGED_CONFLICTS = 20


def source_rule(config: AdapterConfig, bootstrap: Bootstrap) -> SourceRule:
    """How the registry takes a source."""
    own, base = config.mass_loss, bootstrap.registry.mass_loss
    percent = base.percent if own.percent is None else own.percent
    least = base.min_endpoints if own.min_endpoints is None else own.min_endpoints
    grace_s = base.grace if own.grace is None else own.grace
    return SourceRule(
        limit=LossLimit(percent / 100, max(1, least), grace_s),
        is_merged=config.endpoints is EndpointsMode.merge,
    )


class Publisher:
    """Takes snapshots, publishes when it is due, rings the workers' bells."""

    def __init__(
        self,
        store: StoreWriter,
        state: RegistryState,
        sources: Sequence[AdapterConfig],
        bootstrap: Bootstrap,
        bells: Sequence[int],
    ) -> None:
        self._store = store
        self._state = state
        self._bells = bells
        self._rules = {config.source: source_rule(config, bootstrap) for config in sources}
        self._ranks = {source: rank for rank, source in enumerate(self._rules)}
        self._merger = Merger(tuple(self._rules), (), self._rules)
        self._debounce = Debounce(
            bootstrap.registry.debounce_quiet, bootstrap.registry.debounce_max
        )
        self._changed = trio.Event()
        self._hold_changed = trio.Event()
        self._standing: tuple[tuple[str, bool], ...] = ()  # of the sources, as written down
        self._before: dict[str, SourceState] = {}  # how the sources stood with an earlier process
        self._unsettled: set[str] = set()  # sources whose last word is not published yet,
        self._settling: set[str] = set()  # or just now

    async def load(self) -> None:
        """Take what is stored as said before, until the sources speak. To be awaited before anything
        is taken. A large registry takes a second: in a thread, admin answers meanwhile."""
        self._merger = await trio.to_thread.run_sync(self._loaded, time() - trio.current_time())
        self._state.version = self._store.version()
        for source in self._rules:
            before = self._before.get(source, SourceState())
            self._state.status(source).answered_before = before.synced_at > 0
            self._note(source, self._merger.hold(source))

    def _loaded(self, epoch: float) -> Merger:
        order = tuple(self._rules)
        self._store.arrange(order, time())
        self._before = self._store.source_states()
        holds = {
            source: state.hold.moved(-epoch)
            for source, state in self._before.items()
            if source in self._rules and state.hold is not None and state.hold.until > time()
        }
        return Merger(order, self._store.all_records(), self._rules, holds)

    def take(self, source: str, snapshot: Snapshot) -> bool:
        """A source spoke (the sink's call). Whether all of it is believed."""
        before = self._merger.hold(source)
        if not self._merger.has_spoken(source):
            self._hold_changed.set()  # from now on it is known what is missing, and may expire
        if self._merger.apply(source, snapshot, trio.current_time()):
            self._unsettled.add(source)
            self.touch()
        held = self._merger.hold(source)
        if before is not None and held is None:
            how = "confirmed by another read" if self._merger.lost(source) else "all is back"
            log.info("mass loss over", source=source, how=how)
        self._note(source, held)
        return held is None

    def confirm(self, source: str) -> bool:
        """An operator believes the loss that is held of a source. Whether any was."""
        if self._merger.hold(source) is None or not self._merger.has_spoken(source):
            return False
        log.info("mass loss over", source=source, how="confirmed by an operator")
        if self._merger.confirm(source):
            self.touch()
        self._note(source, None)
        return True

    def known(self, source: str) -> tuple[Record, ...]:
        """What is held of a source (the sink's call)."""
        return self._merger.known(source)

    def overruled(self, source: str) -> tuple[Problem, ...] | None:
        """What is not in force of all that a source said; None: not decided yet (the sink's call)."""
        if source in self._unsettled or source in self._settling:
            return None
        return self._merger.overruled(source)

    def heard(self) -> None:
        """A source said something, good or bad (the sink's call)."""
        self._changed.set()
        standing = tuple((s.error, s.has_answered) for s in self._state.sources())
        if standing != self._standing:
            self._standing = standing
            self._hold_changed.set()  # workers and commands read it in the store

    def touch(self) -> None:
        """Publish soon."""
        self._debounce.changed(trio.current_time())
        self._changed.set()

    async def run(self) -> None:
        """Publish whenever it is due, until cancelled."""
        self.touch()  # records of sources that are no longer configured go
        if self._state.version == 0 or self._merger.has_orphans:
            await self._hear_all()
        while True:
            due = self._debounce.due()
            if due is None:
                await self._changed.wait()
                self._changed = trio.Event()
                continue
            if due > trio.current_time():
                with trio.move_on_at(due):
                    await self._changed.wait()
                    self._changed = trio.Event()
                continue
            self._debounce.published()
            self._settling, self._unsettled = self._unsettled, set()
            await self._publish()
            self._settling = set()

    async def watch_holds(self) -> None:
        """End the holds whose grace period is over, and write down how the sources stand."""
        while True:
            now = trio.current_time()
            for source in self._merger.expire(now):
                log.warning("mass loss over", source=source, how="the grace period is over")
                self._note(source, None)
                self.touch()
            self._hold_changed = trio.Event()
            with suppress(StoreError):  # the next publication says so
                await trio.to_thread.run_sync(self._store.note_sources, self._states())
            expiry = self._merger.next_expiry()
            wait = _NOTE_S if expiry is None else min(_NOTE_S, max(0.0, expiry - now))
            with trio.move_on_after(wait):
                await self._hold_changed.wait()
                await trio.sleep(_SETTLE_S)  # a source that fills up again says more many times

    def _note(self, source: str, held: Hold | None) -> None:
        status = self._state.status(source)
        if held is not None and status.held is None:
            status.holds += 1
            log.warning(
                "half-written files suspected" if held.origins else "mass loss held",
                source=source,
                says=held.describe(trio.current_time()),
                to_confirm=f"egressd registry confirm {source}",
            )
        if held != status.held:
            self._hold_changed.set()  # to be written down, and its grace period to be waited for
        status.held = held
        status.records = self._merger.count(source)

    def _states(self) -> dict[str, SourceState]:
        epoch = time() - trio.current_time()
        states: dict[str, SourceState] = {}
        for status in self._state.sources():
            before = self._before.get(status.name, SourceState())
            states[status.name] = SourceState(
                synced_at=status.synced_at or before.synced_at,
                error=status.error,
                hold=status.held.moved(epoch) if status.held is not None else None,
                retained=self._merger.retained(status.name)
                if self._merger.has_spoken(status.name)
                else before.retained,
            )
        return states

    async def _hear_all(self) -> None:
        """The first version of a new node waits a little for every source, so that a worker that
        starts to serve knows what there is; and so does that without a source of the last bootstrap,
        which may have another name now."""
        with trio.move_on_after(_FIRST_VERSION_S):
            while not self._state.has_heard_all:
                self._changed = trio.Event()
                await self._changed.wait()

    async def _publish(self) -> None:
        at = time()
        changes = self._merger.changes(at)
        self._log_conflicts()
        if not changes and self._state.version:
            return  # an empty first version says that there is nothing, which is news
        # A disk sync blocks for milliseconds: not on the loop that hears the sources.
        version = await self._written(changes, at)
        self._state.version = version
        self._state.published_at = at
        ring(self._bells)
        log.info(
            "published",
            version=version,
            sources=",".join(changes.sources),
            changed=len(changes.puts),
            removed=len(changes.deletes),
        )

    async def _written(self, changes: ChangeSet, at: float) -> int:
        """The version that the changes are written as, once they can be: workers serve on with what
        they have, and sources are heard meanwhile."""
        while True:
            try:
                version = await trio.to_thread.run_sync(
                    self._store.publish, changes, self._ranks, at
                )
            except StoreError as error:
                if not self._state.write_error:
                    log.error("nothing can be published, trying on", reason=str(error))
                self._state.write_error = str(error)
                await trio.sleep(_WRITE_AGAIN_S)
            else:
                if self._state.write_error:
                    log.info("published again", version=version)
                self._state.write_error = ""
                return version

    def _log_conflicts(self) -> None:
        conflicts = self._merger.conflicts
        if conflicts is self._state.conflicts:
            return
        known = set(map(id, self._state.conflicts))  # what is still true is the same object
        new = [problem for problem in conflicts if id(problem) not in known]
        for problem in new[:_LOGGED_CONFLICTS]:
            log.warning("conflict", problem=str(problem))
        if len(new) > _LOGGED_CONFLICTS:
            log.warning("more conflicts", count=len(new) - _LOGGED_CONFLICTS)
        self._state.conflicts = conflicts
