"""Single cases of the pools of two workers: hand-over, leaving, killed workers, what ends once."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from egressd.upstream.admission import Overflow, ReleasedTwice
from egressd.upstream.lease import Lease
from egressd.upstream.node_state import CONNECTIONS, WAITING, NodeState
from egressd.upstream.pool import StillWaiting
from egressd.upstream.spec import PoolLimits
from tests.upstream.pool_stage import SPEC, Node, end, tell, use


@pytest.fixture
def node() -> Iterator[Node]:
    made = Node()
    yield made
    made.close()


def test_a_freed_connection_is_handed_to_the_first_who_waits(node: Node) -> None:
    first, second = use(node, 0), use(node, 0)
    line = [use(node, 0) for _ in range(3)]
    assert first.lease is not None
    handed = first.lease.connection
    end(node, first)
    assert line[0].lease is not None and line[0].lease.connection is handed
    assert [one.is_waiting for one in line] == [False, True, True]
    assert node.workers[0].pool.opened == 2
    end(node, second)
    assert line[1].is_using and line[2].is_waiting


def test_another_endpoints_connection_serves_who_chose_freely(node: Node) -> None:
    first = use(node, 0, 0)
    use(node, 0, 0)
    free = use(node, 0, 1)
    end(node, first)
    assert free.lease is not None and free.lease.endpoint is node.workers[0].cluster.endpoints[0]
    assert [one.active for one in node.workers[0].cluster.endpoints] == [2, 0]


def test_who_is_bound_to_an_endpoint_makes_a_connection_in_the_place(node: Node) -> None:
    first = use(node, 0, 0)
    use(node, 0, 0)
    bound = use(node, 0, 1, bound=True)
    end(node, first)
    assert bound.is_connecting
    assert node.total(CONNECTIONS) == 2


def test_a_worker_without_any_gets_the_next_one(node: Node) -> None:
    first = use(node, 0)
    use(node, 0)
    own, other = use(node, 0), use(node, 1)
    assert own.is_waiting and other.is_waiting
    end(node, first)
    assert other.is_connecting and own.is_waiting
    assert node.total(CONNECTIONS) == 2


def test_an_idle_connection_is_given_up_for_another_worker(node: Node) -> None:
    for request in [use(node, 0), use(node, 0)]:
        end(node, request)
    assert len(node.workers[0].idle) == 2
    other = use(node, 1)
    assert other.is_using
    assert len(node.workers[0].idle) == 1


def test_a_deadline_in_the_line_is_none_of_the_endpoint(node: Node) -> None:
    use(node, 0), use(node, 0)
    waits = use(node, 0)
    waits.fiber.set_deadline(node.workers[0].loop.now + 1)
    node.workers[0].loop.advance(2)
    assert isinstance(waits.error, StillWaiting)
    assert node.total(WAITING) == 0
    assert node.workers[0].cluster.endpoints[0].connect_failures == 0


def test_a_client_that_leaves_while_connecting_is_no_failure_of_the_endpoint(node: Node) -> None:
    leaves = node.workers[0].arrive()
    fails = node.workers[0].arrive()
    node.settle()
    leaves.fiber.cancel()
    tell(fails, connecting=False)
    node.settle()
    assert node.workers[0].cluster.endpoints[0].connect_failures == 1
    assert node.total(CONNECTIONS) == 0


def test_a_served_client_that_has_left_passes_it_on(node: Node) -> None:
    first = use(node, 0)
    use(node, 0)
    leaves, stays = use(node, 0), use(node, 0)
    tell(first, end="give back")
    leaves.fiber.cancel()
    node.settle()
    assert leaves.fiber.done and stays.is_using
    assert node.total(CONNECTIONS) == 2


def test_what_a_killed_worker_held_serves_those_who_wait(node: Node) -> None:
    use(node, 0), use(node, 0)
    other = use(node, 1)
    assert other.is_waiting
    NodeState(node.fd, 0, node.calls).forget_worker()  # its replacement starts
    node.workers[1].hear()
    node.workers[1].loop.run()
    assert other.is_connecting


def test_a_lease_is_released_once(node: Node) -> None:
    worker = node.workers[0]
    lease = Lease(worker.pool, worker.stats)
    lease.begin_attempt(worker.cluster.endpoints[0])
    with pytest.raises(ReleasedTwice):
        lease.begin_attempt(worker.cluster.endpoints[1])
    lease.end_attempt()
    for again in (lease.end_attempt, lease.discard, lease.give_back):
        with pytest.raises(ReleasedTwice):
            again()
    lease.release()
    with pytest.raises(ReleasedTwice):
        lease.release()
    assert worker.stats.requests_active == 0
    assert worker.cluster.endpoints[0].active == 0


def test_a_connection_is_closed_once(node: Node) -> None:
    request = use(node, 0)
    assert request.lease is not None and request.lease.connection is not None
    connection = request.lease.connection
    end(node, request, "discard")
    with pytest.raises(ReleasedTwice):
        node.workers[0].pool.discard(connection)


def test_without_a_slot_and_without_a_share_the_request_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(NodeState, "breaker", lambda self, key: -1)
    node = Node(replace(SPEC, limits=PoolLimits(max_connections=1)))
    assert use(node, 0).is_using
    assert isinstance(use(node, 1).error, Overflow)
    node.close()
