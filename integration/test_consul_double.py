"""The Consul double, and the adapter on what it is good for: many endpoints."""

from __future__ import annotations

import pytest

from adapters.consul import make_adapter
from egressd.api.service_entry import ServiceEntry
from egressd.registry.adapter import AdapterContext
from integration.recorder import Recorder, recorded
from integration.servers.consul_double import ConsulDouble


def ports(sink: Recorder, name: str) -> list[int]:
    entry = sink.service(name)
    assert isinstance(entry, ServiceEntry)
    return [endpoint.ports.get("http", entry.ports[0].number) for endpoint in entry.endpoints]


@pytest.mark.parametrize("watches", [20, 500])
async def test_a_change_costs_one_reading_whatever_the_size_of_the_catalog(watches: int) -> None:
    with ConsulDouble(services=300, endpoints=3, port=8080) as consul:
        options = {"address": consul.address, "watches": watches}
        async with recorded(make_adapter(AdapterContext(name="consul"), options)) as sink:
            await sink.until(lambda: bool(sink.snapshots))
            assert len(sink.origins) == 301
            assert ports(sink, "svc-7") == [8080, 8080, 8080]
            read = consul.requests["service"]
            consul.set_health("svc-7", 0, "critical")
            await sink.until(lambda: len(ports(sink, "svc-7")) == 2)
            consul.set_health("svc-7", 0, "passing")
            await sink.until(lambda: len(ports(sink, "svc-7")) == 3)
            assert consul.requests["service"] - read <= 4
            consul.move("svc-8", 1, port=9)
            await sink.until(lambda: ports(sink, "svc-8") == [8080, 9, 8080])
            consul.move("svc-8", 2, port=9)
            await sink.until(lambda: ports(sink, "svc-8") == [8080, 9, 9])
            assert (consul.requests["service"] - read <= 8) is (watches == 500)
            for number in range(3):
                consul.deregister("svc-9", number)
            await sink.until(lambda: "svc-9" not in sink.origins)
            assert consul.connections <= 8 + 3 + watches
            assert sink.failures == []
