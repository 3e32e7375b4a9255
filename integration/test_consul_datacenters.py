"""The Consul adapter on two real datacenters, joined over WAN; and prepared queries."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest
import trio

from adapters.consul import make_adapter
from egressd.registry.adapter import AdapterContext
from integration.node import eventually
from integration.recorder import Recorder, recorded
from integration.servers.consul import ConsulAgent, ConsulError, free_ports

Two = tuple[ConsulAgent, ConsulAgent]


def watching(agent: ConsulAgent, **options: object) -> AbstractAsyncContextManager[Recorder]:
    given = {"address": agent.address, "maxBackoff": "300ms", "wait": "5s", **options}
    return recorded(make_adapter(AdapterContext(name="consul"), given))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    directory: Path = tmp_path_factory.mktemp("datacenters")
    ports = free_ports(2)
    configs = [
        {
            "datacenter": f"dc{number}",
            "ports": {"serf_wan": ports[number - 1]},
            "retry_join_wan": [f"127.0.0.1:{port}" for port in ports],
            "retry_interval_wan": "1s",
        }
        for number in (1, 2)
    ]
    with (
        ConsulAgent(directory / "dc1", config=configs[0]) as one,
        ConsulAgent(directory / "dc2", config=configs[1]) as other,
    ):
        eventually(lambda: _reaches(one, "dc2") and _reaches(other, "dc1"), 60)
        yield one, other


def _reaches(agent: ConsulAgent, datacenter: str) -> bool:
    try:
        return bool(agent.request("GET", f"/v1/catalog/services?dc={datacenter}"))
    except ConsulError:
        return False


@pytest.mark.parametrize("datacenters", [["dc1", "dc2"], "*"])
async def test_one_host_has_the_endpoints_of_both(two: Two, datacenters: object) -> None:
    one, other = two
    one.register("web", 8080, address="127.0.0.1")
    other.register("web", 8081, address="127.0.0.2")
    other.register("far", 8081, address="127.0.0.2", tags=("new",))
    async with watching(one, datacenters=datacenters) as sink:
        await sink.until(lambda: sink.endpoints("web") == ["127.0.0.1", "127.0.0.2"])
        web = sink.service("web")
        assert web is not None
        assert [endpoint.locality for endpoint in web.endpoints] == ["dc1", "dc2"]
        assert sink.endpoints("far") == ["127.0.0.2"]
        assert sink.snapshots[-1].source_version.startswith("dc1=")
        other.register("web", 8081, address="127.0.0.3")
        await sink.until(lambda: sink.endpoints("web") == ["127.0.0.1", "127.0.0.3"])
        assert sink.failures == []


async def test_a_template_with_the_datacenter_keeps_them_apart(two: Two) -> None:
    one, other = two
    one.register("web", 8080, address="127.0.0.1")
    other.register("web", 8081, address="127.0.0.2", tags=("new",))
    template = "{name}.service.{dc}.{domain}"
    async with watching(one, datacenters="*", hostTemplate=template) as sink:
        await sink.until(lambda: {"dc1/web", "dc2/web"} <= sink.origins)
        web = sink.service("dc2/web")
        assert web is not None
        assert web.hosts == ("web.service.dc2.consul",)
    async with watching(one, datacenters="*", hostTemplate=template, tags=["new"]) as sink:
        await sink.until(lambda: bool(sink.snapshots))
        assert "dc1/web" not in sink.origins
        assert "dc2/web" in sink.origins


async def test_a_datacenter_that_fails_does_not_hurt_the_other(two: Two) -> None:
    one, other = two
    one.register("web", 8080, address="127.0.0.1")
    other.register("web", 8081, address="127.0.0.2")
    async with watching(one, datacenters=["dc1", "dc2"]) as sink:
        await sink.until(lambda: sink.endpoints("web") == ["127.0.0.1", "127.0.0.2"])
        await trio.to_thread.run_sync(other.stop)
        await sink.until(lambda: any("datacenter dc2" in reason for reason in sink.failures))
        one.register("web", 8080, address="127.0.0.4")
        await sink.until(lambda: sink.endpoints("web") == ["127.0.0.4", "127.0.0.2"])
        assert not any("datacenter dc1" in reason for reason in sink.failures)
        assert sink.snapshots[-1].is_failing
        one.register("web", 8080, address="127.0.0.6")  # while nobody watches
        adapter = make_adapter(
            AdapterContext(name="consul"), {"address": one.address, "datacenters": ["dc1", "dc2"]}
        )
        async with recorded(adapter, sink.snapshots[-1].records) as late:
            await late.until(lambda: late.endpoints("web") == ["127.0.0.6", "127.0.0.2"])
            assert late.service("far") == sink.service("far") != None  # noqa: E711
            await trio.to_thread.run_sync(other.start)
            other.register("web", 8081, address="127.0.0.5")
            await late.until(lambda: late.endpoints("web") == ["127.0.0.6", "127.0.0.5"])
            assert "far" not in late.origins  # dc2 kept nothing over its restart
        await sink.until(lambda: sink.endpoints("web") == ["127.0.0.6", "127.0.0.5"])
        syncs = sink.syncs
        await sink.until(lambda: sink.syncs > syncs)  # it is in sync only while nothing fails


async def test_a_prepared_query_is_a_host(two: Two) -> None:
    one, _ = two
    one.register("web", 8080, address="127.0.0.1")
    options = {"preparedQueries": ["near", "missing"], "queryInterval": "200ms"}
    async with watching(one, include=["none"], **options) as sink:
        await sink.until(lambda: bool(sink.snapshots))
        assert {"query/near", "query/missing"} <= sink.snapshots[-1].failed_origins
        query = {"Name": "near", "Service": {"Service": "web"}}
        one.request("POST", "/v1/query", query)
        await sink.until(lambda: sink.endpoints("query/near") == ["127.0.0.1"])
        near = sink.service("query/near")
        assert near is not None
        assert near.hosts == ("near.query.consul",)
        one.register("web", 8080, address="127.0.0.6")
        await sink.until(lambda: sink.endpoints("query/near") == ["127.0.0.6"])
        assert sink.snapshots[-1].failed_origins == {"query/missing"}
