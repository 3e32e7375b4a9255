"""The fence around an adapter."""

from __future__ import annotations

import pytest
import trio

from egressd.node.bootstrap_model import AdapterConfig, Bootstrap
from egressd.node.sources import SourceSink, SourceStatus, run_source
from egressd.registry.records import Snapshot
from tests.registry.test_merge import service, snapshot


def sink(taken: list[Snapshot] | None = None) -> SourceSink:
    def take(source: str, snapshot: Snapshot) -> bool:
        (taken if taken is not None else []).append(snapshot)
        return True

    return SourceSink(
        SourceStatus("one", "t"), take, lambda: None, lambda source: (), lambda source: ()
    )


def test_records_under_another_name_are_refused_in_the_adapter_itself() -> None:
    """Further on they would end the registry process."""
    taken: list[Snapshot] = []
    with pytest.raises(ValueError, match="ServiceEntry/default/a: found source 'two', expected"):
        sink(taken).publish(snapshot("two", service("a")))
    assert not taken
    assert sink(taken).publish(snapshot("one", service("a")))


def test_a_type_that_is_not_installed_is_one_failure() -> None:
    told = sink()

    async def run() -> None:
        with trio.move_on_after(0.1):
            await run_source(AdapterConfig(type="no-such", name="one"), Bootstrap(), told)

    trio.run(run)
    assert told.status.errors == 1
    assert "'no-such': found no such entry point" in told.status.error
