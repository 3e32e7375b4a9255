"""The retry budget: how many retries may be under way beside the requests. Pure.

Source: Istio `TrafficPolicy.retryBudget`, Envoy `CircuitBreakers.Thresholds.RetryBudget`; it replaces
`maxRetries`.
"""

from __future__ import annotations

from dataclasses import dataclass

_SLOTS = 10


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """Percent of the requests under way, and how many are allowed however few those are. With an
    interval, requests that began within it count as well."""

    percent: float = 20.0
    minimum: int = 3
    interval_s: float = 0.0


def most_retries(budget: RetryBudget, requests: int) -> int:
    """Retries that may be under way at a time beside `requests` of the same cluster."""
    return max(budget.minimum, int(requests * budget.percent / 100.0))


class RecentRequests:
    """How many requests began within the last interval, to a tenth of it."""

    __slots__ = ("_counts", "_slot", "_slot_s", "interval_s")

    def __init__(self, interval_s: float) -> None:
        self.interval_s = interval_s
        self._slot_s = interval_s / _SLOTS
        self._counts = [0] * _SLOTS
        self._slot = 0  # since the beginning of time

    def began(self, now: float) -> None:
        """One more."""
        self._advance(now)
        self._counts[self._slot % _SLOTS] += 1

    def total(self, now: float) -> int:
        self._advance(now)
        return sum(self._counts)

    def _advance(self, now: float) -> None:
        slot = int(now / self._slot_s)
        for passed in range(max(self._slot + 1, slot - _SLOTS + 1), slot + 1):
            self._counts[passed % _SLOTS] = 0
        self._slot = max(self._slot, slot)
