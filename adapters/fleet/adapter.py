"""The running fleet source: one task watches the store, one tells it how this node does."""

from __future__ import annotations

import operator
import random
from collections.abc import Mapping
from time import time

import msgspec
import trio

from adapters.backoff import backoff_s
from adapters.fleet.picture import Picture
from egressd.api.resource import Place, Problem, Severity
from egressd.fleet.client import FleetClient
from egressd.fleet.config import FleetConfig, declared_fleet_options, read_config
from egressd.fleet.errors import FleetError
from egressd.fleet.node_status import STATUS_TTL_S, NodeStatus
from egressd.fleet.resource_set import ResourceSet
from egressd.registry.adapter import CONFIRM_S, Adapter, AdapterContext, Sink
from egressd.registry.adapter_options import declares_options
from egressd.registry.keyvalue import Compacted, KeyValue, KeyValueError

_QUIET_S = 10.0  # without a word of the store it is asked for one
_PAUSE_S = 0.02  # after a change: what is written together is read together
_MAX_BACKOFF_S = 3.0
_LOOK_S = 0.2  # between two looks at what the registry makes of it
_CLOSE_S = 1.0


class FleetAdapter:
    """One fleet as a source."""

    def __init__(self, context: AdapterContext, config: FleetConfig, store: KeyValue) -> None:
        self._context = context
        self._config = config
        self._store = store

    async def run(self, sink: Sink) -> None:
        """Watch until cancelled."""
        watch = _Watch(self._store, sink, self._config, self._context)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch.follow)
                nursery.start_soon(watch.report)
        finally:
            with trio.move_on_after(_CLOSE_S, shield=True):
                await self._store.aclose()


class _Watch:
    """The tasks of one run, and what they share."""

    def __init__(
        self, store: KeyValue, sink: Sink, config: FleetConfig, context: AdapterContext
    ) -> None:
        self._store = store
        self._sink = sink
        self._config = config
        self._node = context.node_id
        self._client = FleetClient(store, config.layout)
        self._picture = Picture(context.name, config.layout)
        self._is_held = False
        self._unwritten: tuple[Problem, ...] = ()  # the status cannot be written

    async def follow(self) -> None:
        """Read, publish, wait for a change."""
        failures = 0
        while True:
            try:
                found = await self._read()
                failures = 0
                await self._changed(found)
            except Compacted:
                continue
            except (FleetError, KeyValueError) as error:
                self._sink.failed(str(error))
                await trio.sleep(backoff_s(failures, _MAX_BACKOFF_S, random.random()))
                failures += 1

    async def report(self) -> None:
        """Write this node's status when it changes, and from time to time."""
        interval_s = self._config.status_interval_s
        said: tuple[object, ...] = (None, None, False)
        due, failures = 0.0, 0
        while True:
            overruled = self._sink.overruled()
            word = (overruled, self._picture.found, self._is_held)
            is_due = not all(map(operator.is_, word, said)) or trio.current_time() >= due
            if overruled is not None and self._picture.found is not None and is_due:
                if await self._write(self._status(overruled)):
                    said, due, failures = word, trio.current_time() + interval_s, 0
                else:
                    await trio.sleep(backoff_s(failures, interval_s, random.random()))
                    failures += 1
            await trio.sleep(_LOOK_S)

    async def _read(self) -> ResourceSet:
        """Read the set and say it, twice when it is not believed. Nothing at all is an answer where
        nothing was known, and no word on what was."""
        found = await self._client.read(self._progress)
        if self._picture.is_empty(found) and self._sink.known():
            self._sink.failed(self._picture.emptiness())
            return found
        if self._picture.is_empty(found):
            # Consul shows an empty store to a token that may not read, and refuses it a single key.
            await self._store.get(self._config.layout.version)
        snapshot = self._picture.take(found)
        if self._is_held:
            snapshot = msgspec.structs.replace(snapshot, is_reread=True)
        was_held, self._is_held = self._is_held, not self._sink.publish(snapshot)
        self._say_problems()
        if self._is_held and not was_held:
            await trio.sleep(CONFIRM_S)
            return await self._read()
        return found

    async def _changed(self, found: ResourceSet) -> None:
        """Return when the set has to be read again."""
        layout = self._config.layout
        while True:
            with trio.move_on_after(CONFIRM_S if self._is_held else _QUIET_S):
                await self._store.wait(layout.resources, found.revision)
                await trio.sleep(_PAUSE_S)
                return
            if self._is_held or self._picture.is_empty(found):
                return
            version = await self._store.get(layout.version)
            if (version.revision if version is not None else 0) != found.version_revision:
                return
            self._sink.in_sync()

    def _progress(self, done: int, total: int) -> None:
        if self._picture.found is None:
            self._sink.progress(done, total)

    def _status(self, overruled: tuple[Problem, ...]) -> NodeStatus:
        return self._picture.status(
            overruled,
            node=self._node,
            at=time(),
            interval_s=self._config.status_interval_s,
            held=self._is_held,
        )

    async def _write(self, status: NodeStatus) -> bool:
        key = self._config.layout.status_of(self._node)
        unwritten: tuple[Problem, ...] = ()
        try:
            await self._store.publish_status(key, msgspec.json.encode(status), STATUS_TTL_S)
        except KeyValueError as error:
            unwritten = (
                Problem(
                    severity=Severity.WARNING,
                    place=Place(key),
                    found=str(error),
                    expected="a store that takes this node's status",
                ),
            )
        if unwritten != self._unwritten:
            self._unwritten = unwritten
            self._say_problems()
        return not unwritten

    def _say_problems(self) -> None:
        self._sink.problems((*self._picture.problems(), *self._unwritten))


@declares_options(declared_fleet_options)
def make_adapter(context: AdapterContext, options: Mapping[str, object]) -> Adapter:
    """The entry point `fleet` of `egressd.adapters`. Raises `AdapterConfigError`."""
    config = read_config(options)
    return FleetAdapter(context, config, config.open())
