"""etcd as the fleet's key-value store, against a real cluster of three."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from adapters.etcd.keyvalue import make_keyvalue
from egressd.registry.keyvalue import Compacted, Conflict, KeyValueError, Write
from integration.servers.etcd import EtcdCluster

FAST = {"requestTimeout": "2s", "probeInterval": "1s", "maxBackoff": "500ms"}


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with EtcdCluster(tmp_path_factory.mktemp("etcd"), size=3) as cluster:
        yield cluster


async def test_writes_are_one_transaction_with_expected_revisions(etcd: EtcdCluster) -> None:
    store = make_keyvalue({"endpoints": etcd.endpoints, **FAST})
    first = await store.commit((Write("f/a", b"1", 0), Write("f/b", b"2", 0)))
    with pytest.raises(Conflict, match=f"f/b: .*found revision {first}, expected 0"):
        await store.commit((Write("f/a", b"x", first), Write("f/b", b"x", 0)))
    found = await store.get("f/a")
    assert found is not None and (found.value, found.revision) == (b"1", first)
    last = await store.commit((Write("f/a", None, first), Write("f/b", b"3")))
    listing = await store.list("f/")
    assert listing.revision == last
    assert [(e.key, e.value, e.revision) for e in listing.entries] == [("f/b", b"3", last)]
    assert await store.get("f/a") is None
    with pytest.raises(Conflict, match=r"f/a: .*found revision 0"):
        await store.commit((Write("f/a", b"x", first),))
    await store.aclose()


async def test_lists_are_whole_over_many_pages(etcd: EtcdCluster) -> None:
    etcd.put_all({f"many/{number:04}": str(number) for number in range(1201)})
    store = make_keyvalue({"endpoints": etcd.endpoints, **FAST})
    listing = await store.list("many/")
    assert [int(entry.value) for entry in listing.entries] == list(range(1201))
    await store.aclose()


async def test_wait_returns_on_a_change_and_when_it_is_compacted(etcd: EtcdCluster) -> None:
    store = make_keyvalue({"endpoints": etcd.endpoints, **FAST})
    revision = etcd.put("w/x", "1")
    with trio.move_on_after(1.5) as quiet:  # longer than a probe
        await store.wait("w/", revision)
    assert quiet.cancelled_caught
    with trio.fail_after(20):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.wait, "w/", revision)
            await trio.sleep(0.2)
            changed = await trio.to_thread.run_sync(etcd.put, "w/x", "2")
        await store.wait("w/", revision)  # what changed before is heard of, too
        await store.wait("w/", changed + 1_000_000)  # a store that counts from anew
        etcd.compact(etcd.put("w/x", "3"))
        with pytest.raises(Compacted):
            await store.wait("w/", revision)
    await store.aclose()


async def test_wait_outlives_the_leader_and_members_that_do_not_answer(etcd: EtcdCluster) -> None:
    store = make_keyvalue({"endpoints": etcd.endpoints, **FAST})
    revision = etcd.put("l/x", "1")
    leader = etcd.leader()
    with trio.fail_after(90):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.wait, "l/", revision)
            await trio.sleep(0.2)
            etcd.pause(leader)
            await store.commit((Write("l/other", b"1"),))
    etcd.resume(leader)
    await store.aclose()


async def test_cancelling_a_wait_takes_no_time(etcd: EtcdCluster) -> None:
    store = make_keyvalue({"endpoints": etcd.endpoints, **FAST})
    revision = etcd.put("c/x", "1")
    with trio.fail_after(10):  # a watch would go on for ever
        async with trio.open_nursery() as nursery:
            nursery.start_soon(store.wait, "c/", revision)
            while not _reading_threads():
                await trio.sleep(0.05)
            nursery.cancel_scope.cancel()
        while _reading_threads():
            await trio.sleep(0.05)
    await store.aclose()


def _reading_threads() -> list[str]:
    """Threads that wait for gRPC's next answer; trio names a thread by what it runs."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("next ")]


async def test_a_status_goes_away_with_its_writer(etcd: EtcdCluster) -> None:
    store = make_keyvalue({"endpoints": etcd.endpoints, **FAST})
    await store.publish_status("s/n1", b"v1", 2)
    written = await store.get("s/n1")
    await store.publish_status("s/n1", b"v1", 2)
    assert await store.get("s/n1") == written
    await store.publish_status("s/n1", b"v2", 2)
    found = await store.get("s/n1")
    assert found is not None and found.value == b"v2"
    etcd.revoke(etcd.leases()[0])
    await store.publish_status("s/n1", b"v2", 2)
    assert await store.get("s/n1") is not None
    with trio.fail_after(30):
        while await store.get("s/n1") is not None:
            await trio.sleep(0.2)
    await store.aclose()


async def test_an_unreachable_store_is_told_with_every_address(tmp_path: Path) -> None:
    store = make_keyvalue({"endpoints": ["127.0.0.1:1", "127.0.0.1:2"], **FAST})
    with pytest.raises(KeyValueError, match=r"get x: .*127\.0\.0\.1:[12]: UNAVAILABLE") as told:
        await store.get("x")
    assert "127.0.0.1:1:" in str(told.value) and "127.0.0.1:2:" in str(told.value)
    await store.aclose()
