"""What admin paths answer."""

from __future__ import annotations

import json
import threading
from collections.abc import Mapping, Sequence
from typing import cast

import pytest
import trio

from egressd.admin.request_guard import Target
from egressd.admin.state import AdminState, ClusterView
from egressd.admin.views import Answer, answer
from egressd.api.resource import Problem
from egressd.registry.records import Record, SourceState
from tests.registry.test_merge import records, service


class Slow:
    """A registry that takes as long to read as other tasks of the loop need to get their turn."""

    def __init__(self) -> None:
        self.others_ran = threading.Event()

    def records(self, host: str) -> Sequence[Record]:
        assert self.others_ran.wait(10), "the loop stood still"
        return records("one", service("a"))

    def source_states(self) -> Mapping[str, SourceState]:
        return {}

    def problems(self) -> tuple[Problem, ...]:
        return ()

    def bootstrap(self) -> object:
        return {"shown": "already"}

    async def clusters(self) -> list[ClusterView]:
        return []


@pytest.mark.parametrize("path", ["/registry", "/config_dump"])
def test_a_large_registry_is_shown_beside_the_loop(path: str) -> None:
    state = Slow()
    found: list[Answer] = []

    async def ask() -> None:
        found.append(await answer(cast(AdminState, state), Target(path), ""))

    async def both() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.sleep(0.01)
            state.others_ran.set()

    trio.run(both)
    assert found[0].status == 200
    assert "a.example" in json.dumps(json.loads(found[0].body))
