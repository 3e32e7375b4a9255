"""The shared memory of a node, with real processes."""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import signal
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from egressd.upstream import node_state
from egressd.upstream.node_state import CONNECTIONS, PENDING, REQUESTS, NodeState, slot_key
from egressd.upstream.outlier import HostHealth
from tests.upstream.processes import die, in_processes


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


def claim(node: NodeState, key: int, now: float = 1000.0, errors: int = 1) -> int:
    with node.health_lock():
        slot = node.claim_health(key, now)
        if slot >= 0:
            node.write_health(slot, HostHealth(server_errors=errors))
    return slot


# -- health ----------------------------------------------------------------------------------


def test_health_is_read_by_other_processes_as_it_was_written(fd: int, node: NodeState) -> None:
    health = HostHealth(1, 2, 3, 1234.567891234, 5)
    with node.health_lock():
        node.write_health(node.claim_health(77, 1000.0), health)

    def read(index: int) -> list[float]:
        other = NodeState(fd, index)
        return list(other.read_health(other.find_health(77)))

    assert in_processes(read, [1]) == [pytest.approx(list(health), rel=1e-12)]


def test_an_endpoint_never_seen_failing_has_no_slot(node: NodeState) -> None:
    claim(node, 5)
    assert node.find_health(5) >= 0
    assert node.find_health(6) == -1


def test_the_epoch_moves_with_claims_and_ejections_only(node: NodeState) -> None:
    before = node.epoch
    slot = claim(node, 5)
    assert node.epoch == before + 1
    with node.health_lock():
        node.write_health(slot, HostHealth(server_errors=2))
    assert node.epoch == before + 1
    with node.health_lock():
        node.write_health(slot, HostHealth(ejected_until=98765.4321, multiplier=1))
    assert node.epoch == before + 2
    with node.health_lock():
        node.write_health(slot, node.read_health(slot)._replace(server_errors=1))
    assert node.epoch == before + 2


def test_colliding_keys_get_slots_of_their_own(node: NodeState) -> None:
    keys = [7 + n * node_state.HEALTH_SLOTS for n in range(10)]
    slots = {claim(node, key) for key in keys}
    assert len(slots) == 10
    assert {node.find_health(key) for key in keys} == slots


def test_a_full_neighbourhood_is_reclaimed_from_the_long_unheard_of(node: NodeState) -> None:
    keys = [7 + n * node_state.HEALTH_SLOTS for n in range(65)]
    slots = [claim(node, key, now=1000.0) for key in keys[:64]]
    assert claim(node, keys[64], now=1500.0) == -1
    assert claim(node, keys[64], now=1601.0) in slots
    assert node.find_health(keys[64]) >= 0
    assert sum(node.find_health(key) < 0 for key in keys) == 1


def test_an_ejected_endpoint_is_not_reclaimed(node: NodeState) -> None:
    with node.health_lock():
        slot = node.claim_health(7, 1000.0)
        node.write_health(slot, HostHealth(ejected_until=5000.0, multiplier=1))
    assert claim(node, 7 + node_state.HEALTH_SLOTS, now=4000.0) != slot
    assert node.find_health(7) == slot


def test_a_writer_that_dies_half_way_neither_wedges_nor_hides_its_change(
    fd: int, node: NodeState
) -> None:
    claim(node, 5)
    before = node.epoch

    def half_write(index: int) -> None:
        other = NodeState(fd, index)
        with other.health_lock():
            other.words[other.find_health(5) + 1] = 4
            die()

    assert in_processes(half_write, [1]) == ["killed"]
    slot = claim(node, 6)
    assert slot >= 0
    assert node.epoch == before + 2  # one for the claim, one for the death
    claim(node, 6)
    assert node.epoch == before + 2


def test_no_error_is_lost_between_processes(fd: int, node: NodeState) -> None:
    def count(index: int) -> None:
        own = NodeState(fd, index)
        for _ in range(200):
            with own.health_lock():
                slot = own.claim_health(5, 1000.0)
                health = own.read_health(slot)
                own.write_health(slot, health._replace(server_errors=health.server_errors + 1))

    in_processes(count, range(4))
    assert node.read_health(node.find_health(5)).server_errors == 800


# -- holders that stand still ----------------------------------------------------------------


class Stopped:
    """A process that stops itself, as by SIGSTOP, in the middle of `work`; `go_on` ends it."""

    def __init__(self, work: Callable[[], None]) -> None:
        self.pid = os.fork()
        if not self.pid:
            code = 1
            try:
                work()
                code = 0
            finally:
                os._exit(code)
        _, status = os.waitpid(self.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)
        assert os.waitpid(self.pid, 0)[1] == 0


def stop() -> None:
    os.kill(os.getpid(), signal.SIGSTOP)


def test_a_holder_that_stands_still_delays_nobody_and_changes_nothing_later(
    fd: int, node: NodeState
) -> None:
    slot = claim(node, 5)

    def stand_still() -> None:
        own = NodeState(fd, 1)
        with own.health_lock():
            health = own.read_health(slot)
            stop()
            own.write_health(slot, health._replace(server_errors=99))

    stopped = Stopped(stand_still)
    for errors in (2, 3):
        with node.health_lock():
            node.write_health(slot, HostHealth(server_errors=errors))
    assert claim(node, 6) >= 0
    stopped.go_on()
    assert node.read_health(slot).server_errors == 3
    with node.health_lock():  # and all locks are free again
        node.write_health(slot, HostHealth(server_errors=4))
    assert node.read_health(slot).server_errors == 4


def test_a_claim_of_who_stood_still_takes_no_slot(fd: int, node: NodeState) -> None:
    def stand_still() -> None:
        own = NodeState(fd, 1)
        with own.health_lock():
            stop()
            own.claim_health(5, 1000.0)

    stopped = Stopped(stand_still)
    claim(node, 6)
    stopped.go_on()
    assert node.find_health(5) == -1


def test_a_limit_holds_while_and_after_a_worker_stands_still_in_it(
    fd: int, node: NodeState
) -> None:
    slot = node.breaker(slot_key("cluster"))

    class Standing(NodeState):
        def total(self, slot: int, which: int) -> int:
            seen = super().total(slot, which)
            if not self.has_stood:
                self.has_stood = True
                stop()
            return seen

        has_stood = False

    def stand_still() -> None:
        own = Standing(fd, 1)
        assert not own.acquire(slot, CONNECTIONS, 2)

    stopped = Stopped(stand_still)
    assert node.acquire(slot, CONNECTIONS, 2)
    assert node.acquire(slot, CONNECTIONS, 2)
    assert not node.acquire(slot, CONNECTIONS, 2)
    stopped.go_on()
    assert node.total(slot, CONNECTIONS) == 2


def test_locks_of_many_generations_exclude_each_other(
    fd: int, node: NodeState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(node_state, "_PATIENCE_S", math.inf)  # none is left behind for being slow
    slot = claim(node, 5, errors=0)
    stopped = [
        Stopped(partial(_stand_in_the_health_lock, NodeState(fd, index))) for index in range(1, 4)
    ]

    def count(index: int) -> None:
        own = NodeState(fd, index)
        for _ in range(100):
            with own.health_lock():
                health = own.read_health(slot)
                own.write_health(slot, health._replace(server_errors=health.server_errors + 1))

    in_processes(count, range(4, 7))
    assert node.read_health(slot).server_errors == 300
    for one in stopped:
        one.go_on()
    assert node.read_health(slot).server_errors == 300


def _stand_in_the_health_lock(own: NodeState) -> None:
    with own.health_lock():
        stop()


# -- circuit breakers ------------------------------------------------------------------------


class Hesitant(NodeState):
    """A worker that is always interrupted between looking at the sum and counting itself."""

    def total(self, slot: int, which: int) -> int:
        seen = super().total(slot, which)
        time.sleep(0)
        os.sched_yield()
        return seen


def test_workers_racing_for_a_limit_never_hold_more_than_it(fd: int, node: NodeState) -> None:
    slot = node.breaker(slot_key("cluster"))
    # Who holds a place says so here, after getting it and before giving it back.
    holders = mmap.mmap(-1, 4096)

    def race(index: int) -> list[int]:
        own = Hesitant(fd, index)
        most = got = 0
        for _ in range(300):
            if own.acquire(slot, CONNECTIONS, 2):
                holders[index] = 1
                got += 1
                os.sched_yield()
                most = max(most, sum(holders[:4]))
                holders[index] = 0
                own.add(slot, CONNECTIONS, -1)
        return [most, got]

    results = in_processes(race, range(4))
    holders.close()
    assert max(most for most, _ in results) <= 2
    assert sum(got for _, got in results) > 0
    assert node.total(slot, CONNECTIONS) == 0


def test_the_sum_is_looked_at_and_raised_under_one_lock(fd: int) -> None:
    locked = []

    def try_the_lock(index: int) -> str:
        other = NodeState(fd, index)
        at = node_state._BREAKER_LOCK + slot
        try:
            fcntl.lockf(other._fd, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, at)
        except BlockingIOError:
            return "held"
        return "free"

    class Watched(NodeState):
        def total(self, slot: int, which: int) -> int:
            locked.extend(in_processes(try_the_lock, [1]))
            return super().total(slot, which)

    own = Watched(fd, 0)
    slot = own.breaker(slot_key("cluster"))
    assert own.acquire(slot, CONNECTIONS, 1)
    assert not own.acquire(slot, CONNECTIONS, 1)
    assert locked == ["held", "held"]
    assert in_processes(try_the_lock, [1]) == ["free"]
    own.close()


def test_places_that_nobody_gives_back_sum_up_to_the_limit(fd: int, node: NodeState) -> None:
    slots = [node.breaker(slot_key(f"cluster {n}")) for n in range(40)]

    def grab(index: int) -> int:
        own = Hesitant(fd, index)
        return sum(own.acquire(slot, REQUESTS, 3) for slot in slots for _ in range(3))

    assert sum(in_processes(grab, range(4))) == 3 * len(slots)
    assert {node.total(slot, REQUESTS) for slot in slots} == {3}


def test_a_worker_killed_while_it_asks_does_not_wedge_the_others(fd: int, node: NodeState) -> None:
    slot = node.breaker(slot_key("cluster"))

    def die_holding_the_lock(index: int) -> None:
        own = NodeState(fd, index)
        with own._lock(node_state._BREAKER_LOCK + slot):
            die()

    assert in_processes(die_holding_the_lock, [1]) == ["killed"]
    assert node.acquire(slot, CONNECTIONS, 1)


def test_what_a_dead_worker_held_is_free_when_its_replacement_starts(
    fd: int, node: NodeState
) -> None:
    slot = node.breaker(slot_key("cluster"))
    assert node.acquire(slot, CONNECTIONS, 4)

    def hold_and_die(index: int) -> None:
        own = NodeState(fd, index)
        while own.acquire(slot, CONNECTIONS, 4):
            pass
        die()

    def replace(index: int) -> int:
        own = NodeState(fd, index)
        own.forget_worker()
        return own.total(slot, CONNECTIONS)

    in_processes(hold_and_die, [1])
    assert not node.acquire(slot, CONNECTIONS, 4)
    assert in_processes(replace, [1]) == [1]
    assert node.acquire(slot, CONNECTIONS, 4)


def test_a_worker_sees_others_wait_and_not_itself(fd: int, node: NodeState) -> None:
    slot = node.breaker(slot_key("cluster"))
    node.add(slot, PENDING, 1)
    assert node.others(slot, PENDING) == 0
    other = NodeState(fd, 3)
    other.add(slot, PENDING, 2)
    other.close()
    assert node.others(slot, PENDING) == 2


def test_clusters_have_counts_of_their_own(node: NodeState) -> None:
    first, second = (node.breaker(7 + n * node_state.BREAKER_SLOTS) for n in range(2))
    assert node.acquire(first, CONNECTIONS, 1)
    assert node.acquire(first, REQUESTS, 1)
    assert node.acquire(second, CONNECTIONS, 1)
    assert not node.acquire(first, CONNECTIONS, 1)
    assert node.breaker(7) == first


@pytest.mark.parametrize(("limit", "shares"), [(1, [1, 0, 0]), (3, [1, 1, 1]), (8, [3, 3, 2])])
def test_shares_of_a_limit_make_the_limit(fd: int, limit: int, shares: list[int]) -> None:
    workers = [NodeState(fd, index) for index in range(3)]
    assert [worker.share(limit) for worker in workers] == shares
    for worker in workers:
        worker.close()


def test_a_process_that_only_looks_is_no_worker(fd: int, node: NodeState) -> None:
    NodeState(fd, None).close()
    assert node.share(10) == 10


def test_a_worker_index_past_the_table_is_refused(fd: int) -> None:
    with pytest.raises(ValueError, match="worker index 128: expected 0 to 127"):
        NodeState(fd, node_state.MAX_WORKERS)
