"""The deadline queue: none early, none late, none lost, and a sweep looks at what is due alone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from egressd.net.deadlines import TICK_S, DeadlineQueue

_NEVER = float("inf")


class Sleeper:
    def __init__(self) -> None:
        self.deadline = _NEVER
        self.tick = 0
        self.look_at = _NEVER
        self.expired_at: float | None = None

    def expire(self) -> None: ...


_STEPS = st.lists(
    st.tuples(
        st.integers(0, 5),  # who
        st.one_of(st.none(), st.floats(-1.0, 5000.0)),  # its new deadline from now, None: never
        st.floats(0.0, 30.0),  # how much later the next step is
    ),
    max_size=40,
)


@given(_STEPS)
def test_each_deadline_fires_once_between_its_time_and_the_sweep_behind_it(
    steps: list[tuple[int, float | None, float]],
) -> None:
    queue = DeadlineQueue()
    sleepers = [Sleeper() for _ in range(6)]
    now = 1000.0

    def sweep() -> None:
        for one in queue.due(now):
            assert one.deadline <= now
            one.deadline = _NEVER
        for one in sleepers:
            assert one.deadline > now - 2 * TICK_S, "a deadline was passed over"

    for who, after, later in steps:
        one = sleepers[who]
        one.deadline = _NEVER if after is None else now + after
        queue.file(one)
        waiting = [s.deadline for s in sleepers if s.deadline != _NEVER]
        if waiting:
            assert queue.next_at <= max(min(waiting), now) + 2 * TICK_S
        now += later
        sweep()
    now += 6000.0
    while queue.next_at <= now:
        sweep()
    assert all(one.deadline == _NEVER for one in sleepers)


def test_a_sweep_with_nothing_due_looks_at_no_fiber() -> None:
    looked_at = 0

    class Watched(Sleeper):
        def __getattribute__(self, name: str) -> object:
            nonlocal looked_at
            looked_at += name == "deadline"
            return super().__getattribute__(name)

    queue = DeadlineQueue()
    queue.due(1000.0)
    for at in range(1000):
        one = Watched()
        one.deadline = 4600.0 + at
        queue.file(one)
    looked_at = 0
    for at in range(100):
        assert queue.due(1000.0 + at) == []
    assert looked_at == 0


def test_the_number_of_ticks_is_bounded_by_time_not_by_fibers() -> None:
    queue = DeadlineQueue()
    queue.due(1000.0)
    for at in range(50_000):
        one = Sleeper()
        one.deadline = 4600.0 + at / 50_000
        queue.file(one)
        queue.remove(one)
    assert len(queue._ticks) <= 2
    assert len(queue) == 0


def test_a_deadline_that_moves_later_is_not_filed_again_before_it_is_due() -> None:
    queue = DeadlineQueue()
    queue.due(1000.0)
    one = Sleeper()
    one.deadline = 1000.1
    assert queue.file(one)
    first = one.tick
    one.deadline = 1005.0
    assert not queue.file(one)
    assert one.tick == first
    assert queue.due(1000.2) == []
    assert one.tick > first
    assert queue.due(1005.1) == [one]
