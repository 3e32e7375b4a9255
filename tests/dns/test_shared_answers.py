"""What processes know of names, in memory that outlives them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egressd.dns import shared_answers
from egressd.dns.held import Held, Part
from egressd.dns.shared_answers import SharedAnswers, create
from egressd.dns.watch import Question

X = Question("x.test")


def held(*records: str, until: float = 100.0, **fields: float) -> Held:
    part = Part(records, until)
    return Held((part, None), refresh_at=until - 1, **fields)  # type: ignore[arg-type]


@pytest.fixture
def fd() -> Iterator[int]:
    made = create()
    yield made
    os.close(made)


class Clock:
    def __init__(self) -> None:
        self.now = 10.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


def worker(fd: int, index: int, clock: Clock, epoch_s: float = 0.0) -> SharedAnswers:
    return SharedAnswers(fd, index, 4, now=clock, epoch_s=epoch_s)


def test_what_one_tells_all_know(fd: int) -> None:
    clock = Clock()
    told: list[int] = []
    one = SharedAnswers(fd, 0, 4, lambda: told.append(1), clock)
    other = worker(fd, 1, clock)
    one.tell(X, held("10.0.0.1", heard_at=9.0))
    assert told == [1]
    assert other.catch_up() == [(X, held("10.0.0.1", heard_at=9.0))]
    assert other.catch_up() == []
    found = other.find(X)
    assert found is not None
    assert found.held.records == ("10.0.0.1",)
    assert one.catch_up() == []


def test_a_question_is_found_before_the_notice_of_it_and_the_notice_is_not_lost(fd: int) -> None:
    clock = Clock()
    one, other = worker(fd, 0, clock), worker(fd, 1, clock)
    one.tell(X, held("10.0.0.1"))
    assert other.find(X) is not None
    assert [question for question, _ in other.catch_up()] == [X]


def test_times_are_those_of_the_readers_own_clock(fd: int) -> None:
    one = worker(fd, 0, Clock(), epoch_s=1000.0)
    other = worker(fd, 1, Clock(), epoch_s=400.0)
    one.tell(X, held("10.0.0.1", until=100.0, heard_at=50.0, gone_since=7.0))
    ((_, found),) = other.catch_up()
    assert found == Held(
        (Part(("10.0.0.1",), 700.0), None), refresh_at=699.0, gone_since=607.0, heard_at=650.0
    )


def test_a_successor_knows_what_a_killed_worker_knew_and_goes_on_behind_it(fd: int) -> None:
    clock = Clock()
    worker(fd, 0, clock).tell(X, held("10.0.0.1"))
    other = worker(fd, 1, clock)
    successor = worker(fd, 0, clock)
    assert successor.find(X) is not None
    assert successor.catch_up() == []
    successor.tell(Question("y.test"), held("10.0.0.2"))
    assert [question.name for question, _ in other.catch_up()] == ["y.test"]
    assert len(worker(fd, 2, clock)) == 2


def test_the_latest_word_counts_whoever_says_it(fd: int) -> None:
    clock = Clock()
    one, other = worker(fd, 0, clock), worker(fd, 1, clock)
    for each, address in ((one, "10.0.0.1"), (other, "10.0.0.2"), (one, "10.0.0.3")):
        each.tell(X, held(address))
    for index in range(4):
        found = worker(fd, index, clock).find(X)
        assert found is not None
        assert found.held.records == ("10.0.0.3",)


def test_a_full_bank_is_turned_and_the_latest_is_kept(
    fd: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_answers, "_BANK", 4096)
    clock = Clock()
    one, other = worker(fd, 0, clock), worker(fd, 1, clock)
    for number in range(500):
        one.tell(Question(f"n{number}.test"), held(f"10.0.{number // 250}.{number % 250}"))
        if number % 7 == 0:  # a reader that comes from time to time
            other.catch_up()
    other.catch_up()
    late = worker(fd, 2, clock)
    for each in (other, late):
        found = each.find(Question("n499.test"))
        assert found is not None
        assert found.held.records == ("10.0.1.249",)
    assert 10 < len(late) < 60  # bounded
    assert len(other) == 500


def test_what_is_known_is_bounded(fd: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shared_answers, "_MOST_KNOWN", 10)
    clock = Clock()
    one, other = worker(fd, 0, clock), worker(fd, 1, clock)
    for number in range(30):
        one.tell(Question(f"n{number}"), held("10.0.0.1"))
    other.catch_up()
    assert len(one) == len(other) == 10
    assert other.find(Question("n29")) is not None
    one.tell(Question("big"), held(*(f"10.0.{n // 250}.{n % 250}" for n in range(9000))))
    assert other.catch_up() == []  # too long for others, and no harm


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(0, 400), garbage=st.binary(min_size=1, max_size=40))
def test_a_writer_that_died_half_way_harms_nobody(cut: int, garbage: bytes) -> None:
    """Bytes behind the head, or over what was written: others go on, a successor writes on."""
    fd = create()
    try:
        clock = Clock()
        one, other = worker(fd, 0, clock), worker(fd, 1, clock)
        one.tell(X, held("10.0.0.1"))
        os.pwrite(fd, garbage, shared_answers._BANK_AT + cut)
        os.pwrite(fd, garbage, shared_answers._BANK_AT + shared_answers._BANK + cut)
        other.catch_up()
        successor = worker(fd, 0, clock)
        successor.tell(X, held("10.0.0.9"))
        other.catch_up()
        found = other.find(X)
        assert found is not None
        assert found.held.records == ("10.0.0.9",)
        other.tell(Question("y"), held("10.0.0.2"))
        assert successor.catch_up()[-1][0] == Question("y")
    finally:
        os.close(fd)


def test_a_head_that_does_not_fit_is_nothing_and_is_written_anew(fd: int) -> None:
    clock = Clock()
    worker(fd, 0, clock).tell(X, held("10.0.0.1"))
    os.pwrite(fd, b"\xff" * 20, 0)
    other = worker(fd, 1, clock)
    assert other.find(X) is None
    worker(fd, 0, clock).tell(X, held("10.0.0.2"))
    assert [found.records for _, found in other.catch_up()] == [("10.0.0.2",)]
