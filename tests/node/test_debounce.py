"""When a publication is due."""

from __future__ import annotations

from egressd.node.debounce import Debounce


def test_nothing_is_due_without_a_change() -> None:
    assert Debounce().due() is None


def test_a_change_is_due_after_a_quiet_time() -> None:
    debounce = Debounce()
    debounce.changed(10.0)
    assert debounce.due() == 10.05
    debounce.changed(10.04)
    assert debounce.due() == 10.09


def test_a_storm_cannot_starve_publication() -> None:
    debounce = Debounce()
    for step in range(100):
        debounce.changed(10.0 + step * 0.04)
    assert debounce.due() == 10.5


def test_after_publication_the_next_change_starts_anew() -> None:
    debounce = Debounce()
    debounce.changed(10.0)
    debounce.published()
    assert debounce.due() is None
    debounce.changed(20.0)
    assert debounce.due() == 20.05
