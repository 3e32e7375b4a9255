"""Which accept queues are lent, to whom, and when they are recalled: with scripted senders."""

from __future__ import annotations

import socket
from typing import cast

import structlog
from hypothesis import given
from hypothesis import strategies as st

from egressd.node.lending import SILENT_S, Holder, Lending, unattended
from egressd.node.socket_desk import Lent, Line, Recalled
from egressd.node.stand_in import StandIn

NOW = 1000.0
STUCK = NOW - SILENT_S - 0.1


class FakeLine:
    """A worker's line: what it was told, and which copies it has."""

    def __init__(self) -> None:
        self.is_open = True
        self.deaf = False
        self.copies: dict[int, object] = {}

    def tell(self, message: Lent | Recalled, sock: object) -> bool:
        if self.deaf:
            return False
        if isinstance(message, Lent):
            assert message.number not in self.copies, "lent twice"
            self.copies[message.number] = sock
        else:
            del self.copies[message.number]
        return True


def send(line: Line, message: Lent | Recalled, sock: socket.socket | None = None) -> bool:
    return cast(FakeLine, line).tell(message, sock)


def queue(name: str) -> socket.socket:
    return cast(socket.socket, name)  # only compared


class Node:
    """Workers that each have a queue of their own, "q0", "q1", ..."""

    def __init__(self, count: int) -> None:
        self.lines = [FakeLine() for _ in range(count)]
        self.signs = [NOW] * count
        self.serving = [True] * count
        self.lending = Lending(send)

    def holders(self) -> list[Holder]:
        return [
            Holder(
                index,
                cast(Line, line) if self.serving[index] else None,
                self.signs[index],
                self.serving[index],
                {queue(f"q{index}"): Lent(0, "egress")},
            )
            for index, line in enumerate(self.lines)
        ]

    def update(self, now: float = NOW) -> list[set[object]]:
        """What each worker has a copy of."""
        self.lending.update(self.holders(), now)
        return [set(line.copies.values()) for line in self.lines]


def test_nothing_is_lent_while_all_are_well() -> None:
    assert Node(3).update() == [set(), set(), set()]


def test_the_queue_of_a_stuck_worker_is_lent_to_all_others_until_it_is_back() -> None:
    node = Node(3)
    node.signs[0] = STUCK
    assert node.update() == [set(), {"q0"}, {"q0"}]
    assert node.update() == [set(), {"q0"}, {"q0"}]
    node.signs[0] = NOW
    assert node.update() == [set(), set(), set()]


def test_a_worker_that_died_is_helped_when_it_is_not_back_soon() -> None:
    node = Node(2)
    node.serving[0] = False
    assert node.update() == [set(), set()]
    node.signs[0] = STUCK
    assert node.update() == [set(), {"q0"}]


def test_a_helper_that_comes_later_gets_its_copy_too() -> None:
    node = Node(3)
    node.signs[0] = STUCK
    node.serving[2] = False
    assert node.update() == [set(), {"q0"}, set()]
    node.serving[2] = True
    assert node.update() == [set(), {"q0"}, {"q0"}]


def test_with_nobody_to_help_nothing_is_lent() -> None:
    node = Node(2)
    node.signs = [STUCK, STUCK]
    assert node.update() == [set(), set()]
    node.signs[1] = NOW
    assert node.update() == [set(), {"q0"}]


def test_a_queue_that_two_have_is_attended_while_one_is_well() -> None:
    shared = {queue("systemd"): Lent(0, "egress")}
    holders = [Holder(0, None, STUCK, True, shared), Holder(1, None, NOW, True, shared)]
    assert unattended(holders, NOW) == {}


def test_a_recall_that_cannot_be_said_is_said_later() -> None:
    node = Node(2)
    node.signs[0] = STUCK
    node.update()
    node.signs[0] = NOW
    node.lines[1].deaf = True
    assert node.update() == [set(), {"q0"}]
    node.lines[1].deaf = False
    assert node.update() == [set(), set()]


def test_a_helper_that_died_is_told_nothing() -> None:
    node = Node(2)
    node.signs[0] = STUCK
    node.update()
    node.signs[0] = NOW
    node.lines[1].deaf, node.lines[1].is_open = True, False
    node.update()
    node.lines[1].deaf, node.lines[1].is_open = False, True
    assert node.update() == [set(), {"q0"}]  # not asked again: the copy ended with it


@given(
    st.integers(2, 4).flatmap(
        lambda count: st.tuples(
            st.just(count),
            st.lists(st.lists(st.booleans(), min_size=count, max_size=count), max_size=8),
        )
    )
)
def test_each_queue_is_taken_from_whenever_anybody_is_well(
    case: tuple[int, list[list[bool]]],
) -> None:
    count, rounds = case
    node = Node(count)
    for well in rounds:
        node.signs = [NOW if one else STUCK for one in well]
        copies = node.update()
        for index, own in enumerate(copies):
            assert f"q{index}" not in own
            helped = {at for at, has in enumerate(copies) if f"q{index}" in has}
            if well[index]:
                assert not helped
            else:
                assert {at for at, one in enumerate(well) if one} <= helped


# -- one more worker -------------------------------------------------------------------------


def wanted(node: Node, looks: int = 1) -> bool:
    stand_in = StandIn()
    return [stand_in.is_wanted(node.holders(), NOW) for _ in range(looks)][-1]


def test_one_more_worker_is_wanted_when_all_hang() -> None:
    node = Node(2)
    node.signs = [STUCK, STUCK]
    assert wanted(node, 3)


def test_one_more_worker_is_not_wanted_while_one_is_well() -> None:
    node = Node(2)
    node.signs = [STUCK, NOW]
    assert not wanted(node, 10)


def test_a_pause_of_the_machine_starts_no_worker() -> None:
    node = Node(1)
    stand_in = StandIn()
    node.signs = [STUCK]
    assert not stand_in.is_wanted(node.holders(), NOW)
    node.signs = [NOW]
    assert not stand_in.is_wanted(node.holders(), NOW)
    node.signs = [STUCK]
    assert not stand_in.is_wanted(node.holders(), NOW)


def test_workers_that_only_die_start_no_other() -> None:
    node = Node(1)
    node.signs = [STUCK]
    node.serving = [False]
    assert not wanted(node, 10)


# -- what is told ----------------------------------------------------------------------------


def test_a_loop_that_is_late_again_and_again_is_told_of_once() -> None:
    node = Node(2)
    with structlog.testing.capture_logs() as lines:
        for second in range(20):
            now = NOW + second
            node.signs = [now - (1.0 if second % 2 else 0.0), now]
            node.update(now)
        node.signs = [NOW + 40.0, NOW + 40.0]
        node.update(NOW + 40.0)
    assert [line["event"] for line in lines] == [
        "a worker takes no connections: others do for it",
        "a worker takes its connections again",
    ]


def test_a_spare_queue_is_lent_to_all_that_are_well_until_it_has_a_worker() -> None:
    node = Node(2)
    node.signs = [NOW, STUCK]
    spare = {queue("left"): Lent(0, "", "0.0.0.0", 443)}
    node.lending.update(node.holders(), NOW, spare)
    assert "left" in node.lines[0].copies.values()
    assert "left" not in node.lines[1].copies.values()
    node.signs = [NOW, NOW]
    node.lending.update(node.holders(), NOW, spare)
    assert "left" in node.lines[1].copies.values()
    node.lending.update(node.holders(), NOW, {})
    assert not node.lines[0].copies
    assert not node.lines[1].copies
