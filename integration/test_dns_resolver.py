"""The resolver against name servers that misbehave."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from egressd.dns.answer import Answer
from egressd.dns.resolver import Resolver
from integration.servers.consul import free_ports
from integration.servers.dns import Mode, NameServer

TABLE = {"api.test": ["10.0.0.1", "10.0.0.2", "::5"], "s.test": ["SRV 0 5 80 api.test."]}


async def ask(*servers: str, name: str = "api.test", kind: str = "A") -> Answer:
    return await Resolver(servers).ask(name, kind)


async def test_addresses_and_services_are_found() -> None:
    with NameServer(TABLE, ttl_s=7) as server:
        found = await ask(server.address)
        assert (sorted(found.records), found.ttl_s) == (["10.0.0.1", "10.0.0.2"], 7.0)
        assert await ask(server.address, kind="AAAA") == Answer(("::5",), 7.0)
        assert (await ask(server.address, name="s.test", kind="SRV")).records == (
            "0 5 80 api.test.",
        )
        assert (await ask(server.address, name="no.test")).outcome == "nxdomain"


async def test_a_chain_that_the_server_leaves_is_followed_to_its_end() -> None:
    table = {"a.test": ["CNAME b.test."], "b.test": ["CNAME api.test."], "api.test": ["10.0.0.1"]}
    table |= {
        "x.test": ["CNAME y.test."],
        "y.test": ["CNAME x.test."],
        "z.test": ["CNAME no.test."],
    }
    with NameServer(table) as server:
        assert (await ask(server.address, name="a.test")).records == ("10.0.0.1",)
        assert (await ask(server.address, name="x.test")).outcome == "loop"
        assert (await ask(server.address, name="z.test")).outcome == "nxdomain"


async def test_an_answer_that_is_cut_off_comes_over_tcp() -> None:
    with NameServer(TABLE) as server:
        server.mode = "truncated"
        assert len((await ask(server.address)).records) == 2
        assert server.asked_over_tcp == 1
        server.refuse_tcp()
        assert (await ask(server.address)).outcome == "unreachable"


async def test_a_server_without_edns_is_asked_without() -> None:
    with NameServer(TABLE) as server:
        server.mode = "no_edns"
        assert len((await ask(server.address)).records) == 2


@pytest.mark.parametrize("mode", ["silent", "garbage", "foreign", "servfail", "slow"])
async def test_the_next_server_takes_over(mode: Mode) -> None:
    with NameServer({"api.test": ["10.6.6.6"]}) as bad, NameServer(TABLE) as good:
        bad.mode = mode
        resolver = Resolver([bad.address, good.address])
        assert len((await resolver.ask("api.test", "A")).records) == 2
        asked = bad.asked
        assert asked
        await resolver.ask("api.test", "A")
        assert (bad.asked == asked) is (mode != "servfail")  # who is alive stays the first


async def test_who_does_not_listen_is_passed_over_at_once() -> None:
    (port,) = free_ports(1)
    with NameServer(TABLE) as good, trio.fail_after(1):
        assert (await ask(f"127.0.0.1:{port}", good.address)).records


async def test_a_slow_server_alone_is_waited_for() -> None:
    with NameServer(TABLE) as server:
        server.mode = "slow"
        assert (await ask(server.address)).records


@pytest.mark.parametrize(
    ("mode", "outcome"),
    [("garbage", "malformed"), ("silent", "timeout"), ("servfail", "servfail")],
)
async def test_failures_are_told_apart(
    mode: Mode, outcome: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("egressd.dns.resolver.LOOK_UP_S", 1.5)
    with NameServer(TABLE) as server:
        server.mode = mode
        answer = await ask(server.address)
        assert (answer.outcome, answer.is_failed) == (outcome, True)
        assert server.address in answer.reason


async def test_a_name_that_is_none_is_no_question() -> None:
    assert (await ask("127.0.0.1:1", name="a..b")).outcome == "badname"


async def test_a_single_label_is_completed_only_when_asked_for() -> None:
    with NameServer({"api.corp.test": ["10.0.0.1"]}) as server:
        assert (await ask(server.address, name="api")).outcome == "nxdomain"
        resolver = Resolver([server.address], ["other.test", "corp.test"])
        assert (await resolver.ask("api", "A")).records == ("10.0.0.1",)
        assert resolver.counts == {"found": 1}


async def test_the_systems_servers_and_hosts_are_read_as_they_change(tmp_path: Path) -> None:
    hosts = tmp_path / "hosts"
    hosts.write_text("10.7.7.7 db.test\n")
    resolver = Resolver(hosts_file=str(hosts), resolv_conf=str(tmp_path / "none"))
    assert (await resolver.ask("db.test", "A")).records == ("10.7.7.7",)
    hosts.write_text("10.7.7.8 db.test\n::7 db.test\n")
    assert (await resolver.ask("db.test", "A")).records == ("10.7.7.8",)
