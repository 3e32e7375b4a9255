"""How often a source that changes all the time is published."""

from __future__ import annotations

from adapters.pace import FIRST_S, LONGEST_S, Pace


def test_a_lone_change_waits_for_nobody_and_a_storm_is_taken_in_strides() -> None:
    pace = Pace()
    assert pace.pause_s(is_pressed=False) == FIRST_S
    assert [pace.pause_s(is_pressed=True) for _ in range(6)] == [
        0.02,
        0.04,
        0.08,
        LONGEST_S,
        LONGEST_S,
        LONGEST_S,
    ]
    assert pace.pause_s(is_pressed=False) == FIRST_S
