"""From snapshots to versions."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from egressd.node import publisher as module
from egressd.node.bootstrap import parse_bootstrap
from egressd.node.bootstrap_model import AdapterConfig, Bootstrap
from egressd.node.publisher import Publisher, source_rule
from egressd.node.registry_state import RegistryState
from egressd.registry.guard import LossLimit
from egressd.registry.merge import ChangeSet, SourceRule
from egressd.registry.store import StoreError, StoreWriter
from tests.registry.test_merge import service, snapshot


def test_a_source_has_its_own_mass_loss_limit_where_it_states_one() -> None:
    text = """
registry: {massLoss: {percent: 20, minEndpoints: 3, grace: 2m}}
adapters:
- {type: static, name: a, massLoss: {percent: 80}, endpoints: merge}
- {type: static, name: b, massLoss: {minEndpoints: 0, grace: 0s}}
- {type: static, name: c}
"""
    bootstrap = parse_bootstrap(text)
    rules = [source_rule(adapter, bootstrap) for adapter in bootstrap.adapters]
    assert rules == [
        SourceRule(LossLimit(0.8, 3, 120.0), is_merged=True),
        SourceRule(LossLimit(0.2, 1, 0.0)),
        SourceRule(LossLimit(0.2, 3, 120.0)),
    ]


class FullStore(StoreWriter):
    """The disk is full for a while."""

    failures = 3

    def publish(self, changes: ChangeSet, ranks: dict[str, int], at: float) -> int:
        if self.failures:
            self.failures -= 1
            raise StoreError("no space left")
        return super().publish(changes, ranks, at)


async def until(check: Callable[[], bool]) -> None:
    for _ in range(1000):
        if check():
            return
        await trio.sleep(0.01)
    pytest.fail("not within 10 s")


def test_what_cannot_be_written_is_tried_again_and_sources_are_heard_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_WRITE_AGAIN_S", 0.05)
    sources = (AdapterConfig(type="static", name="one"),)

    async def run() -> list[str]:
        store = FullStore.open(tmp_path / "r")
        state = RegistryState(store, sources)
        publisher = Publisher(store, state, sources, Bootstrap(), ())
        await publisher.load()
        state.status("one").synced_at = 1.0
        publisher.take("one", snapshot("one", service("a")))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(publisher.run)
            await until(lambda: state.write_error == "no space left")
            publisher.take("one", snapshot("one", service("a"), service("b")))
            await until(lambda: state.version == 2)
            assert not state.write_error
            nursery.cancel_scope.cancel()
        found = [record.resource.metadata.name for record in store.all_records()]
        store.close()
        return found

    assert trio.run(run) == ["a", "b"]
