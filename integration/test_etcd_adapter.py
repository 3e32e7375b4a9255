"""The etcd adapter against a real cluster of three. Deadlines are generous: they catch what never
comes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio
import trustme

from adapters.etcd.watch import make_adapter
from egressd.registry.adapter import AdapterContext
from integration.recorder import Recorder, recorded
from integration.servers.etcd import EtcdCluster
from integration.servers.etcd_gateway import ServerTls
from integration.servers.interposer import Interposer, garbage

PREFIX = "/egressd/resources/"
FAST = {"requestTimeout": "2s", "probeInterval": "500ms", "maxBackoff": "500ms"}


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    with EtcdCluster(tmp_path_factory.mktemp("etcd"), size=3) as running:
        yield running


@pytest.fixture
def etcd(cluster: EtcdCluster) -> Iterator[EtcdCluster]:
    """The cluster without a key."""
    cluster.start()
    cluster.delete_prefix("/")
    yield cluster


@pytest.fixture
def fronts(etcd: EtcdCluster) -> Iterator[list[Interposer]]:
    """A port in front of each member, of which tests make what they like."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(Interposer(port)) for port in etcd.ports]


@contextlib.contextmanager
def unseen(fronts: list[Interposer]) -> Iterator[None]:
    """Whatever happens to the cluster meanwhile, the adapter sees no member of it."""
    for front in fronts:
        front.disturb(down=True)
    yield
    for front in fronts:
        front.disturb()


def watching(etcd: EtcdCluster, **options: object) -> AbstractAsyncContextManager[Recorder]:
    given = {"endpoints": etcd.endpoints, **FAST, **options}
    return recorded(make_adapter(AdapterContext(name="corp"), given))


def entry(name: str, *addresses: str) -> str:
    """A ServiceEntry as JSON."""
    spec = {
        "hosts": [f"{name}.corp"],
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP"}],
        "resolution": "STATIC",
        "endpoints": [{"address": address} for address in addresses],
    }
    head = {"apiVersion": "networking.istio.io/v1", "kind": "ServiceEntry"}
    return json.dumps({**head, "metadata": {"name": name}, "spec": spec})


async def test_keys_come_change_and_go(etcd: EtcdCluster) -> None:
    etcd.put(PREFIX + "web", entry("web", "10.0.0.1"))
    etcd.put("/elsewhere/web", entry("not", "10.0.0.1"))
    async with watching(etcd) as sink:
        await sink.until(lambda: sink.endpoints(PREFIX + "web") == ["10.0.0.1"])
        assert sink.origins == {PREFIX + "web"}
        etcd.put(PREFIX + "web", entry("web", "10.0.0.1", "10.0.0.2"))
        await sink.until(lambda: sink.endpoints(PREFIX + "web") == ["10.0.0.1", "10.0.0.2"])
        etcd.put(PREFIX + "late", entry("late", "10.0.0.3"))
        await sink.until(lambda: sink.endpoints(PREFIX + "late") == ["10.0.0.3"])
        etcd.delete(PREFIX + "web")
        await sink.until(lambda: sink.origins == {PREFIX + "late"})
        etcd.put(PREFIX + "web", entry("web", "10.0.0.9"))
        await sink.until(lambda: sink.endpoints(PREFIX + "web") == ["10.0.0.9"])
        assert sink.failures == []


async def test_a_broken_value_fails_its_own_key_only(etcd: EtcdCluster) -> None:
    etcd.put(PREFIX + "good", entry("good", "10.0.0.1"))
    etcd.put(PREFIX + "bad", entry("bad", "10.0.0.1"))
    async with watching(etcd) as sink:
        await sink.until(lambda: len(sink.origins) == 2)
        etcd.put(PREFIX + "bad", "kind: ServiceEntry\nspec: [\n")
        etcd.put(PREFIX + "good", entry("good", "10.0.0.2"))
        await sink.until(lambda: sink.endpoints(PREFIX + "good") == ["10.0.0.2"])
        assert sink.snapshots[-1].failed_origins == {PREFIX + "bad"}
        await sink.until(lambda: [p.place.file for p in sink.found] == [PREFIX + "bad"])
        etcd.put(PREFIX + "bad", entry("bad", "10.0.0.7"))
        await sink.until(lambda: sink.endpoints(PREFIX + "bad") == ["10.0.0.7"])
        assert not sink.snapshots[-1].failed_origins and not sink.found


async def test_an_unchanged_key_keeps_its_very_record(etcd: EtcdCluster) -> None:
    etcd.put(PREFIX + "a", entry("a", "10.0.0.1"))
    etcd.put(PREFIX + "b", entry("b", "10.0.0.1"))
    async with watching(etcd) as sink:
        await sink.until(lambda: len(sink.origins) == 2)
        before = {record.origin: record for record in sink.snapshots[-1].records}
        etcd.put(PREFIX + "a", entry("a", "10.0.0.1"))  # the same again
        etcd.put(PREFIX + "b", entry("b", "10.0.0.2"))
        await sink.until(lambda: sink.endpoints(PREFIX + "b") == ["10.0.0.2"])
        after = {record.origin: record for record in sink.snapshots[-1].records}
        assert after[PREFIX + "a"] is before[PREFIX + "a"]


async def test_keys_of_a_lease_go_with_it(etcd: EtcdCluster) -> None:
    etcd.put(PREFIX + "leased", entry("leased", "10.0.0.1"), lease=etcd.grant(2))
    async with watching(etcd) as sink:
        await sink.until(lambda: sink.origins == {PREFIX + "leased"})
        await sink.until(lambda: bool(sink.snapshots) and sink.origins == set())


async def test_changes_go_on_when_the_leader_moves_or_dies(etcd: EtcdCluster) -> None:
    async with watching(etcd) as sink:
        await sink.until(lambda: bool(sink.snapshots))
        etcd.move_leader()
        etcd.put(PREFIX + "moved", entry("moved", "10.0.0.1"))
        await sink.until(lambda: PREFIX + "moved" in sink.origins)
        leader = etcd.leader()
        etcd.kill(leader)
        etcd.put(PREFIX + "killed", entry("killed", "10.0.0.1"))
        await sink.until(lambda: PREFIX + "killed" in sink.origins)
        etcd.start(leader)
        etcd.put(PREFIX + "started", entry("started", "10.0.0.1"))
        await sink.until(lambda: PREFIX + "started" in sink.origins)
        assert sink.failures == []  # some member answered at any time
        await sink.until(lambda: not sink.found)  # a member that is back is no problem any more


@pytest.mark.parametrize("silent", [0, 1, 2])
async def test_a_member_that_falls_silent_is_left(
    etcd: EtcdCluster, fronts: list[Interposer], silent: int
) -> None:
    async with watching(etcd, endpoints=[front.address for front in fronts]) as sink:
        await sink.until(lambda: bool(sink.snapshots))
        fronts[silent].disturb(silent=True)  # the adapter may or may not talk to it
        etcd.put(PREFIX + "web", entry("web", "10.0.0.1"))
        await sink.until(lambda: PREFIX + "web" in sink.origins)
        assert sink.failures == []
        fronts[silent].disturb()
        await sink.until(lambda: not sink.found)


async def test_an_outage_of_all_and_what_changed_meanwhile(etcd: EtcdCluster) -> None:
    etcd.put(PREFIX + "web", entry("web", "10.0.0.1"))
    async with watching(etcd) as sink:
        await sink.until(lambda: len(sink.origins) == 1)
        etcd.kill()
        await sink.until(lambda: bool(sink.failures))
        assert all(endpoint in sink.failures[-1] for endpoint in etcd.endpoints)
        published = len(sink.snapshots)
        etcd.start()
        etcd.put(PREFIX + "web", entry("web", "10.0.0.2"))
        await sink.until(lambda: sink.endpoints(PREFIX + "web") == ["10.0.0.2"])
        assert [s.doubt for s in sink.snapshots] == [""] * len(sink.snapshots)
        assert len(sink.snapshots) <= published + 2  # taken up again, not listed again


async def test_what_was_compacted_meanwhile_is_listed(
    etcd: EtcdCluster, fronts: list[Interposer]
) -> None:
    etcd.put(PREFIX + "web", entry("web", "10.0.0.1"))
    etcd.put(PREFIX + "gone", entry("gone", "10.0.0.1"))
    async with watching(etcd, endpoints=[front.address for front in fronts]) as sink:
        await sink.until(lambda: len(sink.origins) == 2)
        first = {record.origin: record for record in sink.snapshots[-1].records}
        with unseen(fronts):
            await sink.until(lambda: bool(sink.failures))
            etcd.delete(PREFIX + "gone")
            etcd.compact(etcd.put(PREFIX + "late", entry("late", "10.0.0.2")))
        await sink.until(lambda: sink.origins == {PREFIX + "web", PREFIX + "late"})
        assert "what changed is forgotten" in "".join(sink.failures)
        assert sink.snapshots[-1].doubt == ""
        last = {record.origin: record for record in sink.snapshots[-1].records}
        assert last[PREFIX + "web"] is first[PREFIX + "web"]


@pytest.mark.parametrize("case", ["same id", "other id", "filled past the revision"])
async def test_lost_state_is_told_in_doubt(tmp_path: Path, case: str) -> None:
    with EtcdCluster(tmp_path) as etcd, Interposer(etcd.ports[0]) as front:
        for name in ("a", "b", "c"):
            etcd.put(PREFIX + name, entry(name, "10.0.0.1"))
        async with watching(etcd, endpoints=[front.address]) as sink:
            await sink.until(lambda: len(sink.origins) == 3)
            with unseen([front]):
                etcd.kill()
                if case == "other id":
                    etcd.become_another_cluster()
                else:
                    etcd.lose_state()
                etcd.start()
                for _ in range(20 if case.startswith("filled") else 0):
                    etcd.put("/elsewhere", "neither cluster id nor revision tell now")
                etcd.put(PREFIX + "a", entry("a", "10.0.0.5"))
                await sink.until(lambda: bool(sink.failures))
            await sink.until(lambda: sink.endpoints(PREFIX + "a") == ["10.0.0.5"])
            doubts = [snapshot.doubt for snapshot in sink.snapshots if snapshot.doubt]
            assert len(doubts) == 1 and "lost its state" in doubts[0]


async def test_slow_members_are_no_failure(etcd: EtcdCluster, fronts: list[Interposer]) -> None:
    for front in fronts:
        front.disturb(delay_s=0.2)
    etcd.put(PREFIX + "web", entry("web", "10.0.0.1"))
    async with watching(etcd, endpoints=[front.address for front in fronts]) as sink:
        await sink.until(lambda: sink.endpoints(PREFIX + "web") == ["10.0.0.1"])
        etcd.put(PREFIX + "web", entry("web", "10.0.0.2"))
        await sink.until(lambda: sink.endpoints(PREFIX + "web") == ["10.0.0.2"])
        assert sink.failures == []


@pytest.mark.parametrize("bad", ["garbled", "silent"])
async def test_garbled_and_silent_members(
    etcd: EtcdCluster, fronts: list[Interposer], bad: str
) -> None:
    etcd.put(PREFIX + "web", entry("web", "10.0.0.1"))
    async with watching(
        etcd, requestTimeout="500ms", endpoints=[front.address for front in fronts]
    ) as sink:
        await sink.until(lambda: len(sink.origins) == 1)
        for front in fronts:
            front.disturb(rewrite=garbage if bad == "garbled" else None, silent=bad == "silent")
        etcd.put(PREFIX + "late", entry("late", "10.0.0.1"))
        await sink.until(lambda: bool(sink.failures))
        assert sink.origins == {PREFIX + "web"}
        for front in fronts:
            front.disturb()
        await sink.until(lambda: sink.origins == {PREFIX + "web", PREFIX + "late"})


async def test_a_held_loss_is_read_a_second_time(etcd: EtcdCluster) -> None:
    etcd.put_all({PREFIX + f"s{n}": entry(f"s{n}", "10.0.0.1") for n in range(20)})
    async with watching(etcd, pageSize=7) as sink:
        await sink.until(lambda: len(sink.origins) == 20)
        assert sink.progressed == [(7, 20), (14, 20), (20, 20)]
        sink.verdict = lambda snapshot: snapshot.is_reread
        etcd.delete_prefix(PREFIX + "s1")
        await sink.until(lambda: len(sink.origins) == 9 and sink.snapshots[-1].is_reread)
        count = len(sink.snapshots)
        etcd.put(PREFIX + "s1", entry("s1", "10.0.0.1"))
        await sink.until(lambda: len(sink.origins) == 10)
        assert not any(s.is_reread or s.doubt for s in sink.snapshots[count:])
        assert sink.failures == []


async def test_passwords_tokens_and_permissions(tmp_path: Path) -> None:
    secret = tmp_path / "password"
    secret.write_text("first\n")
    with EtcdCluster(tmp_path / "etcd", arguments=("--auth-token-ttl=2",)) as etcd:
        etcd.put(PREFIX + "web", entry("web", "10.0.0.1"))
        etcd.add_user("node", "first", [PREFIX])
        etcd.enable_auth("rooted")
        options = {"user": "node", "passwordFile": str(secret)}
        async with watching(etcd, **options) as sink:
            await sink.until(lambda: len(sink.origins) == 1)
            await trio.sleep(3)  # the token ends
            etcd.put(PREFIX + "web", entry("web", "10.0.0.2"))
            await sink.until(lambda: sink.endpoints(PREFIX + "web") == ["10.0.0.2"])
            etcd.forbid("node", PREFIX)
            await sink.until(lambda: "PERMISSION_DENIED" in "".join(sink.failures))
            assert sink.origins == {PREFIX + "web"}
            etcd.permit("node", PREFIX)
            etcd.put(PREFIX + "web", entry("web", "10.0.0.3"))
            await sink.until(lambda: sink.endpoints(PREFIX + "web") == ["10.0.0.3"])
            etcd.change_password("node", "second")
            etcd.restart()  # tokens are in memory
            await sink.until(lambda: "authentication failed" in "".join(sink.failures))
            secret.write_text("second\n")
            etcd.put(PREFIX + "web", entry("web", "10.0.0.4"))
            await sink.until(lambda: sink.endpoints(PREFIX + "web") == ["10.0.0.4"])
        async with watching(etcd) as sink:
            await sink.until(lambda: "options.user is not set" in "".join(sink.failures))


async def test_tls_with_a_client_certificate_that_is_renewed(tmp_path: Path) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    server = authority.issue_cert("127.0.0.1", "etcd.corp")
    server.private_key_pem.write_to_path(tmp_path / "server.key")
    server.cert_chain_pems[0].write_to_path(tmp_path / "server.pem")
    files = [tmp_path / name for name in ("node.pem", "node.key")]

    def identify(by: trustme.CA) -> None:
        own = by.issue_cert("node.corp")
        own.cert_chain_pems[0].write_to_path(files[0])
        own.private_key_pem.write_to_path(files[1])

    identify(stranger)
    tls = ServerTls(tmp_path / "server.pem", tmp_path / "server.key", tmp_path / "ca.pem", True)
    with EtcdCluster(tmp_path / "etcd", tls=tls) as etcd:
        etcd.put(PREFIX + "web", entry("web", "10.0.0.1"))
        options = {
            "caFile": str(tmp_path / "ca.pem"),
            "certFile": str(files[0]),
            "keyFile": str(files[1]),
            "serverName": "etcd.corp",
        }
        async with watching(etcd, tls=options) as sink:
            await sink.until(lambda: bool(sink.failures))
            identify(authority)
            await sink.until(lambda: len(sink.origins) == 1)
        async with watching(etcd, tls={"caFile": str(files[0])}) as sink:
            await sink.until(lambda: bool(sink.failures))
            assert sink.snapshots == []


async def test_skydns_records_of_coredns(etcd: EtcdCluster) -> None:
    etcd.put("/skydns/com/example/web/x1", '{"host": "10.0.0.1", "port": 8080}')
    async with watching(etcd, layout="skydns", ownNames=False) as sink:
        await sink.until(lambda: sink.endpoints("web.example.com") == ["10.0.0.1"])
        etcd.put("/skydns/com/example/web/x2", '{"host": "10.0.0.2", "port": 8080}')
        await sink.until(lambda: sink.endpoints("web.example.com") == ["10.0.0.1", "10.0.0.2"])
        etcd.put("/skydns/com/example/web/x1", '{"host": ')
        await sink.until(lambda: bool(sink.found))
        assert sink.endpoints("web.example.com") == ["10.0.0.1", "10.0.0.2"]
        etcd.delete("/skydns/com/example/web/x1")
        await sink.until(lambda: sink.endpoints("web.example.com") == ["10.0.0.2"])
        await sink.until(lambda: not sink.found)
