"""The order in which services are read: changed ones first, the rest as there is room."""

from __future__ import annotations

from collections.abc import Iterable

import trio


class ReadQueue:
    """Names to read, each once. A name is never given out while it is being read: two answers about
    one service cannot overtake each other."""

    def __init__(self) -> None:
        self._changed: dict[str, None] = {}
        self._rest: dict[str, None] = {}
        self._reading: set[str] = set()
        self._event = trio.Event()

    @property
    def is_idle(self) -> bool:
        """Nothing waits and nothing is being read."""
        return not (self._changed or self._rest or self._reading)

    def add(self, names: Iterable[str], *, changed: bool) -> None:
        """Ask for names. Those that are known to have changed come before all others."""
        for name in names:
            if changed:
                self._rest.pop(name, None)
                self._changed[name] = None
            elif name not in self._changed:
                self._rest[name] = None
        self._wake()

    async def take(self) -> tuple[str, bool]:
        """The next name to read, and whether it is known to have changed; `done` must follow."""
        while True:
            for queue in (self._changed, self._rest):
                name = next((name for name in queue if name not in self._reading), None)
                if name is not None:
                    del queue[name]
                    self._reading.add(name)
                    return name, queue is self._changed
            await self._event.wait()

    def done(self, name: str) -> None:
        """The name was read, with whatever result."""
        self._reading.discard(name)
        self._wake()

    async def swept(self) -> None:
        """Wait until no name is left that was asked for without a change."""
        while self._rest:
            await self._event.wait()

    def _wake(self) -> None:
        event, self._event = self._event, trio.Event()
        event.set()
