"""The retry budget: how many retries may be under way beside the requests. Pure.

Source: Istio `TrafficPolicy.retryBudget`, Envoy `CircuitBreakers.Thresholds.RetryBudget`; it replaces
`maxRetries`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryBudget:
    """Percent of the requests under way, and how many are allowed however few those are."""

    percent: float = 20.0
    minimum: int = 3


def most_retries(budget: RetryBudget, requests: int) -> int:
    """Retries that may be under way at a time beside `requests` of the same cluster."""
    return max(budget.minimum, int(requests * budget.percent / 100.0))
