"""Warm-up: a new endpoint takes its share little by little. Pure.

Source: Istio `WarmupConfiguration`, Envoy slow start.
"""

from __future__ import annotations

from dataclasses import dataclass

STEPS = 20
"""How often in a warm-up the weights are worked out anew."""


@dataclass(frozen=True, slots=True)
class Warmup:
    """Seconds, percent of the weight at the start, and the curve (1 = straight)."""

    duration_s: float
    minimum_percent: float = 10.0
    aggression: float = 1.0


def warm_share(warmup: Warmup, age_s: float) -> float:
    """The part of its weight, 0 to 1, that an endpoint of this age takes (Envoy:
    max(min_weight_percent, time_factor ^ (1 / aggression)))."""
    if age_s >= warmup.duration_s:
        return 1.0
    factor = max(age_s, 0.001) / warmup.duration_s
    return max(warmup.minimum_percent / 100.0, float(factor ** (1.0 / warmup.aggression)))
