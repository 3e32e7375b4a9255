"""When to publish: a short quiet time after a change, bounded so that a storm cannot starve it."""

from __future__ import annotations

from dataclasses import dataclass

QUIET_S = 0.05
LONGEST_S = 0.5


@dataclass(slots=True)
class Debounce:
    """Times in seconds of any one clock."""

    quiet_s: float = QUIET_S
    longest_s: float = LONGEST_S
    _first: float | None = None
    _last: float = 0.0

    def changed(self, now: float) -> None:
        """Something is to be published."""
        if self._first is None:
            self._first = now
        self._last = now

    def due(self) -> float | None:
        """When to publish; None while there is nothing to."""
        if self._first is None:
            return None
        return min(self._last + self.quiet_s, self._first + self.longest_s)

    def published(self) -> None:
        """All that was to be published is."""
        self._first = None
