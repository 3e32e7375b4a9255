"""Looking at a ClientHello that stays in the socket: however it comes, it is read once, and all of it is
still there."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import cast

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from egressd.net.fiber import Fiber
from egressd.net.stream import Stream
from egressd.proxy.context import Session
from egressd.proxy.l4 import peek_server_name
from egressd.proxy.reply import ClientGone, LocalReply
from tests.net.driver import Loop, it, pair
from tests.proxy.hellos import extension, hello, message, records, server_names

__all__ = ["it"]

HELLO = message(server_names(b"A.example") + extension(43, b"\x02\x03\x04"))


@dataclass
class Looker:
    """What a session has that is looked into."""

    stream: Stream
    fiber: Fiber | None = None
    found: str | Exception | None = None

    async def run(self, fiber: Fiber) -> None:
        self.fiber = fiber
        try:
            self.found = await peek_server_name(cast(Session, self))
        except (LocalReply, ClientGone) as error:
            self.found = error


def start(it: Loop) -> tuple[Looker, socket.socket]:
    stream, client = pair(it)
    looker = Looker(stream)
    it.loop.spawn(looker.run)
    it.run()
    return looker, client


def end(looker: Looker, client: socket.socket) -> bytes:
    """What is left for whoever reads next."""
    client.close()
    left = b""
    while data := looker.stream.sock.recv(65536):
        left += data
    looker.stream.close()
    return left


@given(st.lists(st.integers(1, 60), max_size=20), st.lists(st.integers(1, 300), max_size=20))
@settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
def test_a_hello_is_found_and_left(it: Loop, sizes: list[int], cuts: list[int]) -> None:
    data = records(HELLO, *sizes)
    looker, client = start(it)
    begin = 0
    for cut in (*sorted(cuts), len(data)):
        if cut > begin:
            client.sendall(data[begin:cut])
            it.run()
            begin = cut
    assert looker.found == "a.example"
    assert end(looker, client) == data


def test_what_comes_behind_is_left_too(it: Loop) -> None:
    looker, client = start(it)
    data = records(HELLO) + b"\x17\x03\x03\0\x05early"
    client.sendall(data)
    it.run()
    assert looker.found == "a.example"
    assert end(looker, client) == data


@pytest.mark.parametrize("size", [0, 1, 5, 6, 40])
def test_a_client_that_ends_before_is_gone(it: Loop, size: int) -> None:
    looker, client = start(it)
    client.sendall(records(HELLO)[:size])
    it.run()
    assert looker.found is None
    client.close()
    it.run()
    assert isinstance(looker.found, ClientGone)
    looker.stream.close()


def test_a_client_that_never_ends_its_hello_is_given_up(it: Loop) -> None:
    looker, client = start(it)
    client.sendall(records(HELLO)[:-1])
    it.run()
    it.advance(10_000_000_000.0)
    assert isinstance(looker.found, LocalReply)
    assert looker.found.status == 408
    end(looker, client)


def test_what_is_no_hello_is_refused_at_once(it: Loop) -> None:
    for data in (b"GET", hello(server_names(b"a.b", b"c.d")), hello(server_names(b"s.test.."))):
        looker, client = start(it)
        client.sendall(data)
        it.run()
        assert isinstance(looker.found, LocalReply)
        assert (looker.found.flag, looker.found.details) == ("DPE", "tls_inspector")
        end(looker, client)
