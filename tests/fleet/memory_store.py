"""A key-value store in memory, as strict about revisions as the real ones."""

from __future__ import annotations

import trio

from egressd.registry.keyvalue import Conflict, Entry, KeyValueError, Listing, Write


class MemoryStore:
    """`egressd.registry.keyvalue.KeyValue`. `fault`, when set, is what every call raises."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}
        self.revision = 0
        self.commits: list[tuple[Write, ...]] = []
        self.fault: KeyValueError | None = None
        self.statuses: list[tuple[str, bytes, float]] = []
        self._changed = trio.Event()

    def put(self, key: str, value: str | None) -> None:
        """What somebody else writes by hand."""
        self._write((Write(key, None if value is None else value.encode()),))

    def lose_state(self) -> None:
        """All is gone."""
        self._write(tuple(Write(key, None) for key in self.entries))

    async def list(self, prefix: str) -> Listing:
        await self._asked()
        found = sorted(key for key in self.entries if key.startswith(prefix))
        return Listing(self.revision, tuple(self.entries[key] for key in found))

    async def get(self, key: str) -> Entry | None:
        await self._asked()
        return self.entries.get(key)

    async def commit(self, writes: tuple[Write, ...]) -> int:
        await self._asked()
        assert len(writes) <= 64
        assert len({write.key for write in writes}) == len(writes)
        for write in writes:
            entry = self.entries.get(write.key)
            if write.expected is not None and write.expected != (entry.revision if entry else 0):
                raise Conflict(f"{write.key}: is at another revision than {write.expected}")
        self.commits.append(writes)
        self._write(writes)
        return self.revision

    async def wait(self, prefix: str, revision: int) -> None:
        await self._asked()
        while self.revision <= revision:
            await self._changed.wait()
            await self._asked()

    async def publish_status(self, key: str, value: bytes, ttl_s: float) -> None:
        await self._asked()
        self.statuses.append((key, value, ttl_s))

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()

    def _write(self, writes: tuple[Write, ...]) -> None:
        self.revision += 1
        for write in writes:
            if write.value is None:
                self.entries.pop(write.key, None)
            else:
                self.entries[write.key] = Entry(write.key, write.value, self.revision)
        self._changed.set()
        self._changed = trio.Event()

    async def _asked(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.fault is not None:
            raise self.fault
