"""The admin's side of the workers' control sockets: ask all at once, wait for none for long.

Counters of a worker that is gone are kept, so that the node's sums never go backwards when a
replacement starts from zero.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import trio

from egressd.telemetry.stats import (
    StatsSnapshot,
    bounded,
    decode_snapshot,
    evicted_since,
    merge,
    without_gauges,
)

ASK_S = 0.5
_CHUNK = 65536
MOST_KEPT = 10_000
"""Series of each kind that no worker has any more."""


async def ask(path: str, command: str) -> bytes | None:
    """One worker's answer, None when it does not answer in time."""
    with trio.move_on_after(ASK_S):
        try:
            async with await trio.open_unix_socket(path) as stream:
                await stream.send_all(command.encode() + b"\n")
                answer = b""
                while data := await stream.receive_some(_CHUNK):
                    answer += data
                return answer
        except OSError:
            return None
    return None


async def ask_all(paths: Sequence[str], command: str) -> list[bytes | None]:
    """Every worker's answer, in order."""
    answers: list[bytes | None] = [None] * len(paths)

    async def one(number: int, path: str) -> None:
        answers[number] = await ask(path, command)

    async with trio.open_nursery() as nursery:
        for number, path in enumerate(paths):
            nursery.start_soon(one, number, path)
    return answers


class Counters:
    """The node's counters: the living workers' newest, and what dead ones had counted, or living ones
    have evicted, so that no series goes backwards. Bounded itself."""

    def __init__(self) -> None:
        self._last: dict[tuple[int, int], StatsSnapshot] = {}  # by worker index and pid
        self._kept = StatsSnapshot()

    def take(self, alive: dict[tuple[int, int], bytes | None]) -> StatsSnapshot:
        """The sum, given what each living worker answered (None: its last word counts)."""
        for gone in self._last.keys() - alive.keys():
            self._kept = merge([self._kept, without_gauges(self._last.pop(gone))])
        for worker, answer in alive.items():
            if answer:
                try:
                    newest = decode_snapshot(answer)
                except msgspec.DecodeError:
                    continue
                before = self._last.get(worker)
                if before is not None and newest.process.series_overflows:
                    self._kept = merge([self._kept, evicted_since(before, newest)])
                self._last[worker] = newest
        living = merge(self._last.values())
        self._kept = bounded(self._kept, living, MOST_KEPT)
        return merge([self._kept, living])
