"""Locality: who comes first, who gets which share, and what an unhealthy level gives away."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressd.upstream.locality import (
    LocalityPolicy,
    matches,
    priorities,
    priority_loads,
    share_loads,
    shares,
)
from egressd.upstream.spec import EndpointSpec, Locality
from egressd.upstream.warmup import Warmup, warm_share

HERE = ("eu", "a", "1")


def at(*places: str, **labels: str) -> list[EndpointSpec]:
    found = []
    for number, place in enumerate(places):
        parts = (*place.split("/"), "", "")[:3]
        found.append(
            EndpointSpec(
                f"10.0.0.{number}", 80, locality=Locality(*parts), labels=tuple(labels.items())
            )
        )
    return found


# (endpoints, failover region) -> priorities by index. Istio applyLocalityFailover.
PLACES = [
    (["eu/a/1", "eu/a/2", "eu/b/1", "us/a/1"], "", [[0], [1], [2], [3]]),
    (["us/a", "eu/b/1"], "", [[1], [0]]),  # empty levels fall away
    (["us/a", "ap/a", "eu/a/1"], "us", [[2], [0], [1]]),
    (["us/a", "ap/a", "eu/a/1"], "ap", [[2], [1], [0]]),
    (["us/a", "us/b", "us"], "", [[0, 1, 2]]),
    (["", "eu/a/1"], "", [[1], [0]]),
]


@pytest.mark.parametrize(("places", "failover", "expected"), PLACES)
def test_the_nearest_come_first(
    places: list[str], failover: str, expected: list[list[int]]
) -> None:
    assert priorities(LocalityPolicy(HERE, failover_to=failover), at(*places)) == expected


def labelled(*labels: str) -> list[EndpointSpec]:
    return [
        EndpointSpec(
            f"10.0.0.{n}", 80,
            labels=tuple(tuple(pair.split("=")) for pair in text.split(",") if pair),  # type: ignore[misc]
        )
        for n, text in enumerate(labels)
    ]  # fmt: skip


# (failoverPriority, endpoint labels) -> priorities; the node has rack=r1, app=web. Istio docs.
LABELS = [
    (("rack",), ["rack=r1", "rack=r2"], [[0], [1]]),
    (("rack", "app"), ["rack=r1,app=web", "rack=r1,app=x", "rack=r2,app=web"], [[0], [1], [2]]),
    (("rack=r2",), ["rack=r1", "rack=r2"], [[1], [0]]),
    (("nothing",), ["rack=r1", "rack=r2"], [[0, 1]]),
]


@pytest.mark.parametrize(("order", "endpoints", "expected"), LABELS)
def test_labels_in_order_make_the_priorities(
    order: tuple[str, ...], endpoints: list[str], expected: list[list[int]]
) -> None:
    policy = LocalityPolicy(HERE, labels=(("rack", "r1"), ("app", "web")), failover_priority=order)
    assert priorities(policy, labelled(*endpoints)) == expected


def test_a_failover_priority_may_name_the_region() -> None:
    policy = LocalityPolicy(HERE, failover_priority=("topology.kubernetes.io/region",))
    assert priorities(policy, at("us/a", "eu/b")) == [[1], [0]]


@pytest.mark.parametrize(
    ("pattern", "place", "covers"),
    [
        ("*", "eu/a/1", True), ("eu/*", "eu/a/1", True), ("eu/*", "us/a/1", False),
        ("eu/a/*", "eu/a/1", True), ("eu/a/*", "eu/b/1", False), ("eu", "eu/a/1", True),
        ("eu/a/1", "eu/a/1", True), ("eu/a/1", "eu/a/2", False), ("eu/a", "eu/b", False),
    ],
)  # fmt: skip
def test_locality_patterns_are_istios(pattern: str, place: str, covers: bool) -> None:
    assert matches(pattern, (*place.split("/"), "", "")[:3]) is covers  # type: ignore[arg-type]


def test_a_distribution_gives_each_locality_its_share_and_others_nothing() -> None:
    policy = LocalityPolicy(HERE, distribute=(("eu/a/*", 80), ("eu/*", 20)))
    levels = shares(policy, at("eu/a/1", "eu/b/1", "us/a", "eu/a/2"))
    assert [(level.members, level.weight) for level in levels] == [((0, 3), 80), ((1,), 20)]


# (healthy, all) of each priority -> loads. Envoy's own documentation of priority levels.
LOADS = [
    ([(100, 100), (100, 100)], [100, 0]),
    ([(72, 100), (72, 100)], [100, 0]),
    ([(71, 100), (71, 100)], [99, 1]),
    ([(50, 100), (50, 100)], [70, 30]),
    ([(0, 100), (100, 100)], [0, 100]),
    ([(25, 100), (25, 100)], [50, 50]),
    ([(5, 100), (65, 100)], [7, 93]),
    ([(0, 100), (0, 100)], [0, 0]),
    ([(0, 0), (1, 1)], [0, 100]),
]


@pytest.mark.parametrize(("health", "loads"), LOADS)
def test_a_level_gives_away_what_it_cannot_carry(
    health: list[tuple[int, int]], loads: list[float]
) -> None:
    assert priority_loads(health) == pytest.approx(loads, abs=1)


@given(st.lists(st.integers(0, 20).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n)))))
def test_priority_loads_sum_to_all_and_never_reach_a_dead_level(
    health: list[tuple[int, int]],
) -> None:
    loads = priority_loads(health)
    alive = any(healthy for healthy, _ in health)
    assert sum(loads) == pytest.approx(100.0 if alive else 0.0)
    assert all(load == 0.0 or healthy for load, (healthy, _) in zip(loads, health, strict=True))


@given(
    st.lists(
        st.tuples(st.integers(1, 100), st.integers(1, 20)).flatmap(
            lambda pair: st.tuples(st.just(pair[0]), st.integers(0, pair[1]), st.just(pair[1]))
        )
    )
)
def test_shares_sum_to_all_and_never_reach_a_dead_level(levels: list[tuple[int, int, int]]) -> None:
    loads = share_loads(levels)
    alive = any(healthy for _, healthy, _ in levels)
    assert sum(loads) == pytest.approx(100.0 if alive else 0.0)
    assert all(load == 0.0 or level[1] for load, level in zip(loads, levels, strict=True))


@pytest.mark.parametrize(
    ("age", "share"), [(0.0, 0.1), (5.0, 0.1), (30.0, 0.5), (60.0, 1.0), (90.0, 1.0)]
)
def test_a_warm_up_rises_in_a_straight_line_from_its_minimum(age: float, share: float) -> None:
    assert warm_share(Warmup(60.0), age) == pytest.approx(share)


def test_aggression_bends_the_line() -> None:
    assert warm_share(Warmup(60.0, aggression=2.0), 15.0) == pytest.approx(0.5)
