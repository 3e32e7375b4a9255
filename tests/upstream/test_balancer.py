"""Balancers by their distribution, with seeded randomness."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egressd.upstream.balancer import (
    Lots,
    RoundRobin,
    choose_least_request,
    choose_random,
    reduce_weights,
)


@dataclass(eq=False)
class Target:
    name: str
    weight: int = 1
    active: int = 0
    current: int = 0


def targets(*weights: int) -> list[Target]:
    return [Target("abcdefghij"[i], weight) for i, weight in enumerate(weights)]


def shares(choices: list[Target]) -> dict[str, float]:
    return {name: n / len(choices) for name, n in Counter(t.name for t in choices).items()}


def test_random_follows_the_weights() -> None:
    among, rng = Lots(targets(1, 2, 5)), Random(1).random
    got = shares([choose_random(among, rng) for _ in range(8000)])
    assert got == pytest.approx({"a": 0.125, "b": 0.25, "c": 0.625}, abs=0.02)


@pytest.mark.parametrize("weights", [(1, 1), (1, 1, 1, 1), (3, 1), (1, 2, 5)])
def test_least_request_follows_the_weights_when_nobody_is_busy(weights: tuple[int, ...]) -> None:
    among, rng = Lots(targets(*weights)), Random(2).random
    got = shares([choose_least_request(among, rng) for _ in range(8000)])
    want = {"abcd"[i]: weight / sum(weights) for i, weight in enumerate(weights)}
    assert got == pytest.approx(want, abs=0.02)


def test_least_request_of_two_always_takes_the_less_busy() -> None:
    busy, free = targets(1, 1)
    busy.active, rng = 3, Random(3).random
    assert {choose_least_request(Lots([busy, free]), rng) for _ in range(100)} == {free}


def test_least_request_never_takes_the_busiest_of_three() -> None:
    busiest, *others = targets(1, 1, 1)
    busiest.active, rng = 9, Random(4).random
    chosen = {choose_least_request(Lots([busiest, *others]), rng) for _ in range(300)}
    assert chosen == set(others)


def test_least_request_compares_requests_per_weight() -> None:
    heavy, light = targets(3, 1)
    heavy.active, light.active = 5, 2  # 5/3 < 2/1
    rng = Random(5).random
    assert {choose_least_request(Lots([heavy, light]), rng) for _ in range(100)} == {heavy}


def test_least_request_with_requests_that_stay_fills_by_weight() -> None:
    among, rng = Lots(targets(3, 1)), Random(6).random
    for _ in range(400):
        choose_least_request(among, rng).active += 1
    assert [t.active for t in among.endpoints] == pytest.approx([300, 100], abs=2)


def test_one_endpoint_is_chosen_whatever_its_weight() -> None:
    among = Lots(targets(4))
    for choose in (choose_least_request, choose_random, RoundRobin()):
        assert choose(among, lambda: 0.999).name == "a"


def test_round_robin_takes_each_in_turn() -> None:
    among, choose = Lots(targets(1, 1, 1)), RoundRobin()
    names = "".join(choose(among, lambda: 0.0).name for _ in range(7))
    assert names in "abcabcabcabc"


def test_round_robin_starts_at_random() -> None:
    among, rng = Lots(targets(1, 1, 1)), Random(7).random
    assert {RoundRobin()(among, rng).name for _ in range(50)} == {"a", "b", "c"}


def test_weighted_round_robin_is_smooth() -> None:
    among, choose = Lots(targets(5, 1, 1)), RoundRobin()
    assert "".join(choose(among, lambda: 0.0).name for _ in range(7)) == "aabacaa"


@given(st.lists(st.integers(1, 6), min_size=1, max_size=6), st.integers(1, 4))
@settings(max_examples=50, deadline=None)
def test_weighted_round_robin_is_exact_over_whole_rounds(weights: list[int], rounds: int) -> None:
    among, choose = Lots(targets(*weights)), RoundRobin()
    chosen = Counter(choose(among, lambda: 0.0).name for _ in range(among.total * rounds))
    assert [chosen["abcdefghij"[i]] for i in range(len(weights))] == [w * rounds for w in weights]


@given(
    st.lists(st.integers(1, 9), min_size=2, max_size=9),
    st.floats(0, 1, exclude_max=True),
    st.floats(0, 1, exclude_max=True),
)
@settings(max_examples=100, deadline=None)
def test_least_request_draws_two_different_ones(
    weights: list[int], first: float, second: float
) -> None:
    endpoints = targets(*weights)
    among = Lots(endpoints)
    drawn = choose_least_request(among, iter((first, second)).__next__)
    drawn.active = 10**6  # the same draws again: the busy one loses to another
    assert choose_least_request(among, iter((first, second)).__next__) is not drawn


@pytest.mark.parametrize(
    ("weights", "reduced"),
    [
        ([100, 100], [1, 1]),
        ([50, 100], [1, 2]),
        ([0, 3], [1, 3]),
        ([7], [1]),
        ([1_000_000, 1], [4096, 1]),
        ([1] * 5000, [1] * 5000),
    ],
)
def test_weights_are_reduced(weights: list[int], reduced: list[int]) -> None:
    assert reduce_weights(weights) == reduced
