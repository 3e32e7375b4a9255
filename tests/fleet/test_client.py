"""Changes of the fleet's resources against a store: what is written, refused, retried."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest
import trio

from egressd.api.resource import Resource
from egressd.fleet.change import Change, plan_apply, plan_delete, plan_restore
from egressd.fleet.client import FleetClient, Outcome, Planner
from egressd.fleet.commit import MAX_BYTES, Note
from egressd.fleet.errors import ChangedMeanwhile, FleetError, Refused
from egressd.fleet.history import KEPT_VERSIONS, texts_of
from egressd.fleet.layout import Layout
from egressd.fleet.resource_set import ResourceSet
from egressd.registry.keyvalue import Conflict, Write
from tests.fleet.memory_store import MemoryStore
from tests.fleet.texts import entry, resources, route, rule

LAYOUT = Layout("fleet/")
NOW = datetime(2026, 5, 1, 12, 0, 0, tzinfo=UTC)
NOTE = Note("bob@vm-1", NOW.timestamp(), "why")


def applying(*texts: str, prune: bool = False) -> Planner:
    given = resources(*texts)
    return lambda base: plan_apply(base, given, NOW, prune=prune)


async def apply(store: MemoryStore, *texts: str) -> Outcome:
    return await FleetClient(store, LAYOUT).change(applying(*texts), NOTE)


def actions(changes: Sequence[Change]) -> dict[str, str]:
    return {change.ref.rpartition("/")[2]: str(change.action) for change in changes}


async def test_a_set_is_one_transaction_with_version_and_history() -> None:
    store = MemoryStore()
    outcome = await apply(store, entry("a"), route("r"))
    assert actions(outcome.changes) == {"a": "created", "r": "created"}
    assert outcome.version == 1
    assert [sorted(write.key for write in writes) for writes in store.commits] == [
        [
            "fleet/history/0000000001",
            "fleet/resources/ServiceEntry/shop/a",
            "fleet/resources/VirtualService/shop/r",
            "fleet/resources/version",
        ]
    ]


async def test_what_is_the_same_is_unchanged_and_makes_no_version() -> None:
    store = MemoryStore()
    await apply(store, entry("a"))
    outcome = await apply(store, entry("a"))
    assert actions(outcome.changes) == {"a": "unchanged"}
    assert (outcome.version, len(store.commits)) == (1, 1)


async def test_what_was_written_by_hand_in_another_style_is_unchanged() -> None:
    store = MemoryStore()
    store.put("fleet/resources/ServiceEntry/shop/a", f"# by hand\n{entry('a')}")
    assert actions((await apply(store, entry("a"))).changes) == {"a": "unchanged"}


async def test_the_store_keeps_the_time_of_creation() -> None:
    store = MemoryStore()
    client = FleetClient(store, LAYOUT)
    await apply(store, entry("a"))
    later = resources(entry("a", port=81))
    await client.change(
        lambda base: plan_apply(base, later, datetime(2027, 1, 1, tzinfo=UTC)), NOTE
    )
    stored = (await client.read()).resources["ServiceEntry/shop/a"]
    assert stored.metadata.creation_timestamp == "2026-05-01T12:00:00Z"
    assert stored.revision == "2"


@pytest.mark.parametrize(
    ("before", "change", "says"),
    [
        ([entry("a"), route("r")], [route("second")], "VirtualService/shop/r has"),
        ([entry("a"), rule("a", "v1"), route("r", subset="v1")], [rule("a", "v2")], 'subset "v1"'),
        ([], [entry("a"), entry("a")], "a second ServiceEntry/shop/a"),
        ([entry("a"), rule("a", "v1")], [route("r", subset="v9")], 'missing subset "v9"'),
    ],
    ids=["host claimed twice", "subset in use goes", "twice in the input", "unknown subset"],
)
async def test_what_would_not_be_valid_together_is_not_written(
    before: list[str], change: list[str], says: str
) -> None:
    store = MemoryStore()
    if before:
        await apply(store, *before)
    written = dict(store.entries)
    with pytest.raises(Refused, match=says):
        await apply(store, *change)
    assert store.entries == written


async def test_an_old_fault_keeps_nobody_from_changing_something_else() -> None:
    store = MemoryStore()
    for name in ("r", "s"):  # both claim a.example
        store.put(f"fleet/resources/VirtualService/shop/{name}", route(name))
    store.put("fleet/resources/ServiceEntry/shop/broken", "kind: nonsense")
    assert (await apply(store, entry("b"))).version == 1
    with pytest.raises(Refused):
        await apply(store, route("s", to="b.example"))


async def test_a_broken_key_is_mended_by_an_apply() -> None:
    store = MemoryStore()
    store.put("fleet/resources/ServiceEntry/shop/a", "kind: nonsense")
    assert actions((await apply(store, entry("a"))).changes) == {"a": "configured"}


async def test_a_stated_revision_must_be_the_present_one() -> None:
    store = MemoryStore()
    await apply(store, entry("a"))
    at_one = entry("a", port=81).replace("shop}", 'shop, resourceVersion: "1"}')
    assert actions((await apply(store, at_one)).changes) == {"a": "configured"}
    stale = entry("a", port=82).replace("shop}", 'shop, resourceVersion: "1"}')
    with pytest.raises(ChangedMeanwhile, match=r"revision 2, you had 1"):
        await apply(store, stale)
    gone = entry("b").replace("shop}", 'shop, resourceVersion: "7"}')
    with pytest.raises(ChangedMeanwhile, match="not there"):
        await apply(store, gone)


class _Overtaken(MemoryStore):
    """Somebody else is first, once."""

    def __init__(self, *others: str) -> None:
        super().__init__()
        self.others = others

    async def commit(self, writes: tuple[Write, ...]) -> int:
        others, self.others = self.others, ()
        if others:
            await FleetClient(self, LAYOUT).change(applying(*others), NOTE)
        return await super().commit(writes)


async def test_a_change_of_something_else_meanwhile_is_no_obstacle() -> None:
    store = _Overtaken(entry("b"))
    outcome = await apply(store, entry("a"))
    assert outcome.version == 2
    assert len(store.commits) == 2


async def test_a_change_of_the_same_meanwhile_is_refused() -> None:
    store = _Overtaken(entry("a", port=81))
    with pytest.raises(ChangedMeanwhile, match="somebody changed ServiceEntry/shop/a"):
        await apply(store, entry("a"))
    assert len(store.commits) == 1


async def test_a_write_by_hand_meanwhile_is_not_overwritten() -> None:
    class ByHand(MemoryStore):
        async def commit(self, writes: tuple[Write, ...]) -> int:
            if not self.entries:
                self.put("fleet/resources/ServiceEntry/shop/a", entry("a", port=99))
            return await super().commit(writes)

    store = ByHand()
    with pytest.raises(ChangedMeanwhile, match="somebody changed ServiceEntry/shop/a"):
        await apply(store, entry("a"))
    assert not store.commits


async def test_the_same_change_by_somebody_else_meanwhile_is_done() -> None:
    store = _Overtaken(entry("a"))
    assert (await apply(store, entry("a"))).version == 1


async def test_a_conflict_that_others_make_meanwhile_is_found() -> None:
    store = _Overtaken(entry("a"), route("theirs"))
    with pytest.raises(Refused, match="VirtualService/shop/theirs has"):
        await apply(store, route("ours"))


async def test_twenty_at_once_all_get_through(autojump_clock: trio.testing.MockClock) -> None:
    store = MemoryStore()
    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(apply, store, entry(f"s{number}"))
    found = await FleetClient(store, LAYOUT).read()
    assert (found.version.version, len(found.stored)) == (20, 20)


async def test_a_large_set_is_several_versions_services_before_routes() -> None:
    store = MemoryStore()
    texts = [entry(f"s{number}") for number in range(70)]
    routes = [route(f"r{number}", f"s{number}.example") for number in range(3)]
    outcome = await apply(store, *routes, *texts)
    assert outcome.version == 2
    assert [len(writes) for writes in store.commits] == [63, 14]
    assert "VirtualService" not in str(store.commits[0])
    client = FleetClient(store, LAYOUT)
    refs = list((await client.read()).stored)
    await client.change(lambda base: plan_delete(base, refs), NOTE)
    assert not (await client.read()).stored
    assert "VirtualService" in str(store.commits[2])


async def test_what_others_write_between_the_parts_is_checked_as_well() -> None:
    class Between(MemoryStore):
        async def commit(self, writes: tuple[Write, ...]) -> int:
            revision = await super().commit(writes)
            if len(self.commits) == 1:
                await FleetClient(self, LAYOUT).change(
                    applying(route("theirs", "s1.example")), NOTE
                )
            return revision

    store = Between()
    ours = [route(f"r{number}", f"s{number}.example") for number in range(2)]
    with pytest.raises(Refused, match="VirtualService/shop/theirs has"):
        await apply(store, *ours, *(entry(f"s{number}") for number in range(70)))
    assert "fleet/resources/VirtualService/shop/r1" not in store.entries


async def test_a_large_set_that_fails_half_way_says_so() -> None:
    class Fails(MemoryStore):
        async def commit(self, writes: tuple[Write, ...]) -> int:
            if self.commits:
                raise Conflict("always")
            return await super().commit(writes)

    with pytest.raises(FleetError, match="others were first") as caught:
        await apply(Fails(), *(entry(f"s{number}") for number in range(70)))
    assert caught.value.__notes__ == ["61 resources are written, version 1"]


async def test_a_resource_that_no_store_takes_is_refused() -> None:
    large = entry("a").replace("shop}", f"shop, annotations: {{a: {'x' * MAX_BYTES}}}}}")
    store = MemoryStore()
    with pytest.raises(FleetError, match=r"shop/a: found \d+ bytes"):
        await apply(store, *(entry(f"b{number}") for number in range(70)), large)
    assert not store.commits


async def test_dry_run_checks_and_writes_nothing() -> None:
    store = MemoryStore()
    outcome = await FleetClient(store, LAYOUT).change(applying(route("r")), NOTE, dry_run=True)
    assert actions(outcome.changes) == {"r": "created"}
    assert outcome.warnings  # no ServiceEntry
    assert not store.entries


async def test_prune_deletes_what_is_not_given() -> None:
    store = MemoryStore()
    await apply(store, entry("a"), entry("b"))
    outcome = await FleetClient(store, LAYOUT).change(applying(entry("a"), prune=True), NOTE)
    assert actions(outcome.changes) == {"a": "unchanged", "b": "deleted"}


async def _restore(store: MemoryStore, version: int) -> Outcome:
    client = FleetClient(store, LAYOUT)
    now = (await client.read()).version.version
    texts = texts_of(version, now, await client.history())

    def plan(base: ResourceSet) -> tuple[Change, ...]:
        return plan_restore(base, texts)

    return await client.change(plan, NOTE)


async def test_rollback_restores_the_set_of_a_version_as_a_new_one() -> None:
    store = MemoryStore()
    client = FleetClient(store, LAYOUT)

    async def now() -> dict[str, Resource]:
        found = (await client.read()).resources.values()
        return {
            r.ref: r
            for r in resources(*(store.entries[r.place.file].value.decode() for r in found))
        }

    await apply(store, entry("a"), entry("b"))
    at_one = await now()
    await apply(store, entry("a", port=81), entry("c"))
    await client.change(lambda base: plan_delete(base, ["ServiceEntry/shop/b"]), NOTE)
    outcome = await _restore(store, 1)
    assert actions(outcome.changes) == {"a": "configured", "b": "created", "c": "deleted"}
    assert outcome.version == 4
    assert {ref: r.spec for ref, r in (await now()).items()} == {
        ref: r.spec for ref, r in at_one.items()
    }
    assert (await _restore(store, 3)).version == 5  # and back again
    assert sorted(await now()) == ["ServiceEntry/shop/a", "ServiceEntry/shop/c"]
    assert (await _restore(store, 0)).version == 6
    assert not await now()


async def test_rollback_that_would_not_be_valid_is_refused() -> None:
    store = MemoryStore()
    await apply(store, entry("a"), route("r"))
    await apply(store, route("r", host="b.example"))
    await apply(store, route("s"))
    client = FleetClient(store, LAYOUT)
    texts = texts_of(1, 3, await client.history())
    texts.pop("VirtualService/shop/s")  # one resource only
    with pytest.raises(Refused, match="VirtualService/shop/r has"):
        await client.change(lambda base: plan_restore(base, texts), NOTE)


async def test_history_is_bounded_and_says_where_it_begins() -> None:
    store = MemoryStore()
    for number in range(KEPT_VERSIONS + 5):
        await apply(store, entry("a", port=1000 + number))
    history = await FleetClient(store, LAYOUT).history()
    assert [history[0].version, history[-1].version] == [KEPT_VERSIONS + 5, 6]
    assert (history[0].author, history[0].message) == ("bob@vm-1", "why")
    with pytest.raises(FleetError, match="the oldest to go back to is 5"):
        texts_of(4, KEPT_VERSIONS + 5, history)
    with pytest.raises(FleetError, match="the newest is 105"):
        texts_of(106, KEPT_VERSIONS + 5, history)
    assert texts_of(5, KEPT_VERSIONS + 5, history)


async def test_a_version_that_is_none_is_an_error() -> None:
    store = MemoryStore()
    store.put("fleet/resources/version", "12")
    with pytest.raises(FleetError, match="fleet/resources/version: found"):
        await FleetClient(store, LAYOUT).read()


async def test_what_did_not_change_is_the_same_object() -> None:
    store = MemoryStore()
    await apply(store, entry("a"), entry("b"))
    client = FleetClient(store, LAYOUT)
    before = (await client.read()).resources
    await apply(store, entry("a", port=81))
    after = (await client.read()).resources
    assert after["ServiceEntry/shop/b"] is before["ServiceEntry/shop/b"]
    assert after["ServiceEntry/shop/a"] is not before["ServiceEntry/shop/a"]
