"""The running etcd source: list all keys at one revision, then watch from there.

The watch is taken up again at the last revision heard of, with any member, after asking whether the
store is still the same one. It is listed again when what changed since is forgotten (compaction), and
in doubt when it lost its state: its cluster id is another one, its revision went back, or at the last
revision heard of it holds other keys than were heard of.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby

import trio

from adapters.etcd.client import (
    CompactedRevision,
    EtcdClient,
    EtcdError,
    FutureRevision,
    Unreachable,
)
from adapters.etcd.istio import IstioLayout
from adapters.etcd.options import DEFAULT_PREFIX, Options, read_options
from adapters.etcd.picture import Layout, Picture
from adapters.etcd.skydns import Rules, SkyDnsLayout
from adapters.etcd.wire import Change, Heard, range_end
from adapters.pace import Pace
from egressd.api.resource import Place, Problem, Severity
from egressd.registry.adapter import CONFIRM_S, Adapter, AdapterContext, Sink
from egressd.registry.adapter_options import declares_options
from egressd.registry.keyvalue import Entry

STRIDE_S = 0.02  # of translating, before others have a turn


@declares_options(Options)
def make_adapter(context: AdapterContext, options: Mapping[str, object]) -> Adapter:
    """The entry point `etcd` of `egressd.adapters`. Raises `AdapterConfigError`."""
    read = read_options(context.name, options, Options)
    return EtcdAdapter(context.name, read)


class EtcdAdapter:
    """The keys below one prefix of one cluster as a source."""

    def __init__(self, name: str, options: Options) -> None:
        self._name = name
        self._options = options

    async def run(self, sink: Sink) -> None:
        """Watch until cancelled."""
        options = self._options
        prefix = options.prefix or DEFAULT_PREFIX[options.layout]
        layout: Layout = IstioLayout(self._name)
        if options.layout == "skydns":
            layout = SkyDnsLayout(self._name, prefix, Rules.of(options))
        client = EtcdClient(self._name, options)
        watch = Watch(client, Picture(layout), sink, prefix.encode(), options.page_size)
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(watch.publish_changes)
                nursery.start_soon(watch.confirm)
                await watch.read()
        finally:
            client.close()


class Watch:
    """The tasks of one run, and what they share."""

    def __init__(
        self, client: EtcdClient, picture: Picture, sink: Sink, prefix: bytes, page_size: int
    ) -> None:
        self._client = client
        self._picture = picture
        self._sink = sink
        self._prefix = prefix
        self._page_size = page_size
        self._cluster = 0
        self._revision = 0  # of the store that the picture is of
        self._is_first = True  # nothing was published yet
        self._must_list = True
        self._is_reread = False  # the next list is to confirm a loss
        self._doubt = ""  # of the next list
        self._is_doubted = False  # what is held
        self._problems: tuple[Problem, ...] = ()
        self._changed = trio.Event()
        self._held = trio.Event()  # the last publication lacks what is held
        self._following = trio.CancelScope()
        self._breaks = 0  # of the watch in a row, without a word between
        self._stride_ends = 0.0

    async def read(self) -> None:
        """List, follow, and find the way back to it, for ever."""
        failures = 0
        while True:
            try:
                if self._must_list:
                    await self.list_all()
                else:
                    await self._check()
                if not self._must_list:
                    failures = 0
                    await self._follow()
            except CompactedRevision as error:
                self._sink.failed(f"what changed is forgotten, listing again: {error}")
                self._must_list = True
            except EtcdError as error:
                self._sink.failed(str(error))
                await self._client.pause(failures)
                failures += 1
            self._say_problems()

    async def publish_changes(self) -> None:
        """Say what is known, whenever the watch changed it."""
        pace = Pace()
        while True:
            is_pressed = self._changed.is_set()
            await self._changed.wait()
            self._changed = trio.Event()
            if not self._must_list:  # a list is under way, and publishes itself
                self._publish()
            await trio.sleep(pace.pause_s(is_pressed))

    async def confirm(self) -> None:
        """List afresh some time after a loss was held."""
        while True:
            await self._held.wait()
            await trio.sleep(CONFIRM_S)
            self._held = trio.Event()
            self._must_list = self._is_reread = True
            self._following.cancel()

    async def list_all(self) -> None:
        """Read all keys as of one revision, and publish."""
        keys: set[str] = set()
        cluster = revision = total = 0
        async for page in self._client.pages(self._prefix, self._page_size):
            if not keys:
                cluster, revision, total = page.cluster, page.revision, page.count
                self._doubt = self._doubt or self._difference(cluster, revision)
            for entry in page.keys:
                keys.add(entry.key)
                self._picture.put(entry)
                await self._rest()
            if self._is_first:
                self._sink.progress(len(keys), total)
        self._picture.keep(keys)
        self._cluster, self._revision = cluster, revision
        is_reread, self._is_reread = self._is_reread, False
        doubt, self._doubt = self._doubt, ""
        self._must_list = False
        self._publish(doubt=doubt, is_reread=is_reread)

    async def _check(self) -> None:
        """Whether the store at the last revision heard of is the one that was heard of."""
        try:
            page = await self._client.call(
                lambda member, token: member.range(
                    token,
                    self._prefix,
                    range_end(self._prefix),
                    revision=self._revision,
                    limit=1,
                    keys_only=True,
                    newest_first=True,
                )
            )
        except FutureRevision as error:
            self._lost(f"its revision went back, it was {self._revision}: {error}")
            return
        difference = self._difference(page.cluster, page.revision)
        newest = page.keys[0] if page.keys else None
        if difference or not self._picture.agrees(page.count, newest):
            self._lost(difference or f"at revision {self._revision} it has other keys than before")
        else:
            self._sink.in_sync()

    async def _follow(self) -> None:
        try:
            with trio.CancelScope() as self._following:
                await self._client.follow(self._prefix, lambda: self._revision + 1, self.heard)
        except Unreachable:  # this member; the others are asked next
            self._say_problems()
            await self._client.pause(self._breaks)
            self._breaks += 1

    async def heard(self, word: Heard) -> bool:
        """A word of the watch or of a probe; False = list again."""
        revision = word.revision if word.went_back else self._revision
        if difference := self._difference(word.cluster, revision):
            self._lost(difference)
            return False
        if word.is_probe:
            self._sink.in_sync()
            self._say_problems()
        if word.is_probe or word.changes:
            self._breaks = 0
        for revision, changes in groupby(word.changes, lambda change: change.revision):
            for change in changes:
                if self._apply(change):
                    self._changed.set()
            self._revision = revision  # a transaction is taken whole before anything can end this
            await self._rest()
        return True

    def _apply(self, change: Change) -> bool:
        if change.value is None:
            return self._picture.delete(change.key)
        return self._picture.put(Entry(change.key, change.value, change.revision))

    def _difference(self, cluster: int, revision: int) -> str:
        """What shows that the store is not the one that was read; "" = nothing."""
        if self._cluster and cluster != self._cluster:
            return f"its cluster id is {cluster:x}, it was {self._cluster:x}"
        if revision < self._revision:
            return f"its revision went back to {revision}, it was {self._revision}"
        return ""

    def _lost(self, difference: str) -> None:
        self._doubt = f"{self._client.target.url} lost its state: {difference}"
        self._sink.failed(f"{self._doubt}; listing afresh")
        self._must_list = True
        self._cluster = self._revision = 0

    def _publish(self, *, doubt: str = "", is_reread: bool = False) -> None:
        snapshot = self._picture.snapshot(self._revision, doubt=doubt, is_reread=is_reread)
        is_whole = self._sink.publish(snapshot)
        self._is_first = False
        self._is_doubted = not is_whole and (self._is_doubted or bool(doubt))
        if not is_whole and not is_reread and not self._is_doubted:
            self._held.set()  # what is in doubt no second read confirms
        self._say_problems()

    def _say_problems(self) -> None:
        members = tuple(
            Problem(
                severity=Severity.WARNING,
                place=Place(url),
                found=reason,
                expected="an answer; other members are asked meanwhile",
            )
            for url, reason in sorted(self._client.lost.items())
        )
        problems = members + self._picture.problems()
        if problems != self._problems:
            self._problems = problems
            self._sink.problems(problems)

    async def _rest(self) -> None:
        """Let others have a turn, from time to time."""
        if trio.current_time() > self._stride_ends:
            await trio.lowlevel.checkpoint()
            self._stride_ends = trio.current_time() + STRIDE_S
