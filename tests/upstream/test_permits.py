"""To which worker a freed connection goes."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egressd.upstream import node_state
from egressd.upstream.node_state import CONNECTIONS, WAITING, NodeState
from egressd.upstream.permits import NOBODY, Permits, choose_receiver


@pytest.mark.parametrize(
    ("held", "needs", "limit", "receiver"),
    [
        ([2, 0], [0, 0], 2, NOBODY),  # nobody waits
        ([2, 0], [5, 0], 2, NOBODY),  # own requests wait
        ([2, 0], [0, 1], 2, 1),  # another's do
        ([2, 0], [5, 1], 2, 1),  # who has none comes first
        ([20, 20], [230, 230], 40, NOBODY),  # each has its share
        ([20, 20], [231, 229], 40, NOBODY),
        ([21, 19], [200, 260], 40, 1),  # the other waits more for what it has
        ([17, 23], [200, 260], 40, NOBODY),
        ([1, 0, 0], [3, 3, 3], 1, 1),  # in turn where there are fewer than workers
        ([2, 0, 1], [1, 0, 1], 3, NOBODY),
    ],
)
def test_where_it_goes(
    held: Sequence[int], needs: Sequence[int], limit: int, receiver: int
) -> None:
    assert choose_receiver(held, needs, 0, limit) == receiver


def test_one_connection_goes_round() -> None:
    held, needs, seen = [1, 0, 0], [9, 9, 9], []
    own = 0
    for _ in range(6):
        receiver = choose_receiver(held, needs, own, 1)
        held = [int(worker == receiver) for worker in range(3)]
        seen.append(receiver)
        own = receiver
    assert seen == [1, 2, 0, 1, 2, 0]


@settings(deadline=None)
@given(
    st.lists(st.integers(61, 200) | st.just(0), min_size=2, max_size=6).filter(any),
    st.integers(1, 60),
)
def test_shares_settle_near_the_demand(demand: list[int], limit: int) -> None:
    """While requests wait in every worker in use, connections come to rest near their shares, and nobody
    has none while another has two."""
    workers = len(demand)
    held = [0] * workers
    held[0] = min(limit, sum(demand))
    for _ in range(20 * limit + 20 * workers):
        moved = False
        for own in range(workers):
            if not held[own]:
                continue
            needs = [d - h for d, h in zip(demand, held, strict=True)]
            receiver = choose_receiver(held, needs, own, limit)
            if receiver != NOBODY:
                held[own] -= 1
                held[receiver] += 1
                moved = True
        if not moved:
            break
    assert sum(held) <= limit
    if limit >= workers:
        assert not moved
        for worker in range(workers):
            if demand[worker] and not held[worker]:
                assert max(held) <= 1


def test_a_newcomer_takes_nothing_that_others_wait_for() -> None:
    fd = node_state.create()
    nodes = [NodeState(fd, index) for index in range(2)]
    slot = nodes[0].breaker(7)
    mine, other = (Permits(node, slot) for node in nodes)
    assert mine.take(2) and mine.take(2)
    assert not other.take(2)  # and waits
    nodes[0].add(slot, CONNECTIONS, -1)  # one is free and was not granted yet
    assert not mine.take(2)
    mine.leave()
    assert other.take_for_line(2, 1) == 1
    other.leave()
    nodes[0].add(slot, CONNECTIONS, -1)
    assert mine.take(2)
    assert nodes[0].total(slot, WAITING) == 0
    for node in nodes:
        node.close()
    os.close(fd)
