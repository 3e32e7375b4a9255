"""What is told of a trouble: when it begins, every minute while it lasts, and when it is over."""

from __future__ import annotations

REPEAT_S = 60.0


class Trouble:
    """One kind of trouble that may come a thousand times a second. Seconds of `time.monotonic`."""

    __slots__ = ("_last", "_since", "_told", "count")

    def __init__(self) -> None:
        self._since = 0.0
        self._told = 0.0
        self._last = 0.0
        self.count = 0  # since it began

    def happened(self, now: float) -> bool:
        """Once more. Whether this is to be told of."""
        self._last = now
        if not self.count:
            self._since = now
        self.count += 1
        if self.count > 1 and now - self._told < REPEAT_S:
            return False
        self._told = now
        return True

    def passed(self, now: float, quiet_s: float) -> float:
        """How long it lasted, seconds, when it is over (with this) for at least `quiet_s`; else 0."""
        if not self.count or now - self._last < quiet_s:
            return 0.0
        self.count = 0
        return max(self._last - self._since, 1e-9)
