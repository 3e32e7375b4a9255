"""What the supervisor decides: restart pauses, stuck children, reload plans, shares of sockets."""

from __future__ import annotations

from itertools import chain

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressd.node.bootstrap import AdminConfig, Bootstrap, Limits
from egressd.node.lifeline import is_stuck
from egressd.node.reload import STILL_S, Settling, plan_reload
from egressd.node.restart import (
    CRASH_LOOP_AFTER,
    LONGEST_PAUSE_S,
    STABLE_S,
    early_deaths,
    is_crash_loop,
    restart_pause,
)
from egressd.node.sockets import deal

OLD = Bootstrap(workers=2)


def test_the_first_death_is_answered_at_once() -> None:
    assert restart_pause(early_deaths(0, lived_s=0.1)) == 0.0


def test_pauses_double_up_to_the_longest_and_stay_there() -> None:
    pauses = [restart_pause(deaths) for deaths in range(1, 12)]
    assert pauses[:6] == [0.0, 0.1, 0.2, 0.4, 0.8, 1.6]
    assert pauses == sorted(pauses)
    assert pauses[-1] == restart_pause(10_000) == LONGEST_PAUSE_S


def test_a_process_killed_now_and_then_is_back_within_a_second() -> None:
    assert max(restart_pause(deaths) for deaths in range(1, CRASH_LOOP_AFTER)) < 1.0
    assert not is_crash_loop(CRASH_LOOP_AFTER - 1)
    assert is_crash_loop(CRASH_LOOP_AFTER)


def test_a_child_that_lived_long_enough_has_a_clean_record() -> None:
    assert early_deaths(50, lived_s=STABLE_S) == 1
    assert early_deaths(50, lived_s=STABLE_S - 0.1) == 51


@pytest.mark.parametrize(
    ("last_pulse", "awake_since", "timeout", "stuck"),
    [
        (100.0, 0.0, 10.0, False),
        (89.0, 0.0, 10.0, True),
        (90.0, 0.0, 10.0, False),
        (0.0, 0.0, 10.0, False),  # it never beat: nothing was promised
        (50.0, 0.0, 0.0, False),  # off
        (50.0, 95.0, 10.0, False),  # the machine stood still until 95
        (50.0, 89.0, 10.0, True),
    ],
)
def test_a_child_is_stuck_when_it_was_silent_while_the_supervisor_was_awake(
    last_pulse: float, awake_since: float, timeout: float, stuck: bool
) -> None:
    assert is_stuck(last_pulse, awake_since, 100.0, timeout) is stuck


def test_a_reload_of_the_same_configuration_leaves_workers_alone() -> None:
    plan = plan_reload(OLD, msgspec.structs.replace(OLD))
    assert (plan.replace_workers, plan.ignored) == (False, ())


def test_new_sources_do_not_touch_workers() -> None:
    new = msgspec.structs.replace(OLD, resources=("/a",))
    plan = plan_reload(OLD, new)
    assert not plan.replace_workers
    assert plan.bootstrap == new


@pytest.mark.parametrize("changed", [{"workers": 3}, {"limits": Limits(max_headers=5)}])
def test_what_workers_see_replaces_them(changed: dict[str, object]) -> None:
    assert plan_reload(OLD, msgspec.structs.replace(OLD, **changed)).replace_workers


def test_what_needs_a_restart_is_named_and_stays() -> None:
    new = msgspec.structs.replace(
        OLD, run_dir="/other", admin=AdminConfig(address="127.0.0.1:1"), resources=("/a",)
    )
    plan = plan_reload(OLD, new)
    assert set(plan.ignored) == {"run_dir", "admin"}
    assert plan.bootstrap == msgspec.structs.replace(OLD, resources=("/a",))
    assert not plan.replace_workers


@given(st.integers(1, 70), st.integers(1, 70))
def test_every_socket_has_a_worker_and_every_worker_a_socket(sockets: int, workers: int) -> None:
    shares = deal(list(range(sockets)), workers)
    assert len(shares) == workers
    assert all(shares)
    assert set(chain.from_iterable(shares)) == set(range(sockets))
    if sockets >= workers:  # no socket is shared
        assert sum(map(len, shares)) == sockets


def test_a_configuration_that_has_long_been_as_it_is_is_read_at_once() -> None:
    settling = Settling()
    assert settling.left((1,), 60.0, 10.0) == 0.0
    assert settling.left(None, 0.0, 10.0) == 0.0  # gone: whoever reads it says so
    assert settling.left((1,), STILL_S, 10.0) == 0.0


def test_a_configuration_that_is_being_written_is_waited_for() -> None:
    settling = Settling()
    assert settling.left((1,), 0.0, 10.0) == STILL_S
    assert settling.left((2,), 0.0, 10.4) == STILL_S
    assert 0 < settling.left((2,), 0.4, 10.8) < 0.2
    assert settling.left((2,), 0.5, 10.9) == 0.0
    assert settling.left((2,), 0.0, 20.0) == STILL_S  # another reload begins anew
    assert settling.left((2,), -3600.0, 20.6) == 0.0  # a clock that was set back keeps nobody


def test_a_configuration_that_is_never_still_is_read_in_the_end() -> None:
    settling = Settling()
    now, turn = 10.0, 0
    while settling.left((turn,), 0.0, now):
        now, turn = now + 0.2, turn + 1
        assert now < 20.0
