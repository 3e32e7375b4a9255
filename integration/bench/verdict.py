"""Whether two series of measurements differ: medians, an interval of the ratio, a verdict. Pure."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

_COVERAGE = 0.9
"""Least probability that the interval holds the true median ratio."""


class Comparison(NamedTuple):
    """Costs of base and tree, and tree : base with its interval (`low` to `high`)."""

    base: float
    base_spread: float  # half the distance between the quartiles, relative to the median
    tree: float
    tree_spread: float
    ratio: float
    low: float
    high: float

    @property
    def is_resolved(self) -> bool:
        """Whether the interval says on which side of 1 the ratio lies."""
        return self.low > 1.0 or self.high < 1.0

    @property
    def verdict(self) -> str:
        """In words; no ratio is claimed that the spread exceeds."""
        interval = f"{self.low:.3f} to {self.high:.3f}"
        if not self.is_resolved:
            return f"not resolved: {interval}"
        share = abs(self.ratio - 1) * 100
        return f"{share:.1f} % {'more' if self.ratio > 1 else 'less'}: {interval}"


def compare(base: Sequence[float], tree: Sequence[float]) -> Comparison:
    """Compare rounds that were measured in pairs: drift of the machine cancels out in their ratios.

    The interval is that of the sign test for the median of the pairs' ratios. Raises ValueError
    without a pair.
    """
    ratios = sorted(b / a for a, b in zip(base, tree, strict=True))
    if not ratios:
        raise ValueError("found no rounds, expected at least one pair")
    low, high = _interval(ratios)
    return Comparison(
        statistics.median(base), _spread(base),
        statistics.median(tree), _spread(tree),
        statistics.median(ratios), low, high,
    )  # fmt: skip


def _interval(ordered: Sequence[float]) -> tuple[float, float]:
    """The narrowest pair of order statistics around the median that reaches the coverage; the
    extremes where none does."""
    count = len(ordered)
    best = 0
    for cut in range((count + 1) // 2):
        outside = 2 * sum(math.comb(count, k) for k in range(cut + 1)) / 2**count
        if 1 - outside >= _COVERAGE:
            best = cut
    return ordered[best], ordered[count - 1 - best]


def _spread(values: Sequence[float]) -> float:
    if len(values) < 2:
        return 0.0
    quartiles = statistics.quantiles(values, n=4, method="inclusive")
    return (quartiles[2] - quartiles[0]) / 2 / statistics.median(values)
