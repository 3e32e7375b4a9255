"""The running Consul source: a watch for each datacenter, the prepared queries, one publisher."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping

import trio

from adapters.consul.catalog import QUERY, Catalog, version_of
from adapters.consul.client import ConsulClient, ReadError
from adapters.consul.inventory import Inventory, is_wanted
from adapters.consul.options import Options, read_options
from adapters.consul.translate import Part, read_part, rules_of
from adapters.consul.transport import TrioTransport
from adapters.consul.troubles import Troubles
from adapters.consul.watch import DatacenterWatch
from adapters.http import Credential, Endpoint
from adapters.options import seconds
from adapters.pace import Pace
from egressd.api.resource import Problem
from egressd.registry.adapter import CONFIRM_S, Adapter, AdapterContext, Sink
from egressd.registry.adapter_options import declares_options
from egressd.registry.records import Snapshot

DISCOVERY_S = 30.0  # between two looks for datacenters that came or went


@declares_options(Options)
def make_adapter(context: AdapterContext, options: Mapping[str, object]) -> Adapter:
    """The entry point `consul` of `egressd.adapters`. Raises `AdapterConfigError`."""
    read, endpoint = read_options(context.name, options, os.environ)
    return ConsulAdapter(context.name, endpoint, read)


class ConsulAdapter:
    """One Consul agent as a source, with the datacenters that it reaches."""

    def __init__(self, name: str, endpoint: Endpoint, options: Options) -> None:
        self._name = name
        self._endpoint = endpoint
        self._options = options

    async def run(self, sink: Sink) -> None:
        """Watch until cancelled."""
        transport = TrioTransport(self._endpoint, self._options)
        running = _Running(self._name, transport, self._options, sink)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(running.publish, nursery)
                nursery.start_soon(running.ask_queries)
                nursery.start_soon(running.find_datacenters, nursery)
        finally:
            transport.close()


class _Running:
    """One run: the datacenters, and what they say together."""

    def __init__(self, source: str, transport: TrioTransport, options: Options, sink: Sink) -> None:
        self._transport = transport
        self._options = options
        self._sink = sink
        self._token = Credential(options.token, options.token_file, "token")
        self._rules = rules_of(options, transport.endpoint.url)
        self._catalog = Catalog(source, self._rules)
        self._troubles = Troubles(sink)
        self._watches: dict[str, DatacenterWatch] = {}
        self._scopes: dict[str, trio.CancelScope] = {}
        self._stored = sink.known()  # of an earlier run
        self._adopted: dict[str, set[str]] = {}  # from it, by datacenter, until that is read
        self._found: dict[str, Part] = {}  # by prepared queries
        self._failed_queries = set(options.prepared_queries)  # or not asked yet
        self._bell = trio.Event()
        self._is_first = self._is_dirty = True
        self._rereading = "no"  # "soon" (a loss is held), "now"
        self._problems: tuple[Problem, ...] = ()

    # -- datacenters -------------------------------------------------------------------------

    async def find_datacenters(self, nursery: trio.Nursery) -> None:
        """Watch those that are configured, or all that the agent knows, as they come and go."""
        named = self._options.datacenters
        if named != "*":
            self._watch(tuple(named) or (self._options.datacenter,), nursery)
            return
        client = ConsulClient(self._transport, self._token, self._options)
        while True:
            pause_s = DISCOVERY_S
            try:
                known = await client.datacenters()
            except ReadError as error:
                self._troubles.heard("", "datacenters", str(error))
                pause_s = seconds(self._options.max_backoff)
            else:
                self._troubles.over("", "datacenters")
                self._watch(known, nursery)
            await trio.sleep(pause_s)

    def _watch(self, names: tuple[str, ...], nursery: trio.Nursery) -> None:
        for gone in self._watches.keys() - set(names):
            self._scopes.pop(gone).cancel()
            del self._watches[gone]
            self._adopted.pop(gone, None)
            self._catalog.drop(gone)
            self._troubles.forget(gone)
            self._is_dirty = True
        for name in names:
            if name not in self._watches:
                client = ConsulClient(self._transport, self._token, self._options, name)
                inventory = Inventory(
                    self._rules, lambda service: is_wanted(service, self._options)
                )
                self._watches[name] = watch = DatacenterWatch(
                    name, client, inventory, self._options, self._troubles, self._news
                )
                if len(names) > 1:  # it may not be readable while others are
                    self._adopted[name] = self._catalog.adopt(name, self._stored)
                self._scopes[name] = scope = trio.CancelScope()
                nursery.start_soon(_run_within, watch, scope)
        for watch in self._watches.values():
            watch.share(len(self._watches))
        self._news()

    # -- prepared queries ----------------------------------------------------------------------

    async def ask_queries(self) -> None:
        """Run every prepared query now and then: Consul has no way to wait for their results."""
        client = ConsulClient(self._transport, self._token, self._options, self._options.datacenter)
        while self._options.prepared_queries:
            for query in self._options.prepared_queries:
                try:
                    part = read_part(await client.execute(query), self._rules) or Part()
                except ReadError as error:
                    named = f"prepared query {query}"
                    self._troubles.heard_part("", named, f"{named}: {error}")
                    self._is_dirty |= query not in self._failed_queries
                    self._failed_queries.add(query)
                else:
                    self._troubles.part_over("", f"prepared query {query}")
                    self._is_dirty |= query in self._failed_queries or part != self._found[query]
                    self._failed_queries.discard(query)
                    self._found[query] = part
                    self._catalog.put_query(query, part)
                self._news()
            await trio.sleep(seconds(self._options.query_interval))

    # -- publishing ------------------------------------------------------------------------------

    async def publish(self, nursery: trio.Nursery) -> None:
        """Say what is known, whenever that changed."""
        pace = Pace()
        while True:
            is_pressed = self._bell.is_set()
            await self._bell.wait()
            self._bell = trio.Event()
            self._take()
            if self._is_first and not self._is_read():
                shares = [watch.inventory.progress for watch in self._watches.values()]
                self._sink.progress(
                    sum(done for done, _ in shares), sum(total for _, total in shares)
                )
            else:
                self._say_news(nursery)
            await trio.sleep(pace.pause_s(is_pressed))

    def _say_news(self, nursery: trio.Nursery) -> None:
        watches = self._watches.values()
        is_reread = self._rereading == "now" and all(w.inventory.is_settled for w in watches)
        if self._is_dirty or is_reread:
            self._say(is_reread, nursery)
        elif all(watch.is_idle for watch in watches):
            self._troubles.in_sync()

    def _news(self) -> None:
        self._bell.set()

    def _take(self) -> None:
        for dc, watch in self._watches.items():
            version = str(watch.inventory.index)
            changed = watch.inventory.take()
            if watch.inventory.is_settled:
                changed |= self._adopted.pop(dc, set())
            for name in changed:
                self._catalog.put(dc, name, watch.inventory.part(name), version)
                self._is_dirty = True

    def _is_read(self) -> bool:
        """Every datacenter was read or cannot be, and there is something to say."""
        watches = self._watches.values()
        return all(w.inventory.was_settled or w.is_failing for w in watches) and any(
            w.inventory.was_settled and w.inventory.has_news for w in watches
        )

    def _say(self, is_reread: bool, nursery: trio.Nursery) -> None:
        self._is_first = self._is_dirty = False
        doubt = self._doubt()
        queries = frozenset(f"{QUERY}/{query}" for query in self._failed_queries)
        snapshot = Snapshot(
            records=self._catalog.records(without=self._origins(lambda known: known.unknown)),
            source_version=version_of({d: w.inventory.index for d, w in self._watches.items()}),
            failed_origins=self._origins(lambda known: known.failures) | queries,
            doubt=doubt,
            is_reread=is_reread,
            is_failing=self._troubles.are_there,
        )
        accepted = self._sink.publish(snapshot)
        if is_reread:
            self._rereading = "no"
        if accepted:
            for watch in self._watches.values():
                if watch.inventory.is_settled:
                    watch.inventory.doubt = ""
        elif not doubt and self._rereading == "no":
            self._rereading = "soon"
            nursery.start_soon(self._reread)
        problems = self._catalog.problems()
        if problems != self._problems:
            self._problems = problems
            self._sink.problems(problems)

    async def _reread(self) -> None:
        """Read all afresh, before what vanished is given up."""
        await trio.sleep(CONFIRM_S)
        self._rereading = "now"
        async with trio.open_nursery() as nursery:
            for watch in self._watches.values():
                nursery.start_soon(watch.reread)

    def _doubt(self) -> str:
        """Why what is missing may not be gone, of all datacenters that were read."""
        doubts = {dc: watch.inventory.doubt for dc, watch in self._watches.items()}
        told = (
            f"datacenter {dc}: {doubt}" if dc else doubt for dc, doubt in doubts.items() if doubt
        )
        return "; ".join(told)

    def _origins(self, of: Callable[[Inventory], Iterable[str]]) -> frozenset[str]:
        return frozenset(
            self._catalog.origin(dc, name)
            for dc, watch in self._watches.items()
            for name in of(watch.inventory)
        )


async def _run_within(watch: DatacenterWatch, scope: trio.CancelScope) -> None:
    with scope:
        await watch.run()
