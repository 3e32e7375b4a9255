"""What is told of a state that lasts and repeats."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressd.telemetry.episode import CALM_S, Episode, Told, causes_of

REFUSED = "http://10.0.0.1:8500/v1/catalog/services: connection refused"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (REFUSED, "http://10.0.0.1:8500/v1/health/state/critical: connection refused"),
        ("no answer within 10 s", "no answer within 2.5 s"),
        ("read timed out after 3.0s", "read timed out after 12.1s"),
        (
            "ACL 0a1b2c3d-0000-1111-2222-333344445555 unknown",
            "ACL ffffffff-0000-1111-2222-333344445555 unknown",
        ),
        ("index 123456 is gone", "index 223457 is gone"),
        ("a: refused; b: refused", "b: refused; a: refused"),
        ("https://a:1/x/y: 403 x; https://b:1/x: 500", "https://a:1/z: 403 x; https://b:1/: 500"),
    ],
)
def test_the_same_cause_in_other_words(one: str, other: str) -> None:
    assert causes_of(one) == causes_of(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (REFUSED, "http://10.0.0.2:8500/v1/catalog/services: connection refused"),
        (REFUSED, "http://10.0.0.1:8501/v1/catalog/services: connection refused"),
        (REFUSED, "http://10.0.0.1:8500/v1/catalog/services: 403 Permission denied"),
        ("10.0.0.1:53: refused", "10.0.0.11:53: refused"),
        ("a: 500", "a: 403"),
        ("/etc/a.pem: no such file", "/etc/b.pem: no such file"),
    ],
)
def test_another_cause(one: str, other: str) -> None:
    assert causes_of(one) != causes_of(other)


def test_a_failure_is_told_once_and_its_end_once() -> None:
    it = Episode()
    paths = ("catalog/services", "health/state/critical", "health/state/warning")
    told = [it.failed(f"http://a:1/v1/{paths[n % 3]}: refused", n / 5) for n in range(500)]
    assert told.count(Told.NEWS) == 1 == 500 - told.count(Told.NOTHING)
    assert [it.well(101.0), it.well(102.0), it.well(300.0)].count(Told.NEWS) == 1


def test_each_further_cause_is_told_once() -> None:
    it = Episode()
    reasons = ["a: refused", "a: refused; b: refused", "a: refused", "a: 403", "b: refused"]
    told = [it.failed(reason, n * 1.0) for n, reason in enumerate(reasons * 3)]
    assert [n for n, one in enumerate(told) if one is Told.NEWS] == [0, 1, 3]


def test_reasons_without_end_are_told_up_to_a_bound() -> None:
    it = Episode()
    told = [it.failed(f"word {chr(97 + n % 26) * (n // 26 + 1)}", n * 1.0) for n in range(500)]
    assert told.count(Told.NEWS) < 10


def test_what_comes_and_goes_is_told_once_until_it_stays() -> None:
    it = Episode()
    said = []
    for n in range(200):  # a turn every 4 s
        said += [it.failed("refused", n * 4.0), it.well(n * 4.0 + 2.0)]
    assert len([one for one in said if one is not Told.NOTHING]) <= 8
    assert said.count(Told.TURNS) == 1
    assert it.well(800.0 + CALM_S) is Told.NEWS
    assert it.well(900.0 + CALM_S) is Told.NOTHING
    assert it.failed("refused", 1000.0) is Told.NEWS


def test_another_cause_is_told_whatever_came_and_went() -> None:
    it = Episode()
    for n in range(10):
        it.failed("refused", n * 1.0)
        it.well(n * 1.0 + 0.5)
    assert it.failed("403", 11.0) is Told.NEWS
    assert it.well(12.0) is Told.NEWS


def test_what_came_and_went_and_then_stays_away_is_told() -> None:
    it = Episode()
    for n in range(10):
        it.failed("refused", n * 4.0)
        it.well(n * 4.0 + 2.0)
    last = [it.failed("refused", 40.0 + n) for n in range(100)]
    assert last.count(Told.NEWS) == 1


@given(st.lists(st.tuples(st.booleans(), st.sampled_from("abc"), st.floats(0.01, 20.0))))
def test_no_history_makes_many_lines(events: list[tuple[bool, str, float]]) -> None:
    """In no minute more than the turns, the causes of each, and the two lines of a change."""
    it, now, told_at = Episode(), 0.0, list[float]()
    for is_bad, reason, pause in events:
        now += pause
        told = it.failed(reason, now) if is_bad else it.well(now)
        if told is not Told.NOTHING:
            told_at.append(now)
        assert len([at for at in told_at if now - at < CALM_S]) <= 2 * 3 * 4


@given(st.lists(st.tuples(st.booleans(), st.floats(0.01, 20.0)), min_size=1))
def test_the_last_word_is_true_once_a_state_has_stayed(events: list[tuple[bool, float]]) -> None:
    it, now, last = Episode(), 0.0, False
    for is_bad, pause in [*events, (events[-1][0], CALM_S), (events[-1][0], CALM_S)]:
        now += pause
        told = it.failed("a", now) if is_bad else it.well(now)
        if told is not Told.NOTHING:
            last = is_bad
    assert last is events[-1][0]
