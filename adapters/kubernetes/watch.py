"""The running Kubernetes source: Services and EndpointSlices, followed and published together."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import partial
from typing import Protocol

import msgspec
import trio

from adapters.kubernetes.client import ApiClient, Collection, Item
from adapters.kubernetes.feed import Ear, Feed
from adapters.kubernetes.inventory import Inventory
from adapters.kubernetes.kubeconfig import Access, AccessError, load_access
from adapters.kubernetes.options import Options, read_options
from adapters.kubernetes.resources import PLACES, Resources
from adapters.kubernetes.translate import translate_service
from adapters.kubernetes.wire import SERVICE_NAME, Custom, EndpointSlice, Service
from adapters.options import seconds
from adapters.pace import Pace
from egressd.api.resource import Problem
from egressd.registry.adapter import (
    CONFIRM_S,
    Adapter,
    AdapterContext,
    Sink,
)
from egressd.registry.adapter_options import declares_options
from egressd.registry.records import Snapshot

AT_A_TIME = 200  # objects that are translated before others get their turn
SHOWN = 2  # failures that are told at a time
SERVICES = ("/api/v1",)
SLICES = ("/apis/discovery.k8s.io/v1", "/apis/discovery.k8s.io/v1beta1")  # v1 since 1.21


@declares_options(Options)
def make_adapter(context: AdapterContext, options: Mapping[str, object]) -> Adapter:
    """The entry point `kubernetes` of `egressd.adapters`. Raises `AdapterConfigError`."""
    read = read_options(context.name, options)
    load = partial(load_access, read.kubeconfig, read.context, os.environ)
    return KubernetesAdapter(context.name, read, load)


class KubernetesAdapter:
    """One cluster as a source."""

    def __init__(self, name: str, options: Options, load: Callable[[], Access]) -> None:
        self._name = name
        self._options = options
        self._load = load

    async def run(self, sink: Sink) -> None:
        """Watch until cancelled."""
        options = self._options
        client = await self._client(sink)
        try:
            async with trio.open_nursery() as nursery:
                run = _Run(self._name, client, sink, options, nursery)
                for feed in run.feeds:
                    nursery.start_soon(feed.run)
                await run.publish()
        finally:
            client.close()

    async def _client(self, sink: Sink) -> ApiClient:
        """A client, once there is a kubeconfig or service account that says what of."""
        options = self._options
        while True:
            try:
                return ApiClient(
                    self._load,
                    options.page_size,
                    seconds(options.watch_timeout),
                    seconds(options.request_timeout),
                )
            except AccessError as error:
                sink.failed(f"kubeconfig: {error}")
            await trio.sleep(seconds(options.max_backoff))


class _Picture(Protocol):
    """What is known, however it was heard."""

    @property
    def endpoints(self) -> int: ...

    def settle(self, limit: int) -> bool: ...

    def snapshot(self, version: str) -> Snapshot: ...

    def problems(self) -> tuple[Problem, ...]: ...


class _Run:
    """The feeds of one run, and what they share."""

    def __init__(
        self, name: str, client: ApiClient, sink: Sink, options: Options, nursery: trio.Nursery
    ) -> None:
        self._name = name
        self._client = client
        self._options = options
        self._sink = sink
        self._nursery = nursery
        self._bell = trio.Event()
        self._is_first = True  # nothing was published yet
        self._is_dirty = True  # something to publish
        self._is_confirming = False
        self._doubt = ""  # why a loss may be none; until a snapshot is taken as it is
        self._suspicion = ""  # the same, of a loss of more than half only
        self._is_held = False  # the last snapshot was not taken as it is
        self._endpoints = 0  # in the last snapshot
        self._problems: tuple[Problem, ...] = ()
        self.feeds: list[Feed[Service] | Feed[EndpointSlice] | Feed[Custom]] = []
        istio = options.read == "istio"
        self._picture: _Picture = self._read_istio() if istio else self._read_services()

    async def publish(self) -> None:
        """Say what is known, whenever that changed."""
        pace = Pace()
        while True:
            is_pressed = self._bell.is_set()
            await self._bell.wait()
            await trio.sleep(pace.pause_s(is_pressed))
            self._bell = trio.Event()
            while self._picture.settle(AT_A_TIME):
                await trio.lowlevel.checkpoint()  # a first list of thousands stops nobody else
            if not self._is_first or all(feed.is_listed for feed in self.feeds):
                self._say()

    def alive(self, *, is_new: bool) -> None:
        self._is_dirty |= is_new
        self._bell.set()

    def failed(self) -> None:
        """Say what cannot be read: in the same words while it is the same, whoever failed last."""
        errors = [feed.error for feed in self.feeds if feed.error]
        if errors:
            more = [f"and {len(errors) - SHOWN} more"] if len(errors) > SHOWN else []
            self._sink.failed("; ".join([*errors[:SHOWN], *more]))

    def doubted(self, reason: str, *, lost_state: bool) -> None:
        if lost_state:
            self._doubt = reason
        else:
            self._suspicion = reason

    def progressed(self) -> None:
        if self._is_first:
            self._sink.progress(
                sum(feed.done for feed in self.feeds), sum(feed.total for feed in self.feeds)
            )

    def _read_services(self) -> Inventory:
        options, url = self._options, self._client.url
        found = Inventory(
            self._name,
            lambda service, slices: translate_service(service, slices, options, url),
            options.exclude,
        )
        services = Ear(found.heard_services, found.heard_service, found.lost_service)
        slices = Ear(found.heard_slices, found.heard_slice, found.lost_slice)
        for namespace in options.namespaces or ("",):
            selector = options.label_selector
            self._follow(Collection(Service, "services", SERVICES, namespace, selector), services)
            own = Collection(EndpointSlice, "endpointslices", SLICES, namespace, SERVICE_NAME)
            self._follow(own, slices)
        return found

    def _read_istio(self) -> Resources:
        options = self._options
        found = Resources(self._name, options.kinds, self._client.url, options.exclude)
        for namespace in options.namespaces or ("",):
            for kind, known in found.kinds.items():
                name, groups = PLACES[kind]
                listed = Collection(Custom, name, groups, namespace, options.label_selector)
                self._follow(listed, Ear(known.heard_all, known.heard, known.lost))
        return found

    def _follow(self, collection: Collection[Item], ear: Ear[Item]) -> None:
        max_backoff_s = seconds(self._options.max_backoff)
        self.feeds.append(Feed(self._client, collection, ear, self, max_backoff_s))

    def _say(self, *, is_reread: bool = False) -> None:
        if not self._is_dirty and not is_reread:
            if not self._is_held:
                self._doubt = self._suspicion = ""
            if not any(feed.error for feed in self.feeds):
                self._sink.in_sync()
            return
        self._is_first = self._is_dirty = False
        newest = max((feed.version for feed in self.feeds), key=lambda text: text.zfill(20))
        snapshot = self._picture.snapshot(newest)
        endpoints = self._picture.endpoints
        if endpoints * 2 < self._endpoints:
            self._doubt = self._doubt or self._suspicion
        problems = self._picture.problems()
        if problems != self._problems:
            self._problems = problems
            self._sink.problems(problems)
        doubted = msgspec.structs.replace(snapshot, doubt=self._doubt, is_reread=is_reread)
        self._is_held = not self._sink.publish(doubted)
        self.failed()  # published is what could be read
        if not self._is_held:
            self._doubt = self._suspicion = ""
            self._endpoints = endpoints
        elif not self._doubt and not self._is_confirming and not is_reread:
            self._is_confirming = True
            self._nursery.start_soon(self._confirm)

    async def _confirm(self) -> None:
        """Read everything afresh, because most of it vanished."""
        await trio.sleep(CONFIRM_S)
        async with trio.open_nursery() as nursery:
            for feed in self.feeds:
                nursery.start_soon(feed.reread)
        self._say(is_reread=True)
        self._is_confirming = False
