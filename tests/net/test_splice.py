"""Bytes between sockets through the worker's one pipe: whole, in order, none left in the pipe."""

from __future__ import annotations

import os
import socket

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egressd.net import Readiness, Stream, StreamClosed
from egressd.net.splice import SplicePipe
from tests.net.driver import Loop, it, pair

__all__ = ["it"]


def open_descriptors() -> int:
    return len(os.listdir("/proc/self/fd"))


def test_what_is_there_is_moved_and_what_is_not_is_said(it: Loop) -> None:
    (source, client), (target, origin) = pair(it), pair(it)
    pipe = SplicePipe()
    assert pipe.transfer(source, target, 100).taken == -1
    client.sendall(b"hello")
    assert pipe.transfer(source, target, 100) == (5, 5, b"")
    assert origin.recv(100) == b"hello"
    client.close()
    assert pipe.transfer(source, target, 100).taken == 0


def test_no_more_is_moved_than_was_asked_for(it: Loop) -> None:
    (source, client), (target, origin) = pair(it), pair(it)
    pipe = SplicePipe()
    client.sendall(b"0123456789")
    assert pipe.transfer(source, target, 4) == (4, 4, b"")
    assert origin.recv(100) == b"0123"


def test_what_the_target_does_not_take_is_handed_out_and_the_pipe_is_empty(it: Loop) -> None:
    (source, client), (target, origin) = pair(it), pair(it)
    (other, second), (sink, third) = pair(it), pair(it)
    pipe = SplicePipe()
    sent, got, rest = 0, b"", b""
    while not rest:
        client.sendall(os.urandom(8192))
        moved = pipe.transfer(source, target, 8192)
        sent += moved.sent
        rest = moved.rest
        assert len(rest) == moved.taken - moved.sent
    while len(got) < sent:
        got += origin.recv(65536)
    second.sendall(b"another's")
    assert pipe.transfer(other, sink, 100) == (9, 9, b"")
    assert third.recv(100) == b"another's"


def test_a_target_that_is_gone_leaves_nothing_to_the_next_one(it: Loop) -> None:
    (source, client), (target, origin) = pair(it), pair(it)
    (sink, third) = pair(it)
    pipe = SplicePipe()
    origin.close()
    client.sendall(b"lost")
    with pytest.raises(StreamClosed):
        pipe.transfer(source, target, 100)
    client.sendall(b"mine")
    assert pipe.transfer(source, sink, 100) == (4, 4, b"")
    assert third.recv(100) == b"mine"


def test_a_closed_stream_is_said(it: Loop) -> None:
    (source, _), (target, _) = pair(it), pair(it)
    source.close()
    with pytest.raises(StreamClosed):
        SplicePipe().transfer(source, target, 100)


def test_the_pipe_is_opened_once_and_closed_with_its_owner(it: Loop) -> None:
    pairs = [(pair(it), pair(it)) for _ in range(20)]
    before = open_descriptors()
    pipe = SplicePipe()
    for (source, client), (target, _) in pairs:
        client.sendall(b"x")
        assert pipe.transfer(source, target, 10).sent == 1
    assert open_descriptors() == before + 2
    del pipe
    assert open_descriptors() == before


@settings(deadline=None)
@given(
    st.lists(st.integers(1, 60_000), min_size=1, max_size=6),
    st.lists(st.integers(500, 50_000), min_size=1, max_size=5),
)
def test_any_cuts_give_the_same_bytes(pieces: list[int], sizes: list[int]) -> None:
    loop = Readiness(lambda error: None)
    ours, client = socket.socketpair()
    theirs, origin = socket.socketpair()
    for sock in (ours, theirs, client, origin):
        sock.setblocking(False)
    source, target = Stream(loop, ours), Stream(loop, theirs)
    data = os.urandom(sum(pieces))
    pipe, sent, got, held, at = SplicePipe(), 0, b"", b"", 0
    while len(got) < len(data):
        if sent < len(data):
            piece = pieces[min(at, len(pieces) - 1)]
            try:
                sent += client.send(data[sent : sent + piece])
            except BlockingIOError:
                pass
        if held:
            held = held[target.send_now(held) :]
        else:
            held = pipe.transfer(source, target, sizes[at % len(sizes)]).rest
        try:
            got += origin.recv(sizes[at % len(sizes)])
        except BlockingIOError:
            pass
        at += 1
    assert got == data
    for end in (source, target, client, origin):
        end.close()
    loop.close()
