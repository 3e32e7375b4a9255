"""The laws of fibers: wakes are sticky, deadlines, children have an owner."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from egressd.net import Deadline, Fiber, FiberGroup, StreamClosed
from tests.net.driver import Loop, it, pair

__all__ = ["it"]


# -- waking ----------------------------------------------------------------------------------


def test_a_wake_of_a_running_fiber_is_not_lost(it: Loop) -> None:
    seen: list[str] = []

    async def wakes_itself(fiber: Fiber) -> None:
        fiber.wake()
        await fiber.wait()
        seen.append("woken")

    it.loop.spawn(wakes_itself)
    it.run()
    assert seen == ["woken"]


def test_a_wake_before_the_first_step_and_many_wakes_are_one(it: Loop) -> None:
    steps = 0

    async def count(fiber: Fiber) -> None:
        nonlocal steps
        while True:
            await fiber.wait()
            steps += 1

    fiber = it.loop.spawn(count)
    it.run()
    it.loop.stepping = True
    for _ in range(5):
        fiber.wake()
    it.loop.stepping = False
    it.run()
    assert steps == 1


def test_fibers_that_wake_each_other_do_not_nest(it: Loop) -> None:
    rounds = 0
    both: list[Fiber] = []

    async def play(fiber: Fiber) -> None:
        nonlocal rounds
        while rounds < 20_000:
            rounds += 1
            other = both[0] if fiber is both[1] else both[1]
            other.wake()
            await fiber.wait()
        both[0].wake()
        both[1].wake()

    async def hold(fiber: Fiber) -> None:
        await fiber.wait()
        await play(fiber)

    both.extend(it.loop.spawn(hold) for _ in range(2))
    it.run()
    both[0].wake()
    while it.loop.turn():
        pass
    assert rounds == 20_000
    assert all(fiber.done for fiber in both)


def test_a_chain_of_fibers_that_end_each_other_does_not_nest(it: Loop) -> None:
    ended = 0

    def link(before: Fiber | None) -> Callable[[Fiber], object]:
        async def wait(fiber: Fiber) -> None:
            nonlocal ended
            try:
                await fiber.wait()
            finally:
                ended += 1
                if before is not None:
                    before.cancel()

        return wait

    last: Fiber | None = None
    for _ in range(5_000):
        last = it.loop.spawn(link(last))  # type: ignore[arg-type]
    it.run()
    assert last is not None
    last.cancel()
    while it.loop.turn():
        pass
    assert ended == 5_000


def test_a_waiter_of_a_stream_that_somebody_else_closes_finds_it_closed(it: Loop) -> None:
    stream, peer = pair(it)
    seen: list[str] = []

    async def read(fiber: Fiber) -> None:
        with pytest.raises(StreamClosed):
            await stream.recv(fiber)
        seen.append("closed")

    it.loop.spawn(read)
    it.run()
    stream.close()
    it.run()
    assert seen == ["closed"]
    peer.close()


# -- deadlines -------------------------------------------------------------------------------


def test_a_deadline_is_raised_until_it_is_moved(it: Loop) -> None:
    seen: list[str] = []

    async def wait(fiber: Fiber) -> None:
        fiber.set_deadline(it.now + 5)
        for _ in range(2):
            try:
                await fiber.wait()
            except Deadline:
                seen.append("deadline")
        fiber.set_deadline(it.now + 5)
        await fiber.wait()
        seen.append("woken")

    fiber = it.loop.spawn(wait)
    it.run()
    it.advance(4.9)
    assert seen == []
    it.advance(0.2)
    assert seen == ["deadline", "deadline"]
    fiber.wake()
    it.run()
    assert seen[-1] == "woken"


@pytest.mark.parametrize("outer", [None, 3.0, 30.0])
def test_sleep_ends_at_its_time_or_at_the_fibers_own_deadline(
    it: Loop, outer: float | None
) -> None:
    seen: list[str] = []

    async def sleep(fiber: Fiber) -> None:
        if outer is not None:
            fiber.set_deadline(it.now + outer)
        try:
            await fiber.sleep(10.0)
            seen.append("slept")
        except Deadline:
            seen.append("deadline")

    fiber = it.loop.spawn(sleep)
    it.run()
    fiber.wake()
    it.run()
    assert seen == []
    it.advance(3.1)
    assert seen == (["deadline"] if outer == 3.0 else [])
    it.advance(7.0)
    assert seen == ["deadline" if outer == 3.0 else "slept"]


# -- groups ----------------------------------------------------------------------------------


def test_the_owner_leaves_when_all_children_have_ended(it: Loop) -> None:
    seen: list[object] = []
    children: list[Fiber] = []

    async def child(fiber: Fiber) -> None:
        await fiber.wait()
        seen.append("child")

    async def owner(fiber: Fiber) -> None:
        async with FiberGroup(it.loop, fiber) as group:
            children.extend(group.start(child) for _ in range(3))
        seen.append("owner")

    it.loop.spawn(owner)
    it.run()
    for one in children:
        assert "owner" not in seen
        one.wake()
        it.run()
    assert seen == ["child", "child", "child", "owner"]


def test_an_error_of_one_ends_the_others_and_reaches_the_owner(it: Loop) -> None:
    seen: list[object] = []

    async def waits(fiber: Fiber) -> None:
        try:
            await fiber.wait()
        finally:
            seen.append("ended")

    async def fails(fiber: Fiber) -> None:
        raise ValueError("broken")

    async def owner(fiber: Fiber) -> None:
        try:
            async with FiberGroup(it.loop, fiber) as group:
                group.start(waits)
                group.start(fails)
                group.start(waits)
                await fiber.wait()  # would wait for ever
                seen.append("not reached")
        except ValueError as error:
            seen.append(str(error))
        await fiber.yield_now()
        seen.append("goes on")

    it.loop.spawn(owner)
    it.run()
    assert seen == ["ended", "ended", "broken", "goes on"]
    assert it.errors == []


def test_the_error_of_an_inner_group_passes_through_the_outer_one(it: Loop) -> None:
    seen: list[object] = []

    async def fails(fiber: Fiber) -> None:
        await fiber.wait()
        raise ValueError("broken")

    async def waits(fiber: Fiber) -> None:
        try:
            await fiber.wait()
        finally:
            seen.append("outer child ended")

    failing: list[Fiber] = []

    async def owner(fiber: Fiber) -> None:
        with pytest.raises(ValueError, match="broken"):
            async with FiberGroup(it.loop, fiber) as outer:
                outer.start(waits)
                async with FiberGroup(it.loop, fiber) as inner:
                    failing.append(inner.start(fails))
        seen.append("owner")

    it.loop.spawn(owner)
    it.run()
    failing[0].wake()
    it.run()
    assert seen == ["outer child ended", "owner"]


def test_an_error_or_a_deadline_of_the_owner_ends_the_children(it: Loop) -> None:
    seen: list[object] = []

    async def waits(fiber: Fiber) -> None:
        try:
            await fiber.wait()
        finally:
            seen.append("ended")

    async def owner(fiber: Fiber) -> None:
        fiber.set_deadline(it.now + 1)
        with pytest.raises(Deadline):
            async with FiberGroup(it.loop, fiber) as group:
                group.start(waits)
        with pytest.raises(KeyError):
            async with FiberGroup(it.loop, fiber) as group:
                group.start(waits)
                raise KeyError
        seen.append("owner")

    it.loop.spawn(owner)
    it.run()
    it.advance(1.1)
    assert seen == ["ended", "ended", "owner"]


def test_a_child_that_cancels_its_owner_is_ended_with_it(it: Loop) -> None:
    seen: list[object] = []

    async def owner(fiber: Fiber) -> None:
        async def child(own: Fiber) -> None:
            fiber.cancel()
            try:
                await own.wait()
            finally:
                seen.append("child")

        try:
            async with FiberGroup(it.loop, fiber) as group:
                group.start(child)
        finally:
            seen.append("owner")

    it.loop.spawn(owner)
    it.run()
    assert seen == ["child", "owner"]
