"""How often a trouble is told of."""

from __future__ import annotations

from egressd.telemetry.trouble import REPEAT_S, Trouble


def test_a_trouble_begins_anew_after_it_was_over() -> None:
    trouble = Trouble()
    assert trouble.happened(1.0)
    assert not trouble.happened(2.0)
    assert not trouble.passed(3.0, 10.0)
    assert trouble.passed(20.0, 10.0) == 1.0
    assert not trouble.passed(30.0, 10.0)
    assert trouble.happened(21.0)
    assert trouble.happened(21.0 + REPEAT_S)
