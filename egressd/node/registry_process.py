"""The registry process: runs the sources, merges what they say, publishes, rings the bells.

The only writer of the shared registry. Without it workers serve on with the last version they saw.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from time import time

import structlog
import trio

from egressd.admin.server import serve_admin
from egressd.node.admin_state import NodeAdmin
from egressd.node.bootstrap_model import Bootstrap
from egressd.node.debounce import Debounce
from egressd.node.inherited import Inherited
from egressd.node.registry_state import RegistryState
from egressd.node.sources import SourceSink, configured_sources, run_source
from egressd.registry.merge import Merger
from egressd.registry.records import Snapshot
from egressd.registry.store import StoreWriter

log = structlog.get_logger("egressd.registry")

_FIRST_VERSION_S = 3.0
_BELL = (1).to_bytes(8, "little")


class Publisher:
    """From snapshots to versions."""

    def __init__(
        self, store: StoreWriter, state: RegistryState, order: Sequence[str], bells: Sequence[int]
    ) -> None:
        self._store = store
        self._state = state
        self._bells = bells
        self._merger = Merger(order, store.all_records())
        self._ranks = {source: rank for rank, source in enumerate(order)}
        self._debounce = Debounce()
        self._changed = trio.Event()
        for source in order:
            state.status(source).records = self._merger.count(source)

    def take(self, source: str, snapshot: Snapshot) -> None:
        """A source spoke (the sink's call)."""
        changed = self._merger.apply(source, snapshot)
        self._state.status(source).records = self._merger.count(source)
        if changed:
            self.touch()

    def heard(self) -> None:
        """A source said something, good or bad (the sink's call)."""
        if self._state.version == 0:
            self._changed.set()

    def touch(self) -> None:
        """Publish soon."""
        self._debounce.changed(trio.current_time())
        self._changed.set()

    async def run(self) -> None:
        """Publish whenever it is due, until cancelled."""
        self.touch()  # records of sources that are no longer configured go at once
        if self._state.version == 0:
            await self._hear_all()
        while True:
            due = self._debounce.due()
            if due is None:
                await self._changed.wait()
                continue
            self._changed = trio.Event()
            with trio.move_on_at(due):
                await self._changed.wait()
                continue
            self._debounce.published()
            await self._publish()

    async def _hear_all(self) -> None:
        """The first version of a new node waits a little for every source, so that a worker that
        starts to serve knows what there is."""
        with trio.move_on_after(_FIRST_VERSION_S):
            while not self._state.has_heard_all:
                self._changed = trio.Event()
                await self._changed.wait()

    async def _publish(self) -> None:
        changes = self._merger.changes()
        for problem in self._merger.conflicts:
            if problem not in self._state.conflicts:
                log.warning("conflict", problem=str(problem))
        self._state.conflicts = self._merger.conflicts
        if not changes and self._state.version:
            return  # an empty first version says that there is nothing, which is news
        # A disk sync blocks for milliseconds: not on the loop that hears the sources.
        version = await trio.to_thread.run_sync(self._store.publish, changes, self._ranks, time())
        self._state.version = version
        self._state.published_at = time()
        ring(self._bells)
        log.info(
            "published",
            version=version,
            sources=",".join(changes.sources),
            changed=len(changes.puts),
            removed=len(changes.deletes),
        )


def ring(bells: Sequence[int]) -> None:
    """Wake every worker: there is a new version. Never blocks."""
    for bell in bells:
        with suppress(BlockingIOError):
            os.write(bell, _BELL)


async def serve_registry(bootstrap: Bootstrap, inherited: Inherited, store_path: str) -> None:
    """The whole process as one trio task tree; returns on SIGTERM."""
    sources = configured_sources(bootstrap)
    store = StoreWriter.open(store_path)
    if store.moved_aside:
        log.error("the registry store was corrupt and was moved aside", aside=store.moved_aside)
    state = RegistryState(store, sources)
    order = [config.source for config in sources]
    publisher = Publisher(store, state, order, inherited.bells)
    try:
        with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(publisher.run)
                if inherited.admin is not None:
                    nursery.start_soon(serve_admin, NodeAdmin(state, bootstrap), inherited.admin)
                for config in sources:
                    sink = SourceSink(state.status(config.source), publisher.take, publisher.heard)
                    nursery.start_soon(run_source, config, bootstrap, sink)
                async for _ in signals:
                    nursery.cancel_scope.cancel()
    finally:
        store.close()


def run_registry(bootstrap: Bootstrap, inherited: Inherited, store_path: str) -> None:
    """Entry of the forked child."""
    trio.run(serve_registry, bootstrap, inherited, store_path)
