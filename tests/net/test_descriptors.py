"""Clients are taken only while everybody who is there can have an upstream connection."""

from __future__ import annotations

import errno
import os

from hypothesis import given
from hypothesis import strategies as st

from egressd.net.descriptors import DescriptorReserve, lowest_free


def test_the_lowest_free_number_is_the_next_ones() -> None:
    free = lowest_free()
    fd = os.open(os.devnull, os.O_RDONLY)
    assert fd == free
    os.close(fd)


@given(limit=st.integers(0, 400), used=st.integers(3, 40), arrivals=st.integers(1, 500))
def test_every_client_that_is_taken_can_have_an_upstream(
    limit: int, used: int, arrivals: int
) -> None:
    clients = 0
    reserve = DescriptorReserve(limit, lambda: used + clients)
    for _ in range(arrivals):
        if not reserve.is_short(clients):
            reserve.took(used + clients)
            clients += 1
    assert clients == 1 or used + 2 * clients <= limit
    assert clients >= 1
    room = (limit - 32 - used) // 2
    assert clients >= min(arrivals, room)


def test_there_is_room_again_when_others_are_closed() -> None:
    free = 90
    reserve = DescriptorReserve(100, lambda: free)
    reserve.took(90)
    assert reserve.is_short(40)
    free = 20
    assert not reserve.is_short(10)


def test_no_descriptor_at_all_is_short() -> None:
    def none() -> int:
        raise OSError(errno.EMFILE, "")

    reserve = DescriptorReserve(100, none)
    reserve.took(99)
    assert reserve.is_short(1)


def test_plenty_is_not_even_asked_for() -> None:
    def fail() -> int:
        raise AssertionError

    reserve = DescriptorReserve(1 << 20, fail)
    reserve.took(5000)
    assert not reserve.is_short(5000)
