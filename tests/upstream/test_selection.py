"""Picking from a cluster: hash keys, locality levels, warm-up, budget, with the node's health."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressd.api.service_entry import Resolution
from egressd.routing.table import ClusterKey
from egressd.upstream.arrange import set_weights
from egressd.upstream.cluster import Cluster, Endpoint, Outcome
from egressd.upstream.hashing import hash64
from egressd.upstream.locality import LocalityPolicy
from egressd.upstream.node_state import NodeState, create
from egressd.upstream.retry_budget import RecentRequests, RetryBudget, most_retries
from egressd.upstream.spec import (
    ClusterSpec,
    EndpointSpec,
    HashPolicy,
    HashTable,
    Locality,
    OutlierPolicy,
)
from egressd.upstream.warmup import Warmup

EJECT_ONE = OutlierPolicy(consecutive_5xx=1, max_ejection_percent=100)


@pytest.fixture
def node() -> Iterator[NodeState]:
    fd = create()
    state = NodeState(fd)
    yield state
    state.close()
    os.close(fd)


def spec(*places: str, **more: object) -> ClusterSpec:
    endpoints = tuple(
        EndpointSpec(f"10.0.0.{n}", 80, locality=Locality(*(*place.split("/"), "", "")[:3]))
        for n, place in enumerate(places)
    )
    base = ClusterSpec(ClusterKey("a.example", "", 80), Resolution.STATIC, endpoints)
    return replace(base, **more)  # type: ignore[arg-type]


def counts(cluster: Cluster, now: float = 1.0, picks: int = 2000) -> Counter[str]:
    rng = random.Random(7).random
    found: Counter[str] = Counter()
    for _ in range(picks):
        endpoint = cluster.pick(now, rng)
        found[endpoint.id if endpoint else "none"] += 1
    return found


def test_a_key_keeps_its_endpoint_when_another_is_ejected(node: NodeState) -> None:
    hashed = spec(
        *[""] * 5, hash_policy=HashPolicy("header", b"x"), hash_table=HashTable("ring", 1024),
        outlier=EJECT_ONE,
    )  # fmt: skip
    cluster = Cluster(hashed, node)
    keys = [hash64(f"k{n}") for n in range(200)]
    before = {key: cluster.pick(1.0, random.random, (), key) for key in keys}
    lost = cluster.endpoints[2]
    assert cluster.report(lost, Outcome.SERVER_ERROR, 1.0)
    for key, owner in before.items():
        now = cluster.pick(1.0, random.random, (), key)
        assert now is not lost
        assert now is owner or owner is lost


def test_a_retry_of_a_hashed_request_goes_elsewhere(node: NodeState) -> None:
    cluster = Cluster(
        spec("", "", hash_policy=HashPolicy("header", b"x"), hash_table=HashTable("maglev", 101)),
        node,
    )
    first = cluster.pick(1.0, random.random, (), 5)
    assert cluster.pick(1.0, random.random, (first,), 5) is not first


def test_the_nearest_locality_takes_all_until_it_fails(node: NodeState) -> None:
    here = LocalityPolicy(("eu", "a", ""))
    cluster = Cluster(spec("eu/a", "eu/a", "us/a", locality=here, outlier=EJECT_ONE), node)
    assert set(counts(cluster)) == {"10.0.0.0:80", "10.0.0.1:80"}
    cluster.report(cluster.endpoints[0], Outcome.SERVER_ERROR, 1.0)
    found = counts(cluster)
    assert "10.0.0.0:80" not in found
    # One of two left: 1.4 x 50 % = 70 % stay (Envoy over-provisioning).
    assert found["10.0.0.1:80"] / 2000 == pytest.approx(0.7, abs=0.04)
    cluster.report(cluster.endpoints[1], Outcome.SERVER_ERROR, 1.0)
    assert set(counts(cluster)) == {"10.0.0.2:80"}


def test_a_distribution_shares_the_load_as_it_says(node: NodeState) -> None:
    policy = LocalityPolicy(("eu", "a", ""), distribute=(("eu/*", 80), ("us/*", 20)))
    found = counts(Cluster(spec("eu/a", "us/a", "us/b", "ap/a", locality=policy), node))
    assert found["10.0.0.0:80"] / 2000 == pytest.approx(0.8, abs=0.04)
    assert "10.0.0.3:80" not in found


def test_a_remote_retry_leaves_the_locality(node: NodeState) -> None:
    cluster = Cluster(spec("eu/a", "eu/a", "us/a"), node)
    tried = cluster.endpoints[0]
    for _ in range(20):
        chosen = cluster.pick(1.0, random.random, (tried,), None, True)
        assert chosen is cluster.endpoints[2]


def test_a_new_endpoint_warms_up_and_the_first_ones_do_not(node: NodeState) -> None:
    cluster = Cluster(spec("", "", warmup=Warmup(100.0)), node)
    assert not set_weights(cluster.endpoints, cluster.spec.warmup, 1.0)
    more = spec("", "", "", warmup=Warmup(100.0))
    cluster.update(more, more.endpoints)
    new: Endpoint = cluster.endpoints[2]
    assert new.joined > 0.0 and cluster.endpoints[0].joined == 0.0
    cold = counts(cluster, new.joined + 1.0)
    half = counts(cluster, new.joined + 50.0)
    warm = counts(cluster, new.joined + 101.0)
    assert cold[new.id] < half[new.id] < warm[new.id]
    assert warm[new.id] / 2000 == pytest.approx(1 / 3, abs=0.05)


@given(st.floats(0, 100), st.integers(0, 50), st.integers(0, 10_000))
def test_a_retry_budget_is_its_share_of_requests_or_its_minimum(
    percent: float, minimum: int, requests: int
) -> None:
    allowed = most_retries(RetryBudget(percent, minimum), requests)
    assert allowed >= minimum
    assert allowed <= max(minimum, requests * percent / 100)


def test_retries_past_the_budget_are_refused(node: NodeState) -> None:
    cluster = Cluster(spec("", retry_budget=RetryBudget(50.0, 1)), node)
    for _ in range(6):
        assert cluster.admission.admit_request()
    assert [cluster.admission.admit_retry() for _ in range(4)] == [True, True, True, False]
    cluster.admission.done_retry()
    assert cluster.admission.admit_retry()


def test_a_budget_with_an_interval_counts_what_began_within_it(node: NodeState) -> None:
    cluster = Cluster(spec("", retry_budget=RetryBudget(50.0, 1, interval_s=1000.0)), node)
    for _ in range(6):
        assert cluster.admission.admit_request()
        cluster.admission.done_request()
    assert [cluster.admission.admit_retry() for _ in range(4)] == [True, True, True, False]


@given(st.lists(st.floats(0.0, 100.0), max_size=30), st.floats(0.5, 20.0))
def test_recent_requests_are_those_of_the_interval_to_a_tenth(
    times: list[float], interval_s: float
) -> None:
    times.sort()
    recent = RecentRequests(interval_s)
    for time in times:
        recent.began(time)
    now = times[-1] if times else 0.0
    surely = sum(1 for time in times if time > now - 0.9 * interval_s)
    perhaps = sum(1 for time in times if time > now - interval_s - 1e-6)
    assert surely <= recent.total(now) <= perhaps
    assert recent.total(now + 1.1 * interval_s) == 0
