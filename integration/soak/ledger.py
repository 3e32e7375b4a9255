"""What became of each request, and what a disturbance may cost."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import NamedTuple

_KEPT = 40


class Attempt(NamedTuple):
    """One request, as an excuse looks at it. Times are monotonic seconds."""

    kind: str
    host: str
    local_port: int
    began: float
    ended: float


@dataclass(slots=True)
class Excuse:
    """What a disturbance may cost: requests to `hosts`, or on connections from `ports`, which touch
    the time from `began` to `ended`."""

    reason: str
    began: float
    ended: float
    ports: frozenset[int] = frozenset()
    hosts: frozenset[str] = frozenset()

    def covers(self, attempt: Attempt) -> bool:
        if attempt.ended < self.began or attempt.began > self.ended:
            return False
        return attempt.local_port in self.ports or attempt.host in self.hosts


@dataclass(slots=True)
class Ledger:
    """Counts by kind of client. `crossed` and `lost` hold the first cases in words."""

    checked: Counter[str] = field(default_factory=Counter)
    vanished: Counter[str] = field(default_factory=Counter)
    disturbances: Counter[str] = field(default_factory=Counter)
    excused: Counter[str] = field(default_factory=Counter)
    crossed_count: int = 0
    crossed: list[str] = field(default_factory=list)
    pending: list[tuple[Attempt, str]] = field(default_factory=list)
    excuses: list[Excuse] = field(default_factory=list)
    begun: float = field(default_factory=time.monotonic)
    say: Callable[[str], None] = print

    def cross(self, attempt: Attempt, what: str) -> None:
        """An answer, or a part of one, that belongs to somebody else."""
        self.crossed_count += 1
        words = f"{self._at(attempt)} {what}"
        self.say(f"CROSSED {words}")
        if len(self.crossed) < _KEPT:
            self.crossed.append(words)

    def lose(self, attempt: Attempt, what: str) -> None:
        """A request without its answer. Whether it is excused is decided at the end: the excuse may
        be written after the loss."""
        self.pending.append((attempt, what))

    def unexcused(self) -> list[str]:
        """Losses that nothing excuses; counts the others by reason. Called once, at the end."""
        found = []
        for attempt, what in self.pending:
            excuse = next((one for one in self.excuses if one.covers(attempt)), None)
            if excuse is None:
                found.append(f"{self._at(attempt)} {what}")
            else:
                self.excused[excuse.reason] += 1
        return found

    def _at(self, attempt: Attempt) -> str:
        began, ended = attempt.began - self.begun, attempt.ended - self.begun
        return f"{began:.2f}-{ended:.2f} s {attempt.kind} {attempt.host} :{attempt.local_port}"
