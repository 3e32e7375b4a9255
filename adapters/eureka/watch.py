"""The running Eureka source: one task that asks one server at a time.

Every `interval` the server tells what changed lately (`/apps/delta`). A delta is believed when the
registry that it leads to has the hash code that the server states; everything is read (`/apps`) when
it has not, when there are no deltas, at the start, after an error, from another server, after the
server's restart, every `resync`, and when the mass-loss guard asks for it.
"""

from __future__ import annotations

import random
from collections.abc import Mapping

import trio

from adapters.backoff import backoff_s
from adapters.eureka.client import EurekaClient, ReadError
from adapters.eureka.doubt import Circumstances, doubt_of, is_young
from adapters.eureka.inventory import Inventory
from adapters.eureka.options import Options, Server, read_options
from adapters.eureka.translate import Rules, names_of, translate_service
from adapters.eureka.wire import Instance, Listing, read_application
from adapters.options import seconds
from egressd.api.resource import Place, Problem, Severity
from egressd.registry.adapter import CONFIRM_S, Adapter, AdapterContext, Sink
from egressd.registry.adapter_options import declares_options

STRIDE = 50  # applications, instances or services between breaths for other tasks of the process


@declares_options(Options)
def make_adapter(context: AdapterContext, options: Mapping[str, object]) -> Adapter:
    """The entry point `eureka` of `egressd.adapters`. Raises `AdapterConfigError`."""
    read, servers = read_options(context.name, options)
    return EurekaAdapter(context, servers, read)


class EurekaAdapter:
    """One Eureka registry, kept by one or more servers, as a source."""

    def __init__(
        self, context: AdapterContext, servers: tuple[Server, ...], options: Options
    ) -> None:
        self._name = context.name
        self._servers = servers
        self._options = options
        self._rules = Rules(
            hosts=options.hosts,
            namespace=options.namespace,
            protocol=options.protocol,
            statuses=options.statuses,
            port=options.port,
            address=options.address,
            region=options.region or context.region,
            place=servers[0].url,
        )

    async def run(self, sink: Sink) -> None:
        """Watch until cancelled."""
        options, rules = self._options, self._rules
        inventory = Inventory(
            self._name,
            lambda name, instances: translate_service(name, instances, rules),
            lambda instance: names_of(instance, options.group_by),
            options.include,
            options.exclude,
        )
        clients = [EurekaClient(server, options) for server in self._servers]
        watch = _Watch(clients, inventory, sink, options)
        failures = 0
        try:
            while True:
                try:
                    pause_s = await watch.refresh()
                    failures = 0
                except ReadError as error:
                    sink.failed(str(error))
                    pause_s = backoff_s(
                        failures, seconds(options.max_backoff), chance=random.random()
                    )
                    failures += 1
                await trio.sleep(pause_s)
        finally:
            for client in clients:
                client.close()


class _Watch:
    """The state of one run."""

    def __init__(
        self, clients: list[EurekaClient], inventory: Inventory, sink: Sink, options: Options
    ) -> None:
        self._clients = clients
        self._inventory = inventory
        self._sink = sink
        self._interval_s = seconds(options.interval)
        self._resync_s = seconds(options.resync)
        self._current = 0  # the server that answered last
        self._version = 0  # that it stated last
        self._is_first = True  # nothing was published yet
        self._is_after_error = False
        self._wants_reread = False  # the guard holds a loss until a second read
        self._resync_at = 0.0
        self._unreadable: list[str] = []  # of the last full listing
        self._told: list[str] = []  # of these

    async def refresh(self) -> float:
        """Ask the server that answered last, then the others in order; at a resync the first one.
        Returns the seconds to wait. Raises `ReadError` when none answers."""
        first = 0 if trio.current_time() >= self._resync_at else self._current
        order = [*range(first, len(self._clients)), *range(first)]
        reasons = []
        for index in order:
            try:
                await self._read(index)
            except ReadError as error:
                self._is_after_error = True
                reasons.append(str(error))
                if index != order[-1]:
                    self._sink.failed(str(error))
            else:
                if self._wants_reread:
                    return CONFIRM_S
                return self._interval_s * random.uniform(0.9, 1.1)
        raise ReadError("; ".join(reasons))

    async def _read(self, index: int) -> None:
        client = self._clients[index]
        is_other = index != self._current
        delta = await client.delta()
        needs_all = self._is_first or self._is_after_error or is_other or self._wants_reread
        needs_all |= trio.current_time() >= self._resync_at
        if delta is not None and delta.version >= self._version and not needs_all:
            self._inventory.update((await self._unpack(delta))[0])
            if self._inventory.hashcode == delta.hashcode:
                self._version = delta.version
                await self._say("", is_reread=False)
                return
        full = await client.full()
        instances, self._unreadable = await self._unpack(full)
        circumstances = Circumstances(
            is_first=self._is_first,
            is_after_error=self._is_after_error or is_other,
            is_young=is_young(instances),
        )
        doubt = doubt_of(self._inventory.count, len(instances), circumstances)
        for start in range(0, len(instances), STRIDE):
            await trio.lowlevel.checkpoint()
            self._inventory.put(instances[start : start + STRIDE])
        self._inventory.retain({instance.key for instance in instances})
        self._current, self._is_after_error = index, False
        self._version = full.version if delta is None else delta.version
        self._resync_at = trio.current_time() + self._resync_s
        await self._say(doubt, is_reread=self._wants_reread)

    async def _unpack(self, listing: Listing) -> tuple[list[Instance], list[str]]:
        """The instances of all applications, and what could not be read."""
        instances: list[Instance] = []
        unreadable: list[str] = []
        for done, raw in enumerate(listing.applications):
            if done % STRIDE == 0:
                await trio.lowlevel.checkpoint()
            application = read_application(raw)
            instances.extend(application.instances)
            unreadable.extend(f"{application.name}: {why}" for why in application.unreadable)
        return instances, unreadable

    async def _say(self, doubt: str, *, is_reread: bool) -> None:
        """Translate what changed; publish when that makes a difference."""
        inventory = self._inventory
        is_dirty = self._is_first or is_reread
        stale = sorted(inventory.stale)
        for done, name in enumerate(stale):
            if done % STRIDE == 0:
                if self._is_first:
                    self._sink.progress(done, len(stale))
                await trio.lowlevel.checkpoint()
            is_dirty |= inventory.translate(name, self._version)
        if is_dirty:
            snapshot = inventory.snapshot(self._version, doubt=doubt, is_reread=is_reread)
            is_taken = self._sink.publish(snapshot)
            self._wants_reread = not (is_taken or doubt or is_reread)
            self._is_first = False
        else:
            self._sink.in_sync()
        if is_dirty or self._unreadable != self._told:
            self._told = self._unreadable
            unreadable = tuple(map(self._unreadable_problem, self._unreadable))
            self._sink.problems(inventory.problems() + unreadable)

    def _unreadable_problem(self, why: str) -> Problem:
        return Problem(
            severity=Severity.WARNING,
            place=Place(file=f"{self._clients[self._current].url}/apps"),
            field="instance",
            found=why,
            expected="an instance as Eureka lists it; left out",
        )
