"""A sink for tests of adapters: it remembers, and lets a test wait for what it expects."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import trio

from egressd.api.resource import Problem
from egressd.api.service_entry import ServiceEntry
from egressd.registry.adapter import Adapter
from egressd.registry.records import Record, Snapshot

DEADLINE_S = 30.0
CANCEL_S = 5.0


class Recorder:
    """What an adapter said. `verdict` is what `publish` returns: False holds every loss."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []
        self.failures: list[str] = []
        self.syncs = 0
        self.progressed: list[tuple[int, int]] = []
        self.found: tuple[Problem, ...] = ()
        self.stored: tuple[Record, ...] = ()
        self.verdict: Callable[[Snapshot], bool] = lambda _: True
        self._news = trio.Event()

    def publish(self, snapshot: Snapshot) -> bool:
        self.snapshots.append(snapshot)
        self._tell()
        return self.verdict(snapshot)

    def progress(self, done: int, total: int) -> None:
        self.progressed.append((done, total))

    def in_sync(self) -> None:
        self.syncs += 1
        self._tell()

    def failed(self, reason: str) -> None:
        self.failures.append(reason)
        self._tell()

    def problems(self, problems: tuple[Problem, ...]) -> None:
        self.found = problems
        self._tell()

    def known(self) -> tuple[Record, ...]:
        return self.snapshots[-1].records if self.snapshots else self.stored

    def overruled(self) -> tuple[Problem, ...] | None:
        return ()

    @property
    def origins(self) -> set[str]:
        """The origins of the last snapshot's records."""
        return {record.origin for record in self.snapshots[-1].records} if self.snapshots else set()

    def service(self, origin: str) -> ServiceEntry | None:
        """What was said last of an origin; None = there is no such record."""
        for record in self.snapshots[-1].records if self.snapshots else ():
            if record.origin == origin and isinstance(record.resource.spec, ServiceEntry):
                return record.resource.spec
        return None

    def endpoints(self, origin: str) -> list[str] | None:
        """The addresses of a service, weights aside; None = there is no such service."""
        service = self.service(origin)
        return None if service is None else [endpoint.address for endpoint in service.endpoints]

    async def until(self, condition: Callable[[], bool]) -> float:
        """Seconds until the condition held."""
        begun = trio.current_time()
        with trio.fail_after(DEADLINE_S):
            while not condition():
                await self._news.wait()
        return trio.current_time() - begun

    def _tell(self) -> None:
        news, self._news = self._news, trio.Event()
        news.set()


@asynccontextmanager
async def recorded(adapter: Adapter, stored: tuple[Record, ...] = ()) -> AsyncIterator[Recorder]:
    """Run an adapter; it must end promptly when it is cancelled. `stored` is known before it starts."""
    recorder = Recorder()
    recorder.stored = stored
    async with trio.open_nursery() as nursery:
        nursery.start_soon(adapter.run, recorder)
        yield recorder
        with trio.fail_after(CANCEL_S):
            async with trio.open_nursery() as ending:
                ending.start_soon(_ended, nursery)
                nursery.cancel_scope.cancel()


async def _ended(nursery: trio.Nursery) -> None:
    while nursery.child_tasks:
        await trio.sleep(0.001)
