"""The order in which services are read."""

from __future__ import annotations

import trio
from trio.testing import wait_all_tasks_blocked

from adapters.consul.reading import ReadQueue


async def test_changed_services_are_read_before_the_rest() -> None:
    queue = ReadQueue()
    queue.add(["a", "b", "c"], changed=False)
    queue.add(["c"], changed=True)
    assert [await queue.take() for _ in range(3)] == [("c", True), ("a", False), ("b", False)]


async def test_a_name_that_waits_already_is_read_once() -> None:
    queue = ReadQueue()
    queue.add(["a"], changed=True)
    queue.add(["a"], changed=False)
    queue.done((await queue.take())[0])
    assert queue.is_idle


async def test_a_name_that_is_being_read_waits_for_that() -> None:
    queue = ReadQueue()
    queue.add(["a"], changed=True)
    assert await queue.take() == ("a", True)
    queue.add(["a"], changed=True)
    taken: list[str] = []

    async def take() -> None:
        taken.append((await queue.take())[0])

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take)
        await wait_all_tasks_blocked()
        assert taken == []
        queue.done("a")
    assert taken == ["a"]


async def test_swept_is_when_the_rest_was_taken() -> None:
    queue = ReadQueue()
    queue.add(["a"], changed=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(queue.swept)
        await wait_all_tasks_blocked()
        assert len(nursery.child_tasks) == 1
        queue.done((await queue.take())[0])
    assert queue.is_idle
