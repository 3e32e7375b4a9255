"""Fibers: waking, deadlines, sleeping, trio calls, and what an error or a cancellation leaves."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from time import monotonic

import pytest
import trio
import trio.testing

from egressd.net import Deadline, Fiber, Readiness, Stream, StreamClosed


@asynccontextmanager
async def running() -> AsyncIterator[tuple[Readiness, list[Exception]]]:
    errors: list[Exception] = []
    loop = Readiness(errors.append)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop.run)
        await trio.testing.wait_all_tasks_blocked()
        with trio.fail_after(5):
            yield loop, errors
        nursery.cancel_scope.cancel()


def pair(loop: Readiness) -> tuple[Stream, socket.socket]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    return Stream(loop, ours), theirs


async def test_a_fiber_reads_what_comes_and_the_end() -> None:
    async with running() as (loop, _):
        stream, peer = pair(loop)
        got: list[bytes] = []
        done = trio.Event()

        async def read(fiber: Fiber) -> None:
            while data := await stream.recv(fiber):
                got.append(data)
            done.set()

        loop.spawn(read)
        peer.send(b"one")
        await trio.testing.wait_all_tasks_blocked()
        peer.send(b"two")
        peer.close()
        await done.wait()
        assert b"".join(got) == b"onetwo"


async def test_a_deadline_wakes_the_fiber_that_waits() -> None:
    async with running() as (loop, _):
        stream, peer = pair(loop)
        hit = trio.Event()

        async def wait(fiber: Fiber) -> None:
            fiber.set_deadline(monotonic() + 0.02)
            with pytest.raises(Deadline):
                await stream.recv(fiber)
            hit.set()

        loop.spawn(wait)
        await hit.wait()
        peer.close()


async def test_a_deadline_that_moves_later_does_not_fire_early() -> None:
    async with running() as (loop, _):
        stream, peer = pair(loop)
        done = trio.Event()

        async def wait(fiber: Fiber) -> None:
            fiber.set_deadline(monotonic() + 0.01)
            fiber.set_deadline(monotonic() + 60)
            assert await stream.recv(fiber) == b"x"
            done.set()

        loop.spawn(wait)
        await trio.sleep(0.05)
        peer.send(b"x")
        await done.wait()


async def test_a_large_write_waits_for_its_reader() -> None:
    async with running() as (loop, _):
        stream, peer = pair(loop)
        size = 4 << 20
        done = trio.Event()

        async def write(fiber: Fiber) -> None:
            await stream.send_all(fiber, b"z" * size)
            done.set()

        loop.spawn(write)
        assert not done.is_set()
        taken = 0
        peer.setblocking(False)
        while taken < size:
            await trio.lowlevel.wait_readable(peer)
            taken += len(peer.recv(1 << 20))
        await done.wait()


async def test_a_reset_is_an_error_of_the_stream() -> None:
    async with running() as (loop, _):
        stream, peer = pair(loop)
        peer.close()
        seen = trio.Event()

        async def write(fiber: Fiber) -> None:
            with pytest.raises(StreamClosed):
                await stream.send_all(fiber, b"x")
            seen.set()

        loop.spawn(write)
        await seen.wait()


async def test_a_trio_call_gives_its_value_and_the_deadline_cancels_it() -> None:
    async with running() as (loop, _):
        cancelled = trio.Event()
        results: list[int] = []

        async def slow() -> int:
            try:
                await trio.sleep_forever()
            finally:
                cancelled.set()
            return 0

        async def quick() -> int:
            await trio.lowlevel.checkpoint()
            return 7

        async def run(fiber: Fiber) -> None:
            results.append(await loop.call(fiber, quick))
            fiber.set_deadline(monotonic() + 0.02)
            with pytest.raises(Deadline):
                await loop.call(fiber, slow)

        loop.spawn(run)
        await cancelled.wait()
        assert results == [7]


async def test_an_error_ends_its_fiber_alone() -> None:
    async with running() as (loop, errors):

        async def fail(fiber: Fiber) -> None:
            raise ValueError("mine")

        loop.spawn(fail)
        done = trio.Event()

        async def go_on(fiber: Fiber) -> None:
            await fiber.sleep(0.01)
            done.set()

        loop.spawn(go_on)
        await done.wait()
        assert [str(error) for error in errors] == ["mine"]
        assert not loop.fibers


async def test_the_end_of_the_loop_ends_every_fiber_with_its_finally_blocks() -> None:
    ended: list[str] = []
    loop = Readiness(lambda error: None)

    async def wait(fiber: Fiber) -> None:
        try:
            await fiber.sleep(60)
        finally:
            ended.append("finally")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop.run)
        await trio.testing.wait_all_tasks_blocked()
        loop.spawn(wait)
        nursery.cancel_scope.cancel()
    assert ended == ["finally"]
    assert not loop.fibers
