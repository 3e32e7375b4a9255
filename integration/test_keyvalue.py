"""The fleet's stores against real servers: what `egressd.registry.keyvalue` promises, of each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from adapters.consul.keyvalue import make_keyvalue as make_consul
from adapters.etcd.keyvalue import make_keyvalue as make_etcd
from egressd.registry.keyvalue import (
    Conflict,
    Entry,
    KeyValue,
    KeyValueError,
    Write,
)
from integration.servers.consul import ConsulAgent
from integration.servers.etcd import EtcdCluster

PATIENCE_S = 30.0


@pytest.fixture(scope="module")
def agent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ConsulAgent]:
    with ConsulAgent(tmp_path_factory.mktemp("consul")) as running:
        yield running


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with EtcdCluster(tmp_path_factory.mktemp("etcd")) as running:
        yield running


@pytest.fixture(params=["consul", "etcd"])
def store(request: pytest.FixtureRequest, agent: ConsulAgent, cluster: EtcdCluster) -> KeyValue:
    return _client(request.param, agent, cluster)


def _client(kind: str, agent: ConsulAgent, cluster: EtcdCluster) -> KeyValue:
    if kind == "etcd":
        return make_etcd({"endpoints": cluster.endpoints})
    return make_consul({"address": agent.address, "wait": "2s"})


@pytest.fixture
def prefix(request: pytest.FixtureRequest) -> str:
    """Keys of this test's own."""
    return f"t/{request.node.name.replace('[', '/').strip(']')}/"


async def test_a_set_is_written_whole_and_listed_at_one_moment(
    store: KeyValue, prefix: str
) -> None:
    assert (await store.list(prefix)).entries == ()
    revision = await store.commit(
        (Write(f"{prefix}b", b"2", 0), Write(f"{prefix}a", "ä\n".encode(), 0))
    )
    listing = await store.list(prefix)
    assert listing.entries == (
        Entry(f"{prefix}a", "ä\n".encode(), revision),
        Entry(f"{prefix}b", b"2", revision),
    )
    assert listing.revision >= revision
    assert await store.get(f"{prefix}b") == Entry(f"{prefix}b", b"2", revision)
    assert await store.get(f"{prefix}c") is None


@pytest.mark.parametrize(
    "wrong",
    [("a", b"x", 0), ("a", b"x", 1), ("a", None, 1), ("a", None, 0), ("new", b"x", 1)],
    ids=["there already", "older", "delete older", "delete expecting none", "gone"],
)
async def test_one_conflict_keeps_all_from_being_written(
    store: KeyValue, prefix: str, wrong: tuple[str, bytes | None, int]
) -> None:
    await store.commit((Write(f"{prefix}a", b"1"),))
    before = await store.list(prefix)
    name, value, expected = wrong
    with pytest.raises(Conflict, match=f"{prefix}{name}".replace("[", r"\[")):
        await store.commit((Write(f"{prefix}z", b"z"), Write(f"{prefix}{name}", value, expected)))
    assert (await store.list(prefix)).entries == before.entries


async def test_what_is_expected_is_overwritten_and_deleted(store: KeyValue, prefix: str) -> None:
    one = await store.commit((Write(f"{prefix}a", b"1"), Write(f"{prefix}b", b"1")))
    two = await store.commit((Write(f"{prefix}a", b"2", one), Write(f"{prefix}b", None, one)))
    assert two > one
    assert (await store.list(prefix)).entries == (Entry(f"{prefix}a", b"2", two),)
    await store.commit((Write(f"{prefix}a", None), Write(f"{prefix}never", None)))
    assert (await store.list(prefix)).entries == ()


async def test_a_transaction_of_64_writes_and_256_kib_is_taken(
    store: KeyValue, prefix: str
) -> None:
    value = b"x" * (256 * 1024 // 61)
    await store.commit(tuple(Write(f"{prefix}{number:02d}", value, 0) for number in range(64)))
    assert len((await store.list(prefix)).entries) == 64


async def test_wait_returns_for_every_kind_of_change_and_not_before(
    store: KeyValue, prefix: str
) -> None:
    await store.commit((Write(f"{prefix}x", b"1"),))
    for write in (
        Write(f"{prefix}a", b"1"),
        Write(f"{prefix}a", b"2"),
        Write(f"{prefix}a", None),
    ):
        revision = (await store.list(prefix)).revision
        done = trio.Event()

        async def wait(since: int, done: trio.Event) -> None:
            await store.wait(prefix, since)
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait, revision, done)
            await trio.sleep(0.1)
            assert not done.is_set()
            await store.commit((write,))
            with trio.fail_after(PATIENCE_S):
                await done.wait()


async def test_wait_outlasts_writes_elsewhere_and_is_cancelled_at_once(
    store: KeyValue, prefix: str
) -> None:
    await store.commit((Write(f"{prefix}in/a", b"1"),))
    revision = (await store.list(f"{prefix}in/")).revision
    await store.commit((Write(f"{prefix}out/a", b"1"),))
    with trio.move_on_after(3) as scope:
        await store.wait(f"{prefix}in/", revision)
    assert scope.cancelled_caught


async def test_a_status_is_written_again_and_taken_over_by_the_next_client(
    request: pytest.FixtureRequest,
    store: KeyValue,
    agent: ConsulAgent,
    cluster: EtcdCluster,
    prefix: str,
) -> None:
    key = f"{prefix}status/node"
    for value in (b"one", b"two", b"two"):
        await store.publish_status(key, value, 60)
        entry = await store.get(key)
        assert entry is not None
        assert entry.value == value
    kind = request.node.callspec.params["store"]
    later = _client(kind, agent, cluster)  # the process was started again
    await later.publish_status(key, b"three", 60)
    entry = await store.get(key)
    assert entry is not None
    assert entry.value == b"three"
    await later.aclose()
    assert await store.get(key)


async def test_a_session_that_was_destroyed_is_replaced(agent: ConsulAgent, prefix: str) -> None:
    store = make_consul({"address": agent.address})
    key = f"{prefix}status/node"
    await store.publish_status(key, b"one", 60)
    sessions = agent.request("GET", "/v1/session/list")
    assert isinstance(sessions, list)
    for session in sessions:
        agent.request("PUT", f"/v1/session/destroy/{session['ID']}")
    assert await store.get(key) is None
    await store.publish_status(key, b"two", 60)
    assert await store.get(key)


async def test_nobody_there_and_refusals_are_errors_that_name_the_address(
    agent: ConsulAgent, tmp_path: Path
) -> None:
    away = make_consul({"address": "http://127.0.0.1:1"})
    with pytest.raises(KeyValueError, match=r"127\.0\.0\.1:1"):
        await away.list("x/")
    with pytest.raises(KeyValueError, match=r"127\.0\.0\.1:1"):
        await away.wait("x/", 3)
    with ConsulAgent(tmp_path / "acl", token="root") as guarded:
        stranger = make_consul({"address": guarded.address})
        with pytest.raises(KeyValueError, match="x/a: Permission denied"):
            await stranger.commit((Write("x/a", b"1"),))
        assert (await stranger.list("x/")).entries == ()  # Consul shows nothing to who may not read


async def test_a_node_needs_to_read_resources_and_to_write_its_status(tmp_path: Path) -> None:
    """The policy of docs/fleet.md."""
    rules = """
        key_prefix "f/resources/" { policy = "read" }
        key_prefix "f/status/" { policy = "write" }
        session_prefix "" { policy = "write" }
    """
    with ConsulAgent(tmp_path / "acl", token="root") as guarded:
        guarded.request("PUT", "/v1/acl/policy", {"Name": "node", "Rules": rules})
        made = guarded.request("PUT", "/v1/acl/token", {"Policies": [{"Name": "node"}]})
        assert isinstance(made, dict)
        operator = make_consul({"address": guarded.address, "token": "root"})
        await operator.commit((Write("f/resources/a", b"1"),))
        node = make_consul({"address": guarded.address, "token": made["SecretID"]})
        assert [entry.key for entry in (await node.list("f/resources/")).entries]
        for value in (b"1", b"2"):
            await node.publish_status("f/status/n", value, 60)
        assert await operator.get("f/status/n")
        with pytest.raises(KeyValueError, match="Permission denied"):
            await node.commit((Write("f/resources/a", b"2"),))
