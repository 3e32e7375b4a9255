"""When to publish: a lone change at once, many after a short quiet time, bounded so that a storm cannot
starve publication."""

from __future__ import annotations

from dataclasses import dataclass

QUIET_S = 0.05
LONGEST_S = 0.5


@dataclass(slots=True)
class Debounce:
    """Times in seconds of any one clock.

    A change after a quiet time is published at once, those that follow it closely are merged: an
    endpoint that moves is not kept waiting for others that never come.
    """

    quiet_s: float = QUIET_S
    longest_s: float = LONGEST_S
    _first: float | None = None
    _last: float = float("-inf")
    _is_lone: bool = False

    def changed(self, now: float) -> None:
        """Something is to be published."""
        if self._first is None:
            self._first = now
            self._is_lone = now - self._last >= self.quiet_s
        self._last = now

    def due(self) -> float | None:
        """When to publish; None while there is nothing to."""
        if self._first is None:
            return None
        if self._is_lone:
            return self._first
        return min(self._last + self.quiet_s, self._first + self.longest_s)

    def published(self) -> None:
        """All that was to be published is."""
        self._first = None
