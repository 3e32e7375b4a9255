"""Deadlines of many fibers in one structure: a heap of distinct ticks, a set of fibers under each.

Rules of this file:
- a fiber is filed under at most one tick, which is never later than its deadline; moving a deadline
  later costs nothing, because the fiber is looked at when its tick comes up and filed anew then;
- a sweep touches what is due and nothing else, however many fibers wait for something far away;
- a far deadline is filed under a coarse tick, so that the number of ticks is bounded by time and not
  by the number of fibers, and under a fine one when it comes near. None fires early, none late.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Protocol

TICK_S = 0.005
"""Resolution of deadlines, seconds."""

_NEVER = float("inf")
_COARSE = 200
_FAR = 10 * _COARSE
"""Deadlines this many ticks away are filed by whole multiples of `_COARSE` ticks."""


class Timed(Protocol):
    """What has a deadline (monotonic seconds, infinite for none)."""

    deadline: float
    tick: int
    look_at: float

    def expire(self) -> None: ...


class DeadlineQueue:
    """Fibers by the tick at which their deadline is to be looked at."""

    __slots__ = ("_filed", "_now", "_ticks")

    def __init__(self) -> None:
        self._filed: dict[int, set[Timed]] = {}
        self._ticks: list[int] = []  # a heap; those without fibers any more are passed over
        self._now = 0  # the tick of the last sweep

    def __len__(self) -> int:
        return sum(map(len, self._filed.values()))

    @property
    def next_at(self) -> float:
        """When the next tick is due, infinite for none. Monotonic seconds."""
        ticks = self._ticks
        while ticks and not self._filed[ticks[0]]:
            del self._filed[heappop(ticks)]
        return ticks[0] * TICK_S if ticks else _NEVER

    def file(self, timed: Timed) -> bool:
        """File under a deadline that was set. Returns whether its tick is the first one now."""
        deadline = timed.deadline
        if deadline == _NEVER:
            return False
        tick = int(deadline / TICK_S) + 1
        filed_under = timed.tick
        if filed_under and filed_under <= tick:
            return False
        if tick - self._now > _FAR:
            tick -= tick % _COARSE
            if filed_under and filed_under <= tick:
                return False
        if filed_under:
            self.remove(timed)
        timed.tick = tick
        timed.look_at = tick * TICK_S
        fibers = self._filed.get(tick)
        if fibers is None:
            self._filed[tick] = {timed}
            heappush(self._ticks, tick)
            return self._ticks[0] == tick
        fibers.add(timed)
        return False

    def remove(self, timed: Timed) -> None:
        """Forget a fiber's deadline. The tick stays until it is due: so it is in the heap once."""
        self._filed[timed.tick].discard(timed)
        timed.tick = 0
        timed.look_at = _NEVER

    def due(self, now: float) -> list[Timed]:
        """Take out those whose deadline has passed; those that moved it are filed anew."""
        self._now = current = int(now / TICK_S)
        passed: list[Timed] = []
        ticks = self._ticks
        while ticks and ticks[0] <= current:
            for timed in self._filed.pop(heappop(ticks)):
                timed.tick = 0
                timed.look_at = _NEVER
                if timed.deadline <= now:
                    passed.append(timed)
                else:
                    self.file(timed)
        return passed
