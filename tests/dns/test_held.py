"""What answers and failures make of what is held of a name."""

from __future__ import annotations

from egressd.dns.answer import Answer
from egressd.dns.held import MAX_NEGATIVE_S, Bounds, Held, Part, next_state

BOUNDS = Bounds(least_s=1.0, most_s=300.0, stale_s=1000.0, gone_s=100.0)
NEW = Held((None, None))
V4 = Answer(("10.0.0.1",), 60.0)
NONE = Answer((), 30.0, "nodata")
GONE = Answer((), 30.0, "nxdomain")
FAILED = Answer(outcome="timeout", reason="no answer from ns")


def state(held: Held, *answers: Answer, now: float = 0.0, jitter: float = 0.999999) -> Held:
    return next_state(held, answers, now, jitter, BOUNDS)


def refresh(held: Held, *answers: Answer, jitter: float = 0.999999) -> float:
    return round(state(held, *answers, jitter=jitter).refresh_at, 2)


def test_an_answer_is_used_for_its_ttl() -> None:
    held = state(NEW, V4, NONE)
    assert held.records == ("10.0.0.1",)
    assert round(held.refresh_at, 2) == 60.0


def test_both_families_are_held_and_the_lesser_ttl_counts() -> None:
    held = state(NEW, V4, Answer(("::1",), 20.0))
    assert held.records == ("10.0.0.1", "::1")
    assert round(held.refresh_at, 2) == 20.0


def test_ttls_are_bounded_both_ways() -> None:
    assert refresh(NEW, Answer(("10.0.0.1",), 0.0), NONE) == 1.0
    assert refresh(NEW, Answer(("10.0.0.1",), 9e9), NONE) == 300.0


def test_a_name_without_records_is_asked_again_within_a_minute() -> None:
    assert refresh(NEW, NONE, NONE) == 30.0
    assert refresh(NEW, Answer((), 9e9, "nxdomain"), NONE) == 30.0
    assert refresh(NEW, *[Answer((), 9e9, "nxdomain")] * 2) == MAX_NEGATIVE_S


def test_renewals_are_spread_over_the_last_tenth_of_the_ttl() -> None:
    assert refresh(NEW, V4, NONE, jitter=0.0) == 54.0
    assert refresh(NEW, V4, NONE, jitter=0.5) == 57.0


def test_a_failure_keeps_the_last_answer_and_asks_again_with_back_off() -> None:
    good = state(NEW, V4, NONE)
    once = state(good, FAILED, FAILED, now=60.0)
    twice = state(once, FAILED, FAILED, now=61.0)
    assert once.records == twice.records == ("10.0.0.1",)
    assert [round(one.refresh_at, 2) for one in (once, twice)] == [61.0, 63.0]
    assert twice.error == "no answer from ns"
    late = state(Held(good.parts, 90), FAILED, FAILED, now=100.0)
    assert round(late.refresh_at, 2) == 130.0


def test_stale_records_serve_until_their_limit() -> None:
    good = state(NEW, V4, NONE)
    assert state(good, FAILED, FAILED, now=1059.0).records == ("10.0.0.1",)
    ended = state(good, FAILED, FAILED, now=1061.0)
    assert ended.records == ()
    assert ended.error == "no answer from ns"
    assert state(ended, V4, NONE, now=1062.0).records == ("10.0.0.1",)


def test_one_family_that_fails_keeps_its_own_records() -> None:
    good = state(NEW, V4, Answer(("::1",), 60.0))
    held = state(good, Answer(("10.0.0.2",), 60.0), FAILED, now=60.0)
    assert held.records == ("10.0.0.2", "::1")
    assert held.error


def test_a_family_that_never_answers_is_no_failure_of_the_name() -> None:
    held = state(state(NEW, V4, FAILED), V4, FAILED)
    assert (held.records, held.error, held.failures) == (("10.0.0.1",), "", 0)


def test_a_family_may_go_at_once_while_the_other_stays() -> None:
    good = state(NEW, V4, Answer(("::1",), 60.0))
    assert state(good, V4, NONE, now=60.0).records == ("10.0.0.1",)


def test_that_a_name_is_gone_is_believed_when_servers_have_said_so_for_a_while() -> None:
    good = state(NEW, V4, NONE)
    first = state(good, GONE, GONE, now=60.0)
    assert first.records == ("10.0.0.1",)
    assert first.error.startswith("nxdomain")
    still = state(first, GONE, GONE, now=159.0)
    assert still.records == ("10.0.0.1",)
    believed = state(still, GONE, GONE, now=161.0)
    assert (believed.records, believed.error) == ((), "")


def test_a_name_that_comes_back_is_well_again() -> None:
    first = state(state(NEW, V4, NONE), GONE, GONE, now=60.0)
    back = state(first, V4, NONE, now=61.0)
    assert (back.error, back.failures, back.gone_since) == ("", 0, 0.0)


def test_a_failure_in_between_starts_the_wait_anew() -> None:
    first = state(state(NEW, V4, NONE), GONE, GONE, now=60.0)
    failed = state(first, FAILED, FAILED, now=100.0)
    assert state(failed, GONE, GONE, now=170.0).records == ("10.0.0.1",)


def test_a_name_without_records_from_the_start_is_known_to_have_none() -> None:
    held = state(NEW, NONE, NONE)
    assert (held.is_answered, held.records, held.error) == (True, (), "")
    assert held.lacks == NONE.outcome


def test_a_first_failure_is_asked_again_soon_and_is_no_answer() -> None:
    held = state(NEW, FAILED, FAILED)
    assert (held.is_answered, held.is_asked) == (False, True)
    assert round(held.refresh_at, 2) == 1.0


def test_a_part_is_good_until_its_ttl_ends() -> None:
    assert state(NEW, V4, NONE, now=5.0).parts == (Part(("10.0.0.1",), 65.0), Part((), 35.0))
