"""The running Consul source: two blocking queries and a few readers.

`/v1/health/state/any` returns as soon as any check of the datacenter changes,
`/v1/catalog/services` as soon as any instance does. What differs from the answer before names the
services to read again; `concurrency` readers ask for their instances. So the number of connections
is `concurrency` + 2 for any number of services (an agent refuses more than 200 of one client).

An instance without checks that joins a service changes nothing in either list but the index. So
every new index of the catalog is followed by a sweep, a re-read of all services after the ones that
are known to have changed; and so is every `resync` interval, against answers of a lagging server.
"""

from __future__ import annotations

import os
import random
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

import trio

from adapters.backoff import backoff_s
from adapters.consul.client import ConsulClient, ReadError
from adapters.consul.inventory import Inventory
from adapters.consul.options import Options, read_options
from adapters.consul.pace import is_mass_loss, next_index
from adapters.consul.reading import ReadQueue
from adapters.consul.translate import Rules, translate_service
from adapters.consul.wire import Check
from adapters.http import Endpoint
from adapters.options import seconds
from egressd.api.resource import Problem
from egressd.registry.adapter import Adapter, AdapterContext, Sink

QUERY_PAUSE_S = 0.02  # between two answers of one blocking query: a storm is read in strides
PUBLISH_PAUSE_S = 0.01  # changes that are read within it are published together
SWEEP_REST = (
    2.0  # pause after a sweep, in times of its duration: churn keeps a third of a core busy
)
CONFIRM_S = 1.5  # a mass loss right after an error must still stand after it
Answer = TypeVar("Answer")


def make_adapter(context: AdapterContext, options: Mapping[str, object]) -> Adapter:
    """The entry point `consul` of `egressd.adapters`. Raises `AdapterConfigError`."""
    read, endpoint = read_options(context.name, options, os.environ)
    return ConsulAdapter(context.name, endpoint, read)


class ConsulAdapter:
    """One Consul datacenter as a source."""

    def __init__(self, name: str, endpoint: Endpoint, options: Options) -> None:
        self._name = name
        self._endpoint = endpoint
        self._options = options
        self._rules = Rules(
            domain=options.domain,
            namespace=options.namespace,
            protocol=options.protocol,
            health=options.health,
            address=endpoint.url,
        )

    async def run(self, sink: Sink) -> None:
        """Watch until cancelled."""
        client = ConsulClient(self._endpoint, self._options)
        inventory = Inventory(
            self._name,
            lambda name, instances: translate_service(name, instances, self._rules),
            self._options.include,
            self._options.exclude,
        )
        watch = _Watch(client, inventory, sink, self._options)
        try:
            async with trio.open_nursery() as nursery:
                # Checks first: what changes after that answer is seen to have changed.
                await nursery.start(watch.follow_checks)
                nursery.start_soon(watch.follow_services)
                nursery.start_soon(watch.sweep)
                nursery.start_soon(watch.publish)
                for _ in range(self._options.concurrency):
                    nursery.start_soon(watch.read_services, nursery)
        finally:
            client.close()


class _Watch:
    """The tasks of one run, and what they share."""

    def __init__(
        self, client: ConsulClient, inventory: Inventory, sink: Sink, options: Options
    ) -> None:
        self._client = client
        self._inventory = inventory
        self._sink = sink
        self._resync_s = seconds(options.resync)
        self._max_backoff_s = seconds(options.max_backoff)
        self._queue = ReadQueue()
        self._read_failures: dict[str, int] = {}
        self._index = 0  # of the newest list
        self._is_first = True  # nothing was published yet
        self._is_dirty = True  # something to publish
        self._published_endpoints = 0
        self._is_suspect = False  # an error happened since the last publication that was believed
        self._unread: set[str] | None = None  # since the last error; None = not even the list is
        self._problems: tuple[Problem, ...] = ()
        self._bell = trio.Event()
        self._sweep_wanted = trio.Event()
        self._is_listed = trio.Event()  # the list of services stands; another event after an error

    async def follow_services(self) -> None:
        """Hold a blocking query on the list of services."""

        def lost() -> None:
            self._unread = None
            if self._is_listed.is_set():
                self._is_listed = trio.Event()

        await self._follow(self._client.services, self._heard_services, lost)

    async def follow_checks(
        self, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Hold a blocking query on the list of checks. Started with the first answer."""
        is_first = True

        def heard(index: int, checks: tuple[Check, ...]) -> None:
            nonlocal is_first
            self._index = index
            self._queue.add(self._inventory.heard_checks(checks), changed=True)
            if is_first:
                is_first = False
                task_status.started()

        await self._follow(self._client.checks, heard, lambda: None)

    async def sweep(self) -> None:
        """Read every service again, when the catalog changed and from time to time."""
        while True:
            with trio.move_on_after(self._resync_s):
                await self._sweep_wanted.wait()
            self._sweep_wanted = trio.Event()
            await self._is_listed.wait()
            begun = trio.current_time()
            self._queue.add(sorted(self._inventory.names), changed=False)
            await self._queue.swept()
            await trio.sleep(SWEEP_REST * (trio.current_time() - begun))

    async def read_services(self, nursery: trio.Nursery) -> None:
        """Read one service after the other, for ever; none while even the list cannot be had."""
        while True:
            await self._is_listed.wait()
            name = await self._queue.take()
            try:
                index, instances = await self._client.instances(name)
            except ReadError as error:
                self._inventory.failed(name)
                self._sink.failed(f"service {name}: {error}")
                nursery.start_soon(self._read_later, name)
            else:
                self._read_failures.pop(name, None)
                self._is_dirty |= self._inventory.heard_instances(name, instances, index)
            self._queue.done(name)
            if self._unread:
                self._unread.discard(name)
            self._bell.set()

    async def publish(self) -> None:
        """Say what is known, whenever that changed."""
        while True:
            await self._bell.wait()
            await trio.sleep(PUBLISH_PAUSE_S)
            self._bell = trio.Event()
            if self._is_first and not self._inventory.is_complete:
                continue
            if self._is_suspect:
                if self._unread is None or self._unread & self._inventory.names:
                    continue
                if is_mass_loss(self._published_endpoints, self._inventory.endpoints):
                    await self._confirm()
                    continue
                self._is_suspect = False
            self._say()

    async def _follow(
        self,
        ask: Callable[[int], Awaitable[tuple[int, Answer]]],
        heard: Callable[[int, Answer], None],
        lost: Callable[[], None],
    ) -> None:
        """`lost` is called when what was heard before may no longer hold."""
        index = failures = 0
        while True:
            try:
                answered, data = await ask(index)
            except ReadError as error:
                self._sink.failed(str(error))
                self._is_suspect = True
                lost()
                await trio.sleep(backoff_s(failures, self._max_backoff_s, random.random()))
                index, failures = 0, failures + 1  # what a new Consul counts from is its own
                continue
            failures = 0
            if answered < index:
                self._is_suspect = True
                lost()
            if answered == index:
                self._sink.in_sync()
            else:
                heard(answered, data)
                self._bell.set()
            index = next_index(index, answered)
            await trio.sleep(QUERY_PAUSE_S)

    def _heard_services(self, index: int, services: Mapping[str, tuple[str, ...]]) -> None:
        before = self._inventory.names
        changed = self._inventory.heard_services(services)
        names = self._inventory.names
        self._index = index
        self._is_listed.set()
        self._queue.add(sorted(changed), changed=True)
        if names - changed:
            self._sweep_wanted.set()
        self._is_dirty |= bool(before - names)
        if self._unread is None:
            self._unread = set(names)

    async def _read_later(self, name: str) -> None:
        failures = self._read_failures.get(name, 0)
        self._read_failures[name] = failures + 1
        await trio.sleep(backoff_s(failures, self._max_backoff_s, random.random()))
        if name in self._inventory.names:
            self._queue.add([name], changed=True)

    async def _confirm(self) -> None:
        """Look a second time, before what vanished around an error is given up."""
        self._sink.failed("most endpoints are gone after an error: reading again to be sure")
        await trio.sleep(CONFIRM_S)
        try:
            index, services = await self._client.services(0)
        except ReadError as error:
            self._sink.failed(str(error))
        else:
            self._heard_services(index, services)
            self._is_suspect, self._is_dirty = False, True
        self._bell.set()

    def _say(self) -> None:
        """Publish, when there is anything new. The first time that needs one good reading, or
        Consul's word that there are no services."""
        inventory = self._inventory
        if self._is_dirty and (inventory.has_readings or not inventory.names):
            self._is_first = self._is_dirty = False
            self._published_endpoints = inventory.endpoints
            self._sink.publish(inventory.snapshot(self._index))
            problems = inventory.problems()
            if problems != self._problems:
                self._problems = problems
                self._sink.problems(problems)
        elif self._queue.is_idle and not inventory.has_failures:
            self._sink.in_sync()
