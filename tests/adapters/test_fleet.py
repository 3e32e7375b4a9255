"""The fleet adapter against a store in memory: what it says of sets, and what it tells the fleet."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import msgspec
import pytest
import trio
from trio.testing import MockClock

from adapters.fleet import make_adapter
from egressd.api.resource import Place, Problem
from egressd.fleet.config import FleetConfig
from egressd.fleet.node_status import NodeStatus
from egressd.registry.adapter import AdapterConfigError, AdapterContext
from egressd.registry.keyvalue import KeyValueError
from egressd.registry.records import Record, Snapshot
from tests.fleet.memory_store import MemoryStore
from tests.fleet.texts import entry, route

R = "fleet/resources/"


class Sink:
    """What the registry process would hear. `is_believed` is the guard's word."""

    def __init__(self) -> None:
        self.snapshots: list[Snapshot] = []
        self.reasons: list[str] = []
        self.said: tuple[Problem, ...] = ()
        self.syncs = 0
        self.is_believed = True
        self.verdict: tuple[Problem, ...] | None = ()
        self.before: tuple[Record, ...] = ()  # of an earlier run of the node

    def publish(self, snapshot: Snapshot) -> bool:
        self.snapshots.append(snapshot)
        return self.is_believed

    def progress(self, done: int, total: int) -> None:
        """Nothing."""

    def in_sync(self) -> None:
        self.syncs += 1

    def known(self) -> tuple[Record, ...]:
        return self.snapshots[-1].records if self.snapshots else self.before

    def failed(self, reason: str) -> None:
        self.reasons.append(reason)

    def problems(self, problems: tuple[Problem, ...]) -> None:
        self.said = problems

    def overruled(self) -> tuple[Problem, ...] | None:
        return self.verdict

    @property
    def refs(self) -> list[str]:
        return sorted(record.resource.ref for record in self.snapshots[-1].records)


class Run:
    """A store, and a node that follows it."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.sink = Sink()
        self.version = 0

    def put(self, **texts: str | None) -> None:
        """A change of resources of the namespace shop, named KIND_NAME, with the next version."""
        self.version += 1
        for name, text in texts.items():
            kind, _, name = name.partition("_")
            self.store.put(f"{R}{kind}/shop/{name}", text)
        self.store.put(f"{R}version", f'{{"version": {self.version}}}')

    def status(self) -> NodeStatus:
        key, value, _ = self.store.statuses[-1]
        assert key == "fleet/status/vm%2F1"
        return msgspec.json.decode(value, type=NodeStatus)


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, nursery: trio.Nursery) -> Run:
    made = Run()
    monkeypatch.setattr(FleetConfig, "open", lambda config: made.store)
    options = {"store": "memory", "prefix": "/fleet", "statusInterval": "10s"}
    adapter = make_adapter(AdapterContext(name="fleet", node_id="vm/1"), options)
    made.put(ServiceEntry_a=entry("a"), VirtualService_r=route("r"))
    nursery.start_soon(adapter.run, made.sink)
    return made


async def test_a_set_becomes_records_with_key_and_revision(
    run: Run, autojump_clock: MockClock
) -> None:
    await trio.sleep(1)
    (snapshot,) = run.sink.snapshots
    assert snapshot.source_version == "1"
    record = snapshot.records[0]
    assert (record.origin, record.source, record.source_version) == (
        f"{R}ServiceEntry/shop/a",
        "fleet",
        "1",
    )
    assert run.sink.said == ()


async def test_a_change_is_published_and_the_rest_are_the_same_records(
    run: Run, autojump_clock: MockClock
) -> None:
    await trio.sleep(1)
    run.put(ServiceEntry_b=entry("b"))
    await trio.sleep(0.1)
    first, second = run.sink.snapshots
    assert len(second.records) == 3
    assert {id(record) for record in first.records} < {id(record) for record in second.records}


async def test_a_key_that_cannot_be_read_keeps_what_it_said_and_is_rejected(
    run: Run, autojump_clock: MockClock
) -> None:
    await trio.sleep(1)
    run.put(ServiceEntry_a="kind: nonsense", ServiceEntry_b=entry("c"))
    await trio.sleep(1)
    snapshot = run.sink.snapshots[-1]
    assert run.sink.refs == ["VirtualService/shop/r"]
    assert snapshot.failed_origins == {f"{R}ServiceEntry/shop/a", f"{R}ServiceEntry/shop/b"}
    assert len(run.sink.said) == 2
    a, b = run.status().rejected
    assert (a.resource, a.revision, a.in_force) == ("ServiceEntry/shop/a", 4, 1)
    assert "nonsense" in a.reason
    assert (b.in_force, b.reason) == (
        0,
        "found ServiceEntry/shop/c, expected the one resource that its key names",
    )


async def test_what_the_registry_overrules_is_rejected_with_the_reason(
    run: Run, autojump_clock: MockClock
) -> None:
    run.sink.verdict = None
    await trio.sleep(1)
    assert not run.store.statuses  # not decided yet
    run.sink.verdict = (
        Problem(
            place=Place(f"{R}VirtualService/shop/r", 1),
            resource="VirtualService/shop/r",
            field="spec.hosts",
            found="a.example (gateway mesh)",
            expected="a host that nobody has",
        ),
    )
    await trio.sleep(1)
    (rejection,) = run.status().rejected
    assert (rejection.resource, rejection.in_force) == ("VirtualService/shop/r", 0)
    assert rejection.reason == (
        "spec.hosts: found a.example (gateway mesh), expected a host that nobody has"
    )
    run.sink.verdict = ()
    await trio.sleep(1)
    assert run.status().rejected == ()


async def test_the_status_names_the_version_and_is_renewed(
    run: Run, autojump_clock: MockClock
) -> None:
    await trio.sleep(1)
    status = run.status()
    assert (status.node, status.version, status.interval_s) == ("vm/1", 1, 10.0)
    count = len(run.store.statuses)
    run.put(ServiceEntry_b=entry("b"))
    await trio.sleep(1)
    assert run.status().version == 2
    await trio.sleep(100)
    assert 9 <= len(run.store.statuses) - count <= 12


@contextmanager
def _away(store: MemoryStore) -> Iterator[None]:
    store.fault = KeyValueError("store: connection refused")
    yield
    store.fault = None


async def test_an_outage_is_told_forgets_nothing_and_heals(
    run: Run, autojump_clock: MockClock
) -> None:
    await trio.sleep(1)
    with _away(run.store):
        await trio.sleep(60)
        assert set(run.sink.reasons) == {"store: connection refused"}
        assert any("connection refused" in problem.found for problem in run.sink.said)
        assert len(run.sink.snapshots) == 1
    run.put(ServiceEntry_b=entry("b"))
    await trio.sleep(30)
    assert run.sink.refs[:2] == ["ServiceEntry/shop/a", "ServiceEntry/shop/b"]
    assert run.sink.said == ()
    assert run.status().version == 2


async def test_an_empty_store_is_no_word_on_anything(run: Run, autojump_clock: MockClock) -> None:
    run.put(VirtualService_r=None)
    await trio.sleep(1)
    run.store.lose_state()
    await trio.sleep(60)
    assert "found no version and no resources" in run.sink.reasons[-1]
    assert (len(run.sink.snapshots), run.sink.syncs) == (1, 0)
    run.version = 0
    run.put(ServiceEntry_b=entry("b"))  # somebody begins anew
    await trio.sleep(1)
    assert run.sink.refs == ["ServiceEntry/shop/b"]
    assert "went back from 2 to 1" in run.sink.snapshots[-1].doubt


async def test_an_empty_store_is_an_answer_where_nothing_was_known(
    run: Run, autojump_clock: MockClock
) -> None:
    run.store.lose_state()
    await trio.sleep(60)
    assert {snapshot.records for snapshot in run.sink.snapshots} == {()}
    assert run.sink.reasons == []
    (warned,) = run.sink.said
    assert "nothing was applied yet" in str(warned)
    run.version = 0
    run.put(ServiceEntry_b=entry("b"))
    await trio.sleep(1)
    assert run.sink.refs == ["ServiceEntry/shop/b"]
    assert run.sink.said == ()


async def test_an_empty_store_that_refuses_a_key_is_no_answer(
    run: Run, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(key: str) -> None:
        raise KeyValueError(f"store: {key}: 403 Permission denied")

    run.store.lose_state()
    monkeypatch.setattr(run.store, "get", refuse)
    await trio.sleep(60)
    assert run.sink.snapshots == []
    assert "Permission denied" in run.sink.reasons[-1]


async def test_an_empty_store_takes_nothing_from_a_node_that_started_anew(
    run: Run, autojump_clock: MockClock
) -> None:
    run.sink.before = (cast(Record, object()),)
    run.store.lose_state()
    await trio.sleep(60)
    assert run.sink.snapshots == []
    assert "found no version and no resources" in run.sink.reasons[-1]


async def test_a_version_that_goes_back_is_doubted(run: Run, autojump_clock: MockClock) -> None:
    run.put(ServiceEntry_b=entry("b"))
    await trio.sleep(1)
    run.version = 0
    run.put(ServiceEntry_b=None)
    await trio.sleep(1)
    assert run.sink.snapshots[-1].doubt == (
        "the fleet's version went back from 2 to 1: the store lost its state"
    )


async def test_a_loss_that_is_held_is_read_again_until_it_is_believed(
    run: Run, autojump_clock: MockClock
) -> None:
    await trio.sleep(1)
    run.sink.is_believed = False
    run.put(ServiceEntry_a=None)
    await trio.sleep(5)
    held, *again = run.sink.snapshots[1:]
    assert not held.is_reread
    assert again
    assert all(snapshot.is_reread for snapshot in again)
    assert run.status().held
    run.sink.is_believed = True
    await trio.sleep(5)
    assert not run.status().held
    count = len(run.sink.snapshots)
    await trio.sleep(60)
    assert len(run.sink.snapshots) == count
    assert run.sink.syncs >= 2


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({}, "options.store: found None, expected etcd or consul"),
        ({"store": "zookeeper"}, "options.store: found 'zookeeper', expected an installed sto"),
        ({"store": "consul", "prefix": "//"}, "options.prefix: found '//'"),
        ({"store": "consul", "statusInterval": "0s"}, "options.statusInterval: found '0s'"),
        ({"store": "consul", "options": 3}, "options.options: found 3, expected a mapping"),
        (
            {"store": "consul", "color": "red"},
            "options.color: found an unknown option, ex",
        ),
        (
            {"store": "consul", "options": {"adress": "x"}},
            "options.options.adress: found an unknown",
        ),
    ],
)
def test_wrong_options_are_refused(options: dict[str, object], says: str) -> None:
    with pytest.raises(AdapterConfigError) as caught:
        make_adapter(AdapterContext(name="fleet"), options)
    assert says in str(caught.value)
