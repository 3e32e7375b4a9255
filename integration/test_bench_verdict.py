"""The verdict of a benchmark comparison: no ratio is called that the rounds' spread exceeds."""

from __future__ import annotations

import pytest

from integration.bench.verdict import compare


def test_a_difference_larger_than_the_spread_is_called() -> None:
    found = compare([100, 101, 99, 100, 102], [110, 112, 108, 111, 112])
    assert found.is_resolved
    assert found.ratio == pytest.approx(1.1, abs=0.01)
    assert "more" in found.verdict


def test_a_difference_within_the_spread_is_not_called() -> None:
    found = compare([100, 120, 90, 105, 95], [101, 110, 99, 100, 100])
    assert not found.is_resolved
    assert found.verdict.startswith("not resolved")


def test_drift_that_hits_both_alike_hides_no_difference() -> None:
    base = [50.0, 100.0, 75.0, 60.0, 200.0]
    found = compare(base, [1.05 * cost for cost in base])
    assert found.is_resolved
    assert found.ratio == pytest.approx(1.05)


def test_one_odd_round_of_many_decides_nothing() -> None:
    found = compare([100.0] * 9, [95.0] * 8 + [300.0])
    assert found.high == pytest.approx(0.95)
    assert "less" in found.verdict


def test_no_rounds_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one pair"):
        compare([], [])
