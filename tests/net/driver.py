"""A readiness loop driven pass by pass, with a clock of its own: no trio, no sleep."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from egressd.net import Readiness, Stream


class Loop:
    """A readiness loop with a clock of its own."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.errors: list[Exception] = []
        self.loop = Readiness(self.errors.append, lambda: self.now)

    def run(self) -> None:
        for _ in range(1000):
            if not self.loop.turn():
                return
        raise AssertionError("the loop never comes to rest")

    def advance(self, seconds: float) -> None:
        self.now += seconds
        self.loop.sweep(self.now)
        self.run()


@pytest.fixture
def it() -> Iterator[Loop]:
    made = Loop()
    yield made
    made.loop.close()
    assert not made.loop.fibers
    assert not len(made.loop.deadlines)


def pair(it: Loop) -> tuple[Stream, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    return Stream(it.loop, ours), theirs
