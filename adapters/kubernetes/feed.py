"""One kind of object, followed for ever: a list, then watches from the list's version on.

A watch that ends is taken up where it stood, after a look at the server's present version: one that
is older than what we know means that the server lost state (restored, installed anew), and a watch
from our version would be silent until it counted as far. Then, and when the server no longer knows
our version (410), the list is read again; what was known stands until the new list is complete.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, Protocol

import trio

from adapters.backoff import backoff_s
from adapters.kubernetes.client import ApiClient, Collection, Expired, Item, ReadError

EARLY_S = 1.0  # a watch that is over so soon is not asked for again at once


@dataclass(frozen=True)
class Ear(Generic[Item]):
    """Who is told of objects. Each answers whether anything is new by that."""

    every: Callable[[str, Iterable[Item]], bool]  # the whole list of a namespace
    one: Callable[[Item], bool]
    lost: Callable[[Item], bool]


class Overseer(Protocol):
    """Who is told how the feeds do."""

    def alive(self, *, is_new: bool) -> None:
        """The server was heard of, with something new or not."""

    def failed(self) -> None:
        """The `error` of a feed is another one."""

    def doubted(self, reason: str, *, lost_state: bool) -> None:
        """Why the list that comes next may miss what is not gone."""

    def progressed(self) -> None:
        """`done` and `total` of a feed have changed."""


class Feed(Generic[Item]):
    """One collection, and how far it is known."""

    def __init__(
        self,
        client: ApiClient,
        collection: Collection[Item],
        ear: Ear[Item],
        overseer: Overseer,
        max_backoff_s: float,
    ) -> None:
        self._client = client
        self._collection: Collection[Item] = collection
        self._ear: Ear[Item] = ear
        self._overseer = overseer
        self._max_backoff_s = max_backoff_s
        self.version = ""  # of the newest that was heard
        self.error = ""  # why the last question has no answer
        self.done = self.total = 0  # objects of the list that is being read
        self._has_erred = False  # since the last list or event
        self._regression = ""  # that the server lost state, since the last list
        self._answers = 0
        self._watching = trio.CancelScope()
        self._listed = trio.Event()  # another one when the list is to be read again

    @property
    def is_listed(self) -> bool:
        """The list was read, and nothing speaks against it."""
        return self._listed.is_set()

    async def reread(self) -> None:
        """Read the list afresh, and return when that was done."""
        self._forget()
        self._watching.cancel()
        await self._listed.wait()

    async def run(self) -> None:
        """Follow until cancelled."""
        failures = 0
        while True:
            begun, answers = trio.current_time(), self._answers
            try:
                await self._advance()
            except Expired:
                self._forget()
            except ReadError as error:
                self._fail(str(error))
            else:
                if self._watching.cancelled_caught or trio.current_time() - begun > EARLY_S:
                    failures = 0
                    continue
            failures = 0 if self._answers > answers else failures
            await trio.sleep(backoff_s(failures, self._max_backoff_s, random.random()))
            failures += 1

    async def _advance(self) -> None:
        """A list where one is needed, then one watch."""
        if self.is_listed:
            page = await self._client.page(self._collection, "", size=1)
            self._note_version(page.metadata.resource_version)
        if not self.is_listed:
            await self._list()
        with trio.CancelScope() as self._watching:
            await self._watch()

    async def _list(self) -> None:
        items: list[Item] = []
        after = ""
        while True:
            page = await self._client.page(self._collection, after)
            items += page.items or ()
            self.done = len(items)
            self.total = self.done + (page.metadata.remaining_item_count or 0)
            self._overseer.progressed()
            after = page.metadata.continue_
            if not after:
                break
        self._note_version(page.metadata.resource_version)
        if self._regression:
            self._overseer.doubted(self._regression, lost_state=True)
        elif self._has_erred:
            reason = f"the first list of {self._collection.name} after an error"
            self._overseer.doubted(reason, lost_state=False)
        self._regression, self._has_erred = "", False
        self.version = page.metadata.resource_version
        self._listed.set()
        self._answers += 1
        self._heard(is_new=self._ear.every(self._collection.namespace, items))

    async def _watch(self) -> None:
        async with self._client.watch(self._collection, self.version) as watch:
            self._heard(is_new=False)
            while (event := await watch.event()) is not None:
                self._answers += 1
                is_new = self._has_erred = False
                if event.item is not None:
                    tell = self._ear.lost if event.change == "DELETED" else self._ear.one
                    is_new = tell(event.item)
                self.version = event.version or self.version
                self._heard(is_new=is_new)

    def _heard(self, *, is_new: bool) -> None:
        self.error = ""
        self._overseer.alive(is_new=is_new)

    def _fail(self, reason: str) -> None:
        self.error, self._has_erred = reason, True
        self._overseer.failed()

    def _note_version(self, now: str) -> None:
        """Versions are etcd revisions, which only grow as long as etcd has its data."""
        if now.isdecimal() and self.version.isdecimal() and int(now) < int(self.version):
            self.error = self._regression = (
                f"the resourceVersion of {self._collection.name} went from {self.version} back to "
                f"{now}: the API server lost state"
            )
            self.version = ""
            self._forget()
            self._overseer.failed()

    def _forget(self) -> None:
        """The list has to be read again; what it said stands until then."""
        if self._listed.is_set():
            self._listed = trio.Event()
