"""One datacenter, watched: three blocking queries on lists, held queries on services, a few readers.

`/v1/catalog/services` returns as soon as any instance comes, goes or changes, the lists of critical and
of warning checks as soon as a check enters or leaves them. What a list says beyond what is known names
the services to read again; readers ask for their instances. An instance that changes without a name in
any list (no check, or a passing one) is found in two ways: the `watches` services that changed so last
have a blocking query of their own, and a new index of the catalog is followed by a sweep, a re-read of
all others, those that changed lately first. So connections are bounded for any number of services, and
with no more services than `watches` nothing is swept. See docs/decisions/0009-consul-at-scale.md.
"""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio

from adapters.backoff import backoff_s
from adapters.consul.client import ConsulClient, ReadError, State
from adapters.consul.inventory import Inventory
from adapters.consul.options import Options
from adapters.consul.pace import next_index
from adapters.consul.reading import ReadQueue
from adapters.consul.rights import lists_itself, no_rights
from adapters.consul.transport import Reply
from adapters.consul.troubles import Troubles
from adapters.consul.wire import Check
from adapters.options import seconds

HELD_WAIT = "300s"  # of a query on one service: 10,000 of them are renewed 33 times a second
QUERY_PAUSE_S = 0.02  # between two answers of one blocking query: a storm is read in strides
SWEEP_REST = (
    2.0  # pause after a sweep in times of its duration, so that churn has a third of a core
)
MAX_SWEEP_REST_S = 20.0
HOLDS_PER_S = 500  # new connections, when many queries begin to be held at once
LOOK_AGAIN_S = 1.0  # by then the list does not name a service any more whose last instance went
Answer = TypeVar("Answer")
_SERVICES = "single services"


class _Hollow(ReadError):
    """No instance of a service that the list names and that had some. Either the list is about to drop
    it, or rights were lost: whether a service is gone, the list says."""


class DatacenterWatch:
    """The tasks of one datacenter. `news` is called whenever there may be something to publish."""

    def __init__(
        self,
        name: str,
        client: ConsulClient,
        inventory: Inventory,
        options: Options,
        troubles: Troubles,
        news: Callable[[], None],
    ) -> None:
        self.name = name
        self.inventory = inventory
        self._client = client
        self._options = options
        self._troubles = troubles
        self._news = news
        self._resync_s = seconds(options.resync)
        self._max_backoff_s = seconds(options.max_backoff)
        self._queue = ReadQueue()
        self._read_failures: dict[str, int] = {}
        self._hollow: set[str] = set()
        self._spoken_of = ("", "")  # the one service whose failure stands for those of others
        self._readers = trio.CapacityLimiter(options.concurrency)
        self._most_held = options.watches
        self._held: dict[str, trio.CancelScope] = {}  # the one that changed last is the last
        self._no_holds_before = 0.0
        self._sweep_wanted = trio.Event()
        self._is_read = trio.Event()  # all services were; another event after an error
        self._is_listed = trio.Event()  # the list of services stands; another event after an error
        self._nursery: trio.Nursery | None = None

    @property
    def is_idle(self) -> bool:
        """Nothing is being read, nothing could not be read."""
        return self._queue.is_idle and not self.inventory.failures

    @property
    def is_failing(self) -> bool:
        """A list could not be read the last time."""
        return self._troubles.are_of(self.name)

    def share(self, datacenters: int) -> None:
        """Connections are bounded for all datacenters together."""
        self._readers.total_tokens = max(1, self._options.concurrency // datacenters)
        self._most_held = self._options.watches // datacenters
        while len(self._held) > self._most_held:
            self._release(next(iter(self._held)))

    async def run(self) -> None:
        """Watch until cancelled."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            nursery.start_soon(self._follow_services)
            nursery.start_soon(self._follow_checks, "critical")
            nursery.start_soon(self._follow_checks, "warning")
            nursery.start_soon(self._sweep)
            for _ in range(self._options.concurrency):
                nursery.start_soon(self._read_services)

    async def reread(self) -> None:
        """Read everything afresh; the inventory is settled when that is done."""
        self._lost("")
        try:
            reply, services = await self._client.services(0)
        except ReadError as error:
            self._troubles.heard(self.name, "services", str(error))
        else:
            self._heard_services(reply, services)
        self._news()

    # -- lists -------------------------------------------------------------------------------

    async def _follow_services(self) -> None:
        await self._follow("services", self._services, self._heard_services, self._lost)

    async def _services(self, index: int) -> tuple[Reply, dict[str, tuple[str, ...]]]:
        """The list. A first one that is empty is of a token without rights: Consul lists itself."""
        reply, services = await self._client.services(index)
        if not services and not self.inventory.was_settled and lists_itself(self._options):
            raise ReadError(f"{self._client.url}/v1/catalog/services: {no_rights(self._options)}")
        return reply, services

    async def _follow_checks(self, state: State) -> None:
        def heard(_: Reply, checks: tuple[Check, ...]) -> None:
            suspects = self.inventory.heard_checks(state, checks)
            self._queue.add(suspects - self._held.keys(), changed=True)

        await self._follow(state, lambda i: self._client.checks(state, i), heard, lambda _: None)

    async def _follow(
        self,
        what: str,
        ask: Callable[[int], Awaitable[tuple[Reply, Answer]]],
        heard: Callable[[Reply, Answer], None],
        lost: Callable[[str], None],
    ) -> None:
        """Hold a blocking query. `lost` is called with a doubt, or none, when what was heard before
        may no longer hold."""
        index = newest = failures = 0
        known: Answer | None = None
        while True:
            try:
                reply, data = await ask(index)
            except ReadError as error:
                self._troubles.heard(self.name, what, str(error))
                lost("")
                self._news()
                await trio.sleep(backoff_s(failures, self._max_backoff_s, random.random()))
                index, failures = 0, failures + 1  # what a new Consul counts from is its own
                continue
            failures = 0
            if reply.index < newest:
                doubt = f"the index of {what} went backwards, from {newest} to {reply.index}"
                self._troubles.heard(self.name, what, doubt)
                lost(doubt)
            self._troubles.over(self.name, what)
            # Another answer with the same index: what the token may see has changed.
            if reply.index == index and data == known and self._is_listed.is_set():
                self._troubles.in_sync()
            else:
                heard(reply, data)
                self._news()
            known = data
            index, newest = next_index(index, reply.index), reply.index
            await trio.sleep(QUERY_PAUSE_S)

    def _heard_services(self, reply: Reply, services: dict[str, tuple[str, ...]]) -> None:
        inventory, is_whole = self.inventory, not self._is_listed.is_set()
        is_new = reply.index != inventory.index
        changed = inventory.heard_services(reply.index, services, reply.is_filtered)
        names = set(inventory.names)
        for gone in self._held.keys() - names:
            self._release(gone)
        self._is_listed.set()
        self._queue.add(sorted(names if is_whole else changed - self._held.keys()), changed=True)
        if is_new and not is_whole and names - changed - self._held.keys():
            self._sweep_wanted.set()

    def _lost(self, doubt: str) -> None:
        self.inventory.unsettle(doubt)
        for name in list(self._held):
            self._release(name)
        if self._is_listed.is_set():
            self._is_listed, self._is_read = trio.Event(), trio.Event()

    # -- services ----------------------------------------------------------------------------

    async def _sweep(self) -> None:
        """Read every service that has no query of its own, when the catalog changed and from time to
        time."""
        while True:
            with trio.move_on_after(self._resync_s):
                await self._sweep_wanted.wait()
            self._sweep_wanted = trio.Event()
            await self._is_listed.wait()
            begun = trio.current_time()
            names = [name for name in self.inventory.names if name not in self._held]
            self._queue.add(self.inventory.lately_changed(names), changed=False)
            await self._queue.swept()
            lasted_s = trio.current_time() - begun
            await trio.sleep(min(MAX_SWEEP_REST_S, SWEEP_REST * lasted_s))

    async def _read_services(self) -> None:
        """Read one service after the other; none while even the list cannot be had."""
        while True:
            await self._is_listed.wait()
            name, was_listed = await self._queue.take()
            async with self._readers:
                if name not in self._held:  # else every change of it is heard of anyway
                    await self._read(name, was_listed)
            self._queue.done(name)
            if not self.inventory.failures:
                self._troubles.part_over(self.name, _SERVICES)
            if self.inventory.is_settled:
                self._is_read.set()
            self._news()

    async def _read(self, name: str, was_listed: bool) -> None:
        try:
            reply = await self._client.instances(name)
            is_new = self._heard_instances(name, reply)
        except ReadError as error:
            assert self._nursery is not None
            if isinstance(error, _Hollow) and name not in self._hollow:
                self._hollow.add(name)
                self._nursery.start_soon(self._read_later, name, LOOK_AGAIN_S)
                return
            if self._spoken_of[0] not in self.inventory.failures:
                self._spoken_of = (name, f"service {name}: {error}")
            self._troubles.heard_part(self.name, _SERVICES, self._spoken_of[1])
            self.inventory.failed(name)
            failures = self._read_failures.get(name, 0)
            self._read_failures[name] = failures + 1
            pause_s = backoff_s(failures, self._max_backoff_s, random.random())
            self._nursery.start_soon(self._read_later, name, pause_s)
        else:
            self._read_failures.pop(name, None)
            self._hollow.discard(name)
            self._hold(name, reply.index, must=is_new and not was_listed)

    def _heard_instances(self, name: str, reply: Reply) -> bool:
        if reply.body.strip() in (b"[]", b"null") and name in self.inventory.names:
            raise _Hollow("listed, but without an instance; may the token read nodes?")
        decode = self._client.decode_instances
        return self.inventory.heard_instances(name, reply.body, lambda: decode(name, reply))

    async def _read_later(self, name: str, pause_s: float) -> None:
        await trio.sleep(pause_s)
        if name in self.inventory.names:
            self._queue.add([name], changed=True)
        else:
            self._read_failures.pop(name, None)
            self._hollow.discard(name)

    # -- queries held on single services -------------------------------------------------------

    def _hold(self, name: str, index: int, *, must: bool) -> None:
        """Hold a query on a service that was just read, if there is room, or it `must` be, because it
        changes without a name in a list."""
        if name not in self.inventory.names or not self._is_listed.is_set():
            return
        if trio.current_time() < self._no_holds_before or not self._most_held:
            return
        if len(self._held) >= self._most_held:
            if not must:
                return
            oldest = next(iter(self._held))
            self._release(oldest)
            self._queue.add([oldest], changed=False)  # an answer may have been on its way
        scope = self._held[name] = trio.CancelScope()
        assert self._nursery is not None
        self._nursery.start_soon(self._follow_service, name, index, scope)

    def _release(self, name: str) -> None:
        self._held.pop(name).cancel()

    async def _follow_service(self, name: str, index: int, scope: trio.CancelScope) -> None:
        """Hold a blocking query on one service; when it fails the readers have the service again."""
        with scope:
            await self._is_read.wait()
            await trio.sleep(random.random() * len(self._held) / HOLDS_PER_S)
            while True:
                try:
                    reply = await self._client.instances(name, index, HELD_WAIT)
                    is_new = self._heard_instances(name, reply)
                except ReadError as error:
                    if not isinstance(error, _Hollow):  # too many connections, perhaps
                        self._no_holds_before = trio.current_time() + self._max_backoff_s
                    break
                if self._held.get(name) is not scope:
                    return
                if is_new:
                    self._held[name] = self._held.pop(name)
                    self._news()
                index = next_index(index, reply.index)
                await trio.sleep(QUERY_PAUSE_S)
            if self._held.get(name) is scope:
                self._release(name)
                self._queue.add([name], changed=True)
