"""The Consul adapter against a real agent. Deadlines are generous: they catch what never comes."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio
import trustme

from adapters.consul import make_adapter
from egressd.registry.adapter import AdapterContext
from integration.recorder import Recorder, recorded
from integration.servers.consul import ConsulAgent, free_ports

CANCEL_S = 5.0


def watching(consul: ConsulAgent, **options: object) -> AbstractAsyncContextManager[Recorder]:
    given = {"address": consul.address, "maxBackoff": "500ms", **options}
    return recorded(make_adapter(AdapterContext(name="consul"), given))


@pytest.fixture
def consul(tmp_path: Path) -> Iterator[ConsulAgent]:
    with ConsulAgent(tmp_path / "consul") as agent:
        yield agent


async def test_instances_come_and_go_with_registration(consul: ConsulAgent) -> None:
    consul.register("web", 8080, address="127.0.0.2", check="passing")
    async with watching(consul) as sink:
        await sink.until(lambda: sink.endpoints("web") == ["127.0.0.2"])
        assert {record.source for record in sink.snapshots[-1].records} == {"consul"}
        consul.register("late", 8081, address="127.0.0.3")
        await sink.until(lambda: sink.endpoints("late") == ["127.0.0.3"])
        consul.register("late", 8081, address="127.0.0.4", service_id="late-2")
        await sink.until(lambda: sink.endpoints("late") == ["127.0.0.3", "127.0.0.4"])
        consul.deregister("late")
        await sink.until(lambda: sink.endpoints("late") == ["127.0.0.4"])
        consul.deregister("late-2")
        await sink.until(lambda: sink.endpoints("late") is None)
        assert sink.endpoints("web") == ["127.0.0.2"]
        assert sink.failures == []


async def test_only_passing_instances_are_endpoints(consul: ConsulAgent) -> None:
    consul.register("web", 8080, check="passing")
    async with watching(consul) as sink:
        await sink.until(lambda: sink.endpoints("web") == ["127.0.0.1"])
        for status in ("critical", "warning"):
            consul.set_check("web", status)
            await sink.until(lambda: sink.endpoints("web") == [])
            consul.set_check("web", "passing")
            await sink.until(lambda: sink.endpoints("web") == ["127.0.0.1"])
        consul.maintain("web", enable=True)
        await sink.until(lambda: sink.endpoints("web") == [])
        consul.maintain("web", enable=False)
        await sink.until(lambda: sink.endpoints("web") == ["127.0.0.1"])


async def test_a_check_of_the_node_takes_its_services_out(consul: ConsulAgent) -> None:
    consul.register("web", 8080)
    async with watching(consul) as sink:
        await sink.until(lambda: sink.endpoints("web") == ["127.0.0.1"])
        consul.request("PUT", "/v1/agent/maintenance?enable=true")
        await sink.until(lambda: sink.endpoints("web") == [])
        consul.request("PUT", "/v1/agent/maintenance?enable=false")
        await sink.until(lambda: sink.endpoints("web") == ["127.0.0.1"])


async def test_the_source_stays_in_sync_while_nothing_changes(consul: ConsulAgent) -> None:
    async with watching(consul, wait="1s") as sink:
        await sink.until(lambda: sink.syncs >= 5)
        said = len(sink.snapshots)
        await sink.until(lambda: sink.syncs >= 15)
        assert len(sink.snapshots) == said
        assert sink.failures == []


async def test_unchanged_services_keep_their_records(consul: ConsulAgent) -> None:
    consul.register("web", 8080)
    async with watching(consul) as sink:
        await sink.until(lambda: sink.endpoints("web") is not None)
        before = {record.origin: record for record in sink.snapshots[-1].records}
        consul.register("other", 8081)
        await sink.until(lambda: sink.endpoints("other") is not None)
        after = {record.origin: record for record in sink.snapshots[-1].records}
        assert after["web"] is before["web"]


async def test_an_outage_keeps_the_last_answer(tmp_path: Path) -> None:
    with ConsulAgent(tmp_path / "consul", persistent=True) as consul:
        consul.register("web", 8080, check="passing")
        consul.register("api", 8080, check="passing")
        async with watching(consul) as sink:
            await sink.until(lambda: sink.endpoints("web") == ["127.0.0.1"])
            said = len(sink.snapshots)
            consul.kill()
            await sink.until(lambda: len(sink.failures) >= 4)
            for kept in sink.snapshots[said:]:  # a read that the outage cut off may be told
                assert {r.origin for r in kept.records} | kept.failed_origins >= {"web", "api"}
            assert "Connection refused" in sink.failures[-1]
            await trio.to_thread.run_sync(consul.start)
            consul.deregister("web")
            await sink.until(lambda: sink.endpoints("web") is None)
            later = sink.snapshots[said:]
            for kept in later:
                assert "api" in {r.origin for r in kept.records} | kept.failed_origins


async def test_a_consul_that_lost_its_state_is_doubted_until_its_services_are_back(
    consul: ConsulAgent,
) -> None:
    for number in range(10):
        consul.register(f"svc-{number}", 8080)
    async with watching(consul) as sink:
        await sink.until(lambda: sink.endpoints("svc-9") is not None)
        assert sink.snapshots[-1].doubt == ""
        sink.verdict = lambda snapshot: len(snapshot.records) > 9
        await trio.to_thread.run_sync(consul.restart)
        await sink.until(lambda: sink.endpoints("svc-9") is None)
        assert "went backwards" in sink.snapshots[-1].doubt
        for number in range(10):
            consul.register(f"svc-{number}", 8081)
        await sink.until(lambda: len(sink.origins) > 10)
        consul.deregister("svc-9")
        await sink.until(lambda: sink.endpoints("svc-9") is None)
        assert sink.snapshots[-1].doubt == ""


async def test_a_loss_that_is_held_is_confirmed_by_a_second_reading(consul: ConsulAgent) -> None:
    for number in range(10):
        consul.register(f"svc-{number}", 8080)
    async with watching(consul) as sink:
        await sink.until(lambda: len(sink.origins) > 10)
        sink.verdict = lambda snapshot: len(snapshot.records) > 9 or snapshot.is_reread
        for number in range(5):
            consul.deregister(f"svc-{number}")
        await sink.until(lambda: sink.snapshots[-1].is_reread)
        assert sink.origins == {"consul", *(f"svc-{number}" for number in range(5, 10))}
        assert sink.snapshots[-1].doubt == ""


async def test_consul_may_be_down_at_the_start(tmp_path: Path) -> None:
    consul = ConsulAgent(tmp_path / "consul")
    async with watching(consul) as sink:
        await sink.until(lambda: len(sink.failures) >= 3)
        assert sink.snapshots == []
        with consul:
            consul.register("web", 8080)
            await sink.until(lambda: sink.endpoints("web") == ["127.0.0.1"])


async def test_the_token_is_read_from_its_file_and_again_when_it_changes(tmp_path: Path) -> None:
    token_file = tmp_path / "token"
    token_file.write_text("not-the-token\n")
    master = "8b1247ab-9f6b-4a9c-8a5e-5f7a3c2d1e0f"
    with ConsulAgent(tmp_path / "consul", token=master) as consul:
        consul.register("web", 8080)
        async with watching(consul, tokenFile=str(token_file)) as sink:
            await sink.until(lambda: any("ACL not found" in reason for reason in sink.failures))
            assert sink.snapshots == []
            token_file.unlink()
            await sink.until(lambda: any("token file" in reason for reason in sink.failures))
            assert sink.snapshots == []
            (tmp_path / "new").write_text(f"{master}\n")
            os.replace(tmp_path / "new", token_file)
            await sink.until(lambda: sink.endpoints("web") == ["127.0.0.1"])
        await _says_which_rights_are_missing(consul)


async def _says_which_rights_are_missing(consul: ConsulAgent) -> None:
    """Consul denies by default: it answers with less, never with a refusal."""
    async with watching(consul) as sink:
        await sink.until(lambda: len(sink.failures) > 1)
        assert all("empty catalog, without even Consul" in reason for reason in sink.failures)
        assert "no token is given, and Consul denies by default" in sink.failures[0]
        assert sink.snapshots == []
        assert sink.syncs == 0
    rules = 'service_prefix "" { policy = "read" }'
    async with watching(consul, token=_token(consul, "services", rules)) as sink:
        await sink.until(lambda: bool(sink.failures))
        assert "may the token read nodes?" in sink.failures[0]
        assert not any(record.origin == "web" for s in sink.snapshots for record in s.records)
        rules += ' node_prefix "" { policy = "read" }'
        policy = consul.request("GET", "/v1/acl/policy/name/services")
        assert isinstance(policy, dict)
        body = {**policy, "Rules": rules}
        consul.request("PUT", f"/v1/acl/policy/{policy['ID']}", body)
        await sink.until(lambda: sink.endpoints("web") == ["127.0.0.1"])


def _token(consul: ConsulAgent, name: str, rules: str) -> str:
    consul.request("PUT", "/v1/acl/policy", {"Name": name, "Rules": rules})
    made = consul.request("PUT", "/v1/acl/token", {"Policies": [{"Name": name}]})
    assert isinstance(made, dict)
    return str(made["SecretID"])


async def test_consul_is_verified_over_tls(tmp_path: Path) -> None:
    authority, stranger = trustme.CA(), trustme.CA()
    server = authority.issue_cert("consul.example")
    client = authority.issue_cert("node.example")
    for name, made in (("server", server), ("client", client)):
        made.private_key_pem.write_to_path(tmp_path / f"{name}.key")
        (tmp_path / f"{name}.pem").write_bytes(b"".join(b.bytes() for b in made.cert_chain_pems))
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    stranger.cert_pem.write_to_path(tmp_path / "stranger.pem")
    (port,) = free_ports(1)
    config = {
        "ports": {"https": port},
        "cert_file": str(tmp_path / "server.pem"),
        "key_file": str(tmp_path / "server.key"),
        "ca_file": str(tmp_path / "ca.pem"),
        "verify_incoming_https": True,
    }
    tls = {
        "caFile": str(tmp_path / "ca.pem"),
        "certFile": str(tmp_path / "client.pem"),
        "keyFile": str(tmp_path / "client.key"),
        "serverName": "consul.example",
    }
    address = f"https://127.0.0.1:{port}"
    with ConsulAgent(tmp_path / "consul", config=config) as consul:
        consul.register("web", 8080)
        async with watching(consul, address=address, tls=tls) as sink:
            await sink.until(lambda: sink.endpoints("web") == ["127.0.0.1"])
        for wrong, reason in (
            ({"serverName": "other.example"}, "not valid for 'other.example'"),
            ({"caFile": str(tmp_path / "stranger.pem")}, "unable to get local issuer certificate"),
            ({"caFile": str(tmp_path / "none.pem")}, "No such file"),
        ):
            async with watching(consul, address=address, tls={**tls, **wrong}) as sink:
                await sink.until(lambda: bool(sink.failures))
                assert reason in sink.failures[0]
                assert sink.snapshots == []


async def test_a_thousand_services_need_neither_threads_nor_connections(
    consul: ConsulAgent, record_property: Callable[[str, object], None]
) -> None:
    consul.fill(1000, 1)
    threads = threading.active_count()
    async with watching(consul) as sink:
        record_property("first_answer_s", await sink.until(lambda: bool(sink.snapshots)))
        assert len(sink.snapshots[0].records) >= 1000
        assert sink.progressed[-1][1] >= 1000
        consul.set_filled_check(500, 0, "critical")
        record_property("check_s", await sink.until(lambda: sink.endpoints("svc-500") == []))
        consul.register("svc-501", 8080, address="127.0.0.9", service_id="unchecked")
        added = await sink.until(lambda: len(sink.endpoints("svc-501") or ()) == 2)
        record_property("unchecked_instance_s", added)
        assert threading.active_count() <= threads + 2  # trio keeps one for name look-ups
        assert _connections_to(consul.port) <= 8 + 3 + 100 + 2  # the test's own requests left some


async def test_a_silent_consul_is_left_at_once_when_cancelled() -> None:
    async with trio.open_nursery() as nursery:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        port = listeners[0].socket.getsockname()[1]
        asked = trio.Event()

        async def never_answer(stream: trio.SocketStream) -> None:
            await stream.receive_some()
            asked.set()
            await trio.sleep_forever()

        nursery.start_soon(trio.serve_listeners, never_answer, listeners)
        address = f"http://127.0.0.1:{port}"
        adapter = make_adapter(AdapterContext(name="consul"), {"address": address})
        async with trio.open_nursery() as running:
            running.start_soon(adapter.run, Recorder())
            await asked.wait()
            begun = trio.current_time()
            running.cancel_scope.cancel()
        assert trio.current_time() - begun < CANCEL_S  # no blocking query holds it back
        nursery.cancel_scope.cancel()


def _connections_to(port: int) -> int:
    """Established TCP connections whose remote port is this one."""
    wanted = f":{port:04X}"
    lines = Path("/proc/self/net/tcp").read_text().splitlines()[1:]
    rows = [line.split() for line in lines]
    return sum(row[2].endswith(wanted) and row[3] == "01" for row in rows)
