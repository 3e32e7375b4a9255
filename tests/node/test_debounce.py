"""When a publication is due."""

from __future__ import annotations

from egressd.node.debounce import Debounce


def published_once(at: float) -> Debounce:
    debounce = Debounce()
    debounce.changed(at)
    debounce.published()
    return debounce


def test_nothing_is_due_without_a_change() -> None:
    assert Debounce().due() is None
    assert published_once(10.0).due() is None


def test_a_lone_change_is_due_at_once() -> None:
    debounce = Debounce()
    debounce.changed(10.0)
    assert debounce.due() == 10.0
    debounce.published()
    debounce.changed(10.05)
    assert debounce.due() == 10.05


def test_a_change_right_after_another_is_due_after_a_quiet_time() -> None:
    debounce = published_once(10.0)
    debounce.changed(10.01)
    assert debounce.due() == 10.06
    debounce.changed(10.04)
    assert debounce.due() == 10.09


def test_a_storm_cannot_starve_publication() -> None:
    debounce = published_once(10.0)
    for step in range(1, 100):
        debounce.changed(10.0 + step * 0.04)
    assert debounce.due() == 10.54


def test_changes_that_go_on_after_a_publication_are_merged_again() -> None:
    debounce = published_once(10.0)
    debounce.changed(10.02)
    debounce.published()
    debounce.changed(10.04)
    assert debounce.due() == 10.09
