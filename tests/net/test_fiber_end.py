"""The laws of fibers: cancellation is never ignored, and the loop is fair and resolves batches."""

from __future__ import annotations

import gc
import os
import socket
from collections.abc import Callable

import pytest

from egressd.net import Cancelled, Fiber, FiberGroup, Stream, StreamClosed
from egressd.net.fiber import BUDGET
from tests.net.driver import Loop, it, pair

__all__ = ["it"]


# -- cancelling ------------------------------------------------------------------------------


def _waits() -> list[tuple[str, Callable[[Fiber, Stream], object]]]:
    return [
        ("wait", lambda fiber, stream: fiber.wait()),
        ("yield", lambda fiber, stream: fiber.yield_now()),
        ("sleep", lambda fiber, stream: fiber.sleep(10)),
        ("nap", lambda fiber, stream: fiber.nap(10)),
        ("recv", lambda fiber, stream: stream.recv(fiber)),
        ("send", lambda fiber, stream: stream.send_all(fiber, b"x" * (8 << 20))),
    ]


@pytest.mark.parametrize("how", [name for name, _ in _waits()])
@pytest.mark.parametrize("when", ["parked", "running", "queued", "not started"])
def test_cancel_ends_a_fiber_wherever_it_waits(it: Loop, how: str, when: str) -> None:
    stream, peer = pair(it)
    wait = dict(_waits())[how]
    seen: list[str] = []

    async def run(fiber: Fiber) -> None:
        try:
            if when == "running":
                fiber.cancel()
            while True:
                await wait(fiber, stream)  # type: ignore[misc]
                if how == "yield" and when == "parked":
                    await fiber.wait()
        finally:
            with pytest.raises(Cancelled):
                await fiber.wait()  # again at each later wait
            seen.append("cleaned")

    if when == "not started":
        it.loop.stepping = True
    fiber = it.loop.spawn(run)
    if when == "not started":
        fiber.cancel()
        it.loop.stepping = False
    else:
        it.loop.turn()
        if when == "queued":
            it.loop.stepping = True
            fiber.wake()
            fiber.cancel()
            it.loop.stepping = False
        elif when == "parked":
            fiber.cancel()
    it.run()
    assert seen == ["cleaned"]
    assert fiber.done
    assert it.errors == []
    stream.close()
    peer.close()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit, GeneratorExit])
def test_a_base_exception_leaves_no_half_state(it: Loop, kind: type[BaseException]) -> None:
    async def fails(fiber: Fiber) -> None:
        fiber.set_deadline(it.now + 10)
        await fiber.wait()
        raise kind

    seen: list[str] = []

    async def other(fiber: Fiber) -> None:
        await fiber.wait()
        seen.append("other")

    failing, going_on = it.loop.spawn(fails), it.loop.spawn(other)
    it.run()
    it.loop.stepping = True
    failing.wake()
    going_on.wake()
    it.loop.stepping = False
    with pytest.raises(kind):
        it.loop.turn()
    assert failing.done and not failing.running
    assert failing not in it.loop.fibers
    it.run()
    assert seen == ["other"]


def test_an_error_of_a_fiber_without_an_owner_is_reported_and_ends_it_alone(it: Loop) -> None:
    async def fails(fiber: Fiber) -> None:
        raise ValueError("broken")

    it.loop.spawn(fails)
    assert [str(error) for error in it.errors] == ["broken"]


# -- the loop --------------------------------------------------------------------------------


def test_a_new_stream_with_an_old_number_gets_none_of_its_events(it: Loop) -> None:
    first, first_peer = pair(it)
    second, second_peer = pair(it)
    made: list[Stream] = []
    kept: list[socket.socket] = []

    async def replace(fiber: Fiber) -> None:
        """Closes the other stream within the batch; a new socket takes its number."""
        await first.recv(fiber)
        number = second.fd
        second.close()
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        assert ours.fileno() == number or theirs.fileno() == number
        fresh = ours if ours.fileno() == number else theirs
        fresh.setblocking(False)
        kept.append(theirs if fresh is ours else ours)
        made.append(Stream(it.loop, fresh))
        made[0].readable = False

    async def read(fiber: Fiber) -> None:
        with pytest.raises(StreamClosed):
            await second.recv(fiber)

    it.loop.spawn(replace)
    it.loop.spawn(read)
    it.run()
    first_peer.send(b"x")
    second_peer.send(b"y")
    second_peer.close()
    it.loop.turn()
    assert made
    assert not made[0].readable and not made[0].ended
    it.run()
    assert not made[0].readable and not made[0].ended
    assert it.errors == []
    for one in (first, *made):
        one.close()
    first_peer.close()
    kept[0].close()


def test_one_that_reads_without_end_lets_the_others_run(it: Loop) -> None:
    order: list[str] = []
    stream, peer = pair(it)

    async def greedy(fiber: Fiber) -> None:
        for _ in range(40):
            if fiber.budget <= 0:
                await fiber.yield_now()
            fiber.budget -= BUDGET // 4
            order.append("greedy")

    async def modest(fiber: Fiber) -> None:
        while await stream.recv(fiber):
            order.append("modest")

    it.loop.spawn(modest)
    it.run()
    it.loop.stepping = True
    it.loop.spawn(greedy)
    it.loop.stepping = False
    peer.send(b"x")
    for _ in range(3):
        it.loop.turn()
    assert "modest" in order
    assert order.index("modest") <= 8, "the other came within two steps of the greedy one"
    it.run()
    assert order.count("greedy") == 40
    stream.close()
    peer.close()


def test_reading_is_charged_to_the_step(it: Loop) -> None:
    stream, peer = pair(it)
    steps: list[int] = []

    async def read(fiber: Fiber) -> None:
        while data := await stream.recv(fiber, 1024):
            steps.append(it.loop.passes)
            assert len(data) <= 1024

    peer.setblocking(False)
    sent = 0
    it.loop.spawn(read)
    while sent < 2 * BUDGET:
        try:
            sent += peer.send(b"z" * 65536)
        except BlockingIOError:
            it.loop.turn()
    peer.close()
    it.run()
    most = max(steps.count(one) for one in set(steps))
    assert most <= BUDGET // 1024 + 1


def test_what_becomes_ready_outside_a_pass_is_run_at_once(it: Loop) -> None:
    seen: list[str] = []

    async def wait(fiber: Fiber) -> None:
        await fiber.wait()
        seen.append("woken")

    fiber = it.loop.spawn(wait)
    fiber.wake()  # from a trio task, say
    assert seen == ["woken"]


def test_closing_the_loop_ends_every_fiber_and_leaves_no_descriptor() -> None:
    gc.collect()  # what other tests left to the collector
    before = set(os.listdir("/proc/self/fd"))
    it = Loop()
    stream, peer = pair(it)
    seen: list[str] = []

    async def owner(fiber: Fiber) -> None:
        async def child(own: Fiber) -> None:
            try:
                await own.wait()
            finally:
                seen.append("child")

        try:
            async with FiberGroup(it.loop, fiber) as group:
                group.start(child)
                await stream.recv(fiber)
        finally:
            seen.append("owner")

    it.loop.spawn(owner)
    it.run()
    it.loop.close()
    assert sorted(seen) == ["child", "owner"]
    stream.close()
    peer.close()
    assert set(os.listdir("/proc/self/fd")) == before
