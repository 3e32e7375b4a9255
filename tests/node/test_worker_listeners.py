"""Sockets that a worker accepts from: lent ones come and go faster than tasks are started."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import cast

import pytest
import trio
import trio.testing

from egressd.node.worker_listeners import Accepting
from egressd.proxy.listener import Listener


class FakeListener:
    """Uses the socket as the real one does, and ends nothing by itself."""

    def __init__(self) -> None:
        self.served = 0

    async def serve(self, sock: socket.socket, current: object) -> None:
        sock.setblocking(False)
        self.served += 1
        await trio.sleep_forever()

    async def take_queue(self, sock: socket.socket, within_s: float) -> None:
        sock.getsockname()
        await trio.lowlevel.checkpoint()


@pytest.fixture
def listener() -> FakeListener:
    return FakeListener()


def accepting(listener: FakeListener) -> Accepting:
    ours, theirs = socket.socketpair()
    theirs.close()
    return Accepting(ours, cast("Callable[[], Listener]", lambda: listener))


async def test_a_socket_that_is_left_before_its_task_runs_ends_no_worker(
    listener: FakeListener,
) -> None:
    async with trio.open_nursery() as nursery:
        one = accepting(listener)
        nursery.start_soon(one.run)
        one.leave()
    assert not listener.served


async def test_a_socket_that_is_stopped_before_its_task_runs_ends_no_worker(
    listener: FakeListener,
) -> None:
    async with trio.open_nursery() as nursery:
        one = accepting(listener)
        nursery.start_soon(one.stop)
        nursery.start_soon(one.run)
    assert one.sock.fileno() == -1


async def test_a_socket_that_is_left_while_it_is_served_is_closed(listener: FakeListener) -> None:
    async with trio.open_nursery() as nursery:
        one = accepting(listener)
        nursery.start_soon(one.run)
        await trio.testing.wait_all_tasks_blocked()
        one.leave()
    assert listener.served == 1
    assert one.sock.fileno() == -1
