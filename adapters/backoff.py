"""How long to wait after failures. Pure."""

from __future__ import annotations

BASE_S = 0.1


def backoff_s(failures: int, ceiling_s: float, chance: float) -> float:
    """Seconds to wait after the n-th failure in a row (from 0): full jitter, doubling to the ceiling.

    `chance` is a random number in [0, 1).
    """
    return chance * min(ceiling_s, BASE_S * 2.0 ** min(failures, 32))
