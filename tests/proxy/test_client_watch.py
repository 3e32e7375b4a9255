"""Clients that leave while an origin is waited for."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator

import pytest

from egressd.net import Cancelled, Fiber, Stream
from egressd.proxy.client_watch import ClientWatch
from egressd.proxy.reply import ClientGone
from tests.net.driver import Loop, it

__all__ = ["it"]


def tcp_pair(it: Loop) -> tuple[Stream, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        ours, _ = server.accept()
    ours.setblocking(False)
    return Stream(it.loop, ours), theirs


class Exchange:
    """A fiber that waits for an origin under a watch."""

    def __init__(self, it: Loop, bound_s: float = 2.0) -> None:
        self.it = it
        self.client_stream, self.client = tcp_pair(it)
        self.upstream, self.origin = tcp_pair(it)
        self.ended = ""

        async def run(fiber: Fiber) -> None:
            self.watch = ClientWatch(it.loop, fiber, self.client_stream, bound_s)
            try:
                self.watch.begin()
                self.watch.upstream = self.upstream
                while self.upstream.recv_now() != b"done":
                    await self.upstream.wait_readable(fiber)
                self.ended = "answered"
            except Cancelled:
                self.ended = "given up" if self.watch.gave_up else "cancelled"
                raise
            except ClientGone:
                self.ended = "gone"
            finally:
                self.watch.end()

        self.make = run

    def start(self) -> None:
        self.fiber = self.it.loop.spawn(self.make)
        self.run()

    def run(self) -> None:
        self.it.run()

    def wait(self, seconds: float) -> None:
        self.it.run()
        self.it.advance(seconds)

    def say(self, data: bytes) -> None:
        self.origin.sendall(data)
        self.it.run()

    def close(self) -> None:
        for one in (self.client_stream, self.upstream, self.client, self.origin):
            one.close()


@pytest.fixture
def x(it: Loop) -> Iterator[Exchange]:
    made = Exchange(it)
    yield made
    made.close()


def until(x: Exchange, what: str) -> None:
    """Loopback is quick, not immediate."""
    for _ in range(100_000):
        if getattr(x.client_stream, what):
            break
        x.run()
    x.run()


def test_a_client_that_stays_is_waited_for(x: Exchange) -> None:
    x.start()
    x.wait(3600)
    assert x.ended == ""
    x.say(b"done")
    assert x.ended == "answered"


def test_a_client_that_has_sent_fin_is_given_up_after_the_bound(x: Exchange) -> None:
    x.start()
    x.client.shutdown(socket.SHUT_WR)
    until(x, "ended")
    x.wait(1.9)
    assert x.ended == ""
    x.wait(0.2)
    assert x.ended == "given up"
    assert x.fiber.done


def test_a_fin_that_came_with_the_request_counts(x: Exchange) -> None:
    x.client.shutdown(socket.SHUT_WR)
    until(x, "ended")
    x.start()
    x.wait(2.1)
    assert x.ended == "given up"


def test_an_answer_within_the_bound_is_given(x: Exchange) -> None:
    x.start()
    x.client.shutdown(socket.SHUT_WR)
    until(x, "ended")
    x.wait(1.5)
    x.say(b"done")
    assert x.ended == "answered"


def test_an_origin_that_goes_on_speaking_keeps_the_exchange(x: Exchange) -> None:
    x.start()
    x.client.shutdown(socket.SHUT_WR)
    until(x, "ended")
    for _ in range(5):
        x.wait(1.5)
        x.say(b"a little")
        assert x.ended == ""
    x.wait(2.1)
    x.wait(2.1)
    assert x.ended == "given up"


def test_a_client_that_resets_is_given_up_at_once(x: Exchange) -> None:
    x.start()
    x.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    x.client.close()
    until(x, "dead")
    assert x.ended == "given up"


def test_a_client_that_is_gone_already_is_not_waited_for(x: Exchange) -> None:
    x.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    x.client.close()
    until(x, "dead")
    x.start()
    assert x.ended == "gone"


def test_without_a_bound_a_half_closed_client_is_waited_for(it: Loop) -> None:
    x = Exchange(it, float("inf"))
    x.start()
    x.client.shutdown(socket.SHUT_WR)
    until(x, "ended")
    x.wait(3600)
    assert x.ended == ""
    x.fiber.cancel()
    x.run()
    assert x.ended == "cancelled"
    x.close()
