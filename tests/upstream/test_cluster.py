"""A cluster as a worker uses it: choosing, ejection node-wide, admission."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from random import Random
from typing import Any

import pytest

from egressd.api.service_entry import Resolution
from egressd.routing.table import ClusterKey
from egressd.upstream import node_state
from egressd.upstream.admission import ReleasedTwice
from egressd.upstream.cluster import Cluster, Endpoint, Outcome
from egressd.upstream.node_state import USERS, NodeState
from egressd.upstream.spec import Balancer, ClusterSpec, EndpointSpec, OutlierPolicy, PoolLimits
from tests.upstream.processes import die, in_processes

NOW = 1000.0
ERROR = Outcome.SERVER_ERROR
FIVE = OutlierPolicy(max_ejection_percent=100)


@pytest.fixture
def fd() -> Iterator[int]:
    made = node_state.create()
    yield made
    os.close(made)


@pytest.fixture
def node(fd: int) -> Iterator[NodeState]:
    mapped = NodeState(fd, 0)
    yield mapped
    mapped.close()


def spec(*names: str, **more: Any) -> ClusterSpec:
    endpoints = tuple(EndpointSpec(f"10.0.0.{name}", 80) for name in names)
    key = ClusterKey("a.example", "", 80)
    return ClusterSpec(key=key, resolution=Resolution.STATIC, endpoints=endpoints, **more)


def picked(cluster: Cluster, now: float = NOW, times: int = 60) -> set[str]:
    rng = Random(1).random
    chosen = (cluster.pick(now, rng) for _ in range(times))
    return {endpoint.id if endpoint else "none" for endpoint in chosen}


def fail(cluster: Cluster, endpoint: Endpoint, times: int = 5, now: float = NOW) -> list[str]:
    reasons = (cluster.report(endpoint, ERROR, now) for _ in range(times))
    return [reason for reason in reasons if reason]


# -- choosing --------------------------------------------------------------------------------


@pytest.mark.parametrize("balancer", list(Balancer))
def test_every_balancer_uses_every_endpoint(node: NodeState, balancer: Balancer) -> None:
    assert len(picked(Cluster(spec("1", "2", "3", balancer=balancer), node))) == 3


def test_without_endpoints_there_is_nothing_to_pick(node: NodeState) -> None:
    cluster = Cluster(spec(), node)
    assert cluster.pick(NOW, Random(1).random) is None


@pytest.mark.parametrize("balancer", list(Balancer))
def test_a_retry_prefers_an_endpoint_not_tried_yet(node: NodeState, balancer: Balancer) -> None:
    cluster, rng = Cluster(spec("1", "2", "3", balancer=balancer), node), Random(1).random
    first, second, third = cluster.endpoints
    assert {cluster.pick(NOW, rng, (first, third)) for _ in range(30)} == {second}
    assert cluster.pick(NOW, rng, (first, second, third)) is not None
    assert len(picked(cluster)) == 3


def test_weights_of_the_configuration_are_followed(node: NodeState) -> None:
    endpoints = (EndpointSpec("10.0.0.1", 80, weight=300), EndpointSpec("10.0.0.2", 80, weight=100))
    cluster = Cluster(dataclasses.replace(spec(), endpoints=endpoints), node)
    rng = Random(1).random
    chosen = [cluster.pick(NOW, rng) for _ in range(4000)]
    assert chosen.count(cluster.endpoints[0]) / 4000 == pytest.approx(0.75, abs=0.03)


# -- membership ------------------------------------------------------------------------------


def test_endpoints_that_stay_keep_their_counters_and_those_that_go_drain(node: NodeState) -> None:
    cluster = Cluster(spec("1", "2", balancer=Balancer.RANDOM), node)
    stays, goes = cluster.endpoints
    stays.active = 7
    after = spec("2", "1", "3", balancer=Balancer.RANDOM)
    cluster.update(after, [after.endpoints[1], after.endpoints[2]])
    assert cluster.endpoints[0] is stays
    assert stays.active == 7
    assert (stays.draining, goes.draining) == (False, True)
    assert picked(cluster) == {"10.0.0.1:80", "10.0.0.3:80"}


def test_an_endpoint_that_stays_stays_ejected(node: NodeState) -> None:
    cluster = Cluster(spec("1", "2", outlier=FIVE), node)
    fail(cluster, cluster.endpoints[0])
    after = spec("1", "2", "3", outlier=FIVE)
    cluster.update(after, after.endpoints)
    assert picked(cluster) == {"10.0.0.2:80", "10.0.0.3:80"}


def test_the_same_address_twice_is_one_endpoint(node: NodeState) -> None:
    assert len(Cluster(spec("1", "1", "2"), node).endpoints) == 2


def test_a_new_balancer_takes_over(node: NodeState) -> None:
    cluster = Cluster(spec("1", "2", balancer=Balancer.RANDOM), node)
    after = spec("1", "2", balancer=Balancer.ROUND_ROBIN)
    cluster.update(after, after.endpoints)
    rng = Random(1).random
    a, b, c = (cluster.pick(NOW, rng) for _ in range(3))
    assert a is c
    assert a is not b


# -- outlier detection -----------------------------------------------------------------------


def test_an_ejected_endpoint_gets_nothing_until_its_time_is_over(node: NodeState) -> None:
    cluster = Cluster(spec("1", "2", outlier=FIVE), node)
    assert fail(cluster, cluster.endpoints[0]) == ["consecutive_5xx"]
    assert picked(cluster, NOW) == {"10.0.0.2:80"}
    assert picked(cluster, NOW + 29.999) == {"10.0.0.2:80"}
    assert picked(cluster, NOW + 30) == {"10.0.0.1:80", "10.0.0.2:80"}


def test_all_ejected_leaves_nothing_to_pick(node: NodeState) -> None:
    cluster = Cluster(spec("1", "2", outlier=FIVE), node)
    for endpoint in cluster.endpoints:
        fail(cluster, endpoint)
    assert picked(cluster) == {"none"}


def test_too_few_healthy_means_all_are_balanced_over(node: NodeState) -> None:
    policy = dataclasses.replace(FIVE, min_health_percent=50)
    cluster = Cluster(spec("1", "2", "3", outlier=policy), node)
    fail(cluster, cluster.endpoints[0])
    assert len(picked(cluster)) == 2
    fail(cluster, cluster.endpoints[1])
    assert len(picked(cluster)) == 3


def test_a_success_in_between_starts_anew(node: NodeState) -> None:
    cluster = Cluster(spec("1", "2", outlier=FIVE), node)
    endpoint = cluster.endpoints[0]
    assert fail(cluster, endpoint, 4) == []
    cluster.report_success(endpoint)
    assert fail(cluster, endpoint, 4) == []
    assert fail(cluster, endpoint, 1) == ["consecutive_5xx"]


def test_late_failures_of_an_ejected_endpoint_do_not_eject_it_again(node: NodeState) -> None:
    cluster = Cluster(spec("1", "2", outlier=FIVE), node)
    endpoint = cluster.endpoints[0]
    assert fail(cluster, endpoint, 60) == ["consecutive_5xx"]
    assert fail(cluster, endpoint, 4, NOW + 30) == []
    assert fail(cluster, endpoint, 1, NOW + 30) == ["consecutive_5xx"]


def test_without_outlier_detection_nothing_is_ejected(node: NodeState) -> None:
    cluster = Cluster(spec("1", "2"), node)
    assert fail(cluster, cluster.endpoints[0], 50) == []
    assert cluster.report_status(cluster.endpoints[0], 500, NOW) is None
    assert len(picked(cluster)) == 2


def test_outlier_detection_taken_away_brings_the_ejected_back(node: NodeState) -> None:
    cluster = Cluster(spec("1", "2", outlier=FIVE), node)
    fail(cluster, cluster.endpoints[0])
    assert len(picked(cluster)) == 1
    after = spec("1", "2")
    cluster.update(after, after.endpoints)
    assert len(picked(cluster)) == 2


def test_one_of_two_is_ejected_at_the_default_percentage_and_the_other_never(
    node: NodeState,
) -> None:
    cluster = Cluster(spec("1", "2", outlier=OutlierPolicy()), node)
    first, second = cluster.endpoints
    assert fail(cluster, first) == ["consecutive_5xx"]
    assert fail(cluster, second, 50) == []
    assert picked(cluster) == {second.id}


def test_statuses_count_as_the_policy_says(node: NodeState) -> None:
    cluster = Cluster(spec("1", "2", outlier=FIVE), node)
    endpoint = cluster.endpoints[0]
    statuses = [500, 503, 501, 500, 404, 500, 500, 500, 500, 500]
    reasons = [cluster.report_status(endpoint, status, NOW) for status in statuses]
    assert reasons == [None] * 9 + ["consecutive_5xx"]


def test_health_tells_ejections_and_errors(node: NodeState) -> None:
    cluster = Cluster(spec("1", "2", outlier=FIVE), node)
    ejected, failing = cluster.endpoints
    fail(cluster, ejected)
    fail(cluster, failing, 3)
    first, second = cluster.health(NOW + 10)
    assert (first.healthy, first.ejected_for_s, first.times_ejected) == (False, 20.0, 1)
    assert (second.healthy, second.consecutive_errors) == (True, 3)
    back = cluster.health(NOW + 40)[0]
    assert (back.healthy, back.times_ejected) == (True, 0)


def test_five_errors_seen_by_four_workers_eject_exactly_once(fd: int, node: NodeState) -> None:
    def see_errors(times: int) -> Any:
        def work(index: int) -> list[str]:
            cluster = Cluster(spec("1", "2", outlier=FIVE), NodeState(fd, index))
            return fail(cluster, cluster.endpoints[0], times)

        return work

    one_each = [in_processes(see_errors(1), [index])[0] for index in (0, 1, 2, 3)]
    assert one_each == [[], [], [], []]
    assert in_processes(see_errors(1), [0]) == [["consecutive_5xx"]]
    mine = Cluster(spec("1", "2", outlier=FIVE), node)
    assert picked(mine) == {"10.0.0.2:80"}


def test_workers_failing_at_once_eject_exactly_once(fd: int) -> None:
    def work(index: int) -> list[str]:
        cluster = Cluster(spec("1", "2", outlier=FIVE), NodeState(fd, index))
        return fail(cluster, cluster.endpoints[0], 50)

    results = in_processes(work, range(4))
    assert sum(len(reasons) for reasons in results) == 1


def test_the_percentage_holds_for_workers_that_eject_different_endpoints_at_once(fd: int) -> None:
    names = [str(n) for n in range(1, 9)]
    policy = OutlierPolicy(max_ejection_percent=25)

    def work(index: int) -> int:
        cluster = Cluster(spec(*names, outlier=policy), NodeState(fd, index))
        return sum(len(fail(cluster, endpoint)) for endpoint in cluster.endpoints[index::4])

    assert sum(in_processes(work, range(4))) == 2


def test_a_success_seen_by_another_worker_starts_anew(fd: int, node: NodeState) -> None:
    cluster = Cluster(spec("1", "2", outlier=FIVE), node)
    fail(cluster, cluster.endpoints[0], 4)

    def succeed(index: int) -> None:
        other = Cluster(spec("1", "2", outlier=FIVE), NodeState(fd, index))
        other.report_success(other.endpoints[0])

    in_processes(succeed, [1])
    assert fail(cluster, cluster.endpoints[0], 4) == []


def test_an_ejection_is_seen_by_a_worker_that_picked_before(fd: int, node: NodeState) -> None:
    cluster = Cluster(spec("1", "2", outlier=FIVE), node)
    assert len(picked(cluster)) == 2

    def eject_first(index: int) -> list[str]:
        other = Cluster(spec("1", "2", outlier=FIVE), NodeState(fd, index))
        return fail(other, other.endpoints[0])

    in_processes(eject_first, [1])
    assert picked(cluster) == {"10.0.0.2:80"}


def test_ejections_outlive_the_worker_that_decided_them(fd: int, node: NodeState) -> None:
    def eject_and_die(index: int) -> None:
        cluster = Cluster(spec("1", "2", outlier=FIVE), NodeState(fd, index))
        fail(cluster, cluster.endpoints[0])
        die()

    in_processes(eject_and_die, [1])
    assert picked(Cluster(spec("1", "2", outlier=FIVE), node)) == {"10.0.0.2:80"}


# -- circuit breakers ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "what"),
    [
        (PoolLimits(max_requests=2), "request"),
        (PoolLimits(max_pending_requests=2), "pending"),
        (PoolLimits(max_retries=2), "retry"),
    ],
)
def test_each_limit_admits_so_many_and_then_as_they_end(
    node: NodeState, limits: PoolLimits, what: str
) -> None:
    cluster = Cluster(spec("1", limits=limits), node)
    admission = cluster.admission
    admit, done = getattr(admission, f"admit_{what}"), getattr(admission, f"done_{what}")
    assert [admit() for _ in range(3)] == [True, True, False]
    done()
    assert [admit() for _ in range(2)] == [True, False]


def test_without_limits_all_is_admitted(node: NodeState) -> None:
    cluster = Cluster(spec("1"), node)
    assert all(cluster.admission.admit_request() for _ in range(5000))


def test_a_limit_counts_over_all_workers(fd: int) -> None:
    limited = spec("1", limits=PoolLimits(max_requests=7))

    def work(index: int) -> int:
        cluster = Cluster(limited, NodeState(fd, index))
        return sum(cluster.admission.admit_request() for _ in range(20))

    assert sum(in_processes(work, range(4))) == 7


def test_a_limit_that_went_and_came_back_leaks_no_place(node: NodeState) -> None:
    limited, free = spec("1", limits=PoolLimits(max_requests=1)), spec("1")
    cluster = Cluster(limited, node)
    assert cluster.admission.admit_request()
    cluster.update(free, free.endpoints)
    cluster.admission.done_request()
    cluster.update(limited, limited.endpoints)
    assert [cluster.admission.admit_request() for _ in range(2)] == [True, False]


def test_a_limit_that_comes_later_counts_what_is_under_way(node: NodeState) -> None:
    limited, free = spec("1", limits=PoolLimits(max_requests=2)), spec("1")
    cluster = Cluster(free, node)
    assert cluster.admission.admit_request()
    cluster.update(limited, limited.endpoints)
    assert [cluster.admission.admit_request() for _ in range(2)] == [True, False]
    cluster.admission.done_request()
    cluster.admission.done_request()
    assert [cluster.admission.admit_request() for _ in range(3)] == [True, True, False]


def test_without_a_slot_a_worker_keeps_to_its_share(
    fd: int, node: NodeState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NodeState, "breaker", lambda self, key: -1)
    other = NodeState(fd, 1)
    limited = spec("1", limits=PoolLimits(max_requests=5))
    admitted = [
        sum(cluster.admission.admit_request() for _ in range(9))
        for cluster in (Cluster(limited, node), Cluster(limited, other))
    ]
    other.close()
    assert admitted == [3, 2]


@pytest.mark.parametrize("what", ["request", "pending", "retry"])
def test_what_is_given_back_twice_is_an_error(node: NodeState, what: str) -> None:
    admission = Cluster(spec("1", limits=PoolLimits(max_requests=2)), node).admission
    assert getattr(admission, f"admit_{what}")()
    getattr(admission, f"done_{what}")()
    with pytest.raises(ReleasedTwice):
        getattr(admission, f"done_{what}")()


def test_a_dropped_cluster_leaves_its_slot_when_nothing_is_under_way(node: NodeState) -> None:
    limited = spec("1", limits=PoolLimits(max_requests=2))
    cluster = Cluster(limited, node)
    slot = cluster.admission.slot
    assert cluster.admission.admit_request()
    cluster.admission.retire()
    assert cluster.admission.slot == slot
    cluster.admission.done_request()
    assert cluster.admission.slot == -1
    assert node.total(slot, USERS) == 0
