"""Sockets that resources ask for, as workers come and go."""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterator
from contextlib import closing

import msgspec
import pytest

from egressd.node.socket_desk import Place, SocketDesk, Wants
from egressd.node.sockets import ListenerPool, kept_name


class Desk:
    """A desk and its lines, turned by hand."""

    def __init__(self, pool: ListenerPool) -> None:
        self.selector = selectors.DefaultSelector()
        self.desk = SocketDesk(self.selector, pool, lambda: None)

    def ask(self, seat: str, slot: int, *ports: int) -> None:
        """A new worker in this seat asks for ports on loopback."""
        line = self.desk.open_line(seat, slot)
        places = tuple(Place("127.0.0.1", port) for port in ports)
        line.child_end.send(msgspec.json.encode(Wants(places)))
        for key, _ in self.selector.select(0):
            key.data()
        line.child_end.close()
        self.desk.close_line(line)

    def inodes(self) -> dict[str, int]:
        """How many sockets there are, by place."""
        return {name: len(sockets) for name, sockets in self.desk.own().items()}


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return int(free.getsockname()[1])


@pytest.fixture
def desk() -> Iterator[Desk]:
    made = Desk(ListenerPool())
    with closing(made.desk), made.selector:
        yield made


def test_with_fewer_workers_a_queue_is_spare_and_with_more_it_is_had_again(
    desk: Desk, port: int
) -> None:
    desk.ask("one", 0, port)
    desk.ask("two", 1, port)
    before = set(desk.desk.own()[kept_name(("127.0.0.1", port))])
    desk.desk.forget("two")
    assert len(desk.desk.spare()) == 1
    assert set(desk.desk.own()[kept_name(("127.0.0.1", port))]) == before
    desk.ask("three", 1, port)
    assert not desk.desk.spare()
    assert set(desk.desk.own()[kept_name(("127.0.0.1", port))]) == before


def test_a_spare_queue_closes_with_its_place(desk: Desk, port: int) -> None:
    desk.ask("one", 0, port)
    desk.ask("two", 1, port)
    desk.desk.forget("two")
    desk.desk.forget("one")
    assert not desk.desk.own()
    with socket.create_server(("127.0.0.1", port)):
        pass


def test_what_a_supervisor_before_left_is_taken_by_slots_and_the_rest_is_spare(port: int) -> None:
    before = Desk(ListenerPool())
    for slot in range(3):
        before.ask(f"seat {slot}", slot, port)
    ((name, left),) = before.desk.own().items()
    desk = Desk(ListenerPool([(name, sock.dup()) for sock in left]))
    desk.ask("one", 0, port)
    desk.desk.take_spare()
    assert desk.inodes() == {name: 3}
    assert len(desk.desk.spare()) == 2
    for one in (before, desk):
        one.desk.close()
        one.selector.close()


@pytest.mark.parametrize("is_abandoned", [False, True])
def test_a_draining_worker_that_follows_the_registry_gets_no_port(
    desk: Desk, port: int, is_abandoned: bool
) -> None:
    """Nobody would accept from it once that worker has ended."""
    line = desk.desk.open_line("one", 0)
    if is_abandoned:
        desk.desk.abandon()
    else:
        desk.desk.forget("one")
    line.child_end.send(msgspec.json.encode(Wants((Place("127.0.0.1", port),))))
    for key, _ in desk.selector.select(0):
        key.data()
    assert not desk.desk.own()
    assert not desk.desk.places()
    line.child_end.close()
    desk.desk.close_line(line)
