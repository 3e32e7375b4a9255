"""Resources in a few words, and the cluster that they compile to."""

from __future__ import annotations

from typing import Any

from egressd.api.destination_rule import (
    DestinationRule,
    Subset,
    TrafficPolicy,
)
from egressd.api.resource import Kind, Metadata, Resource, Spec
from egressd.api.service_entry import Resolution, ServiceEntry, ServicePort
from egressd.api.workload_entry import WorkloadEntry
from egressd.registry.memory import MemoryView
from egressd.registry.records import Record
from egressd.routing.table import ClusterKey
from egressd.upstream.compile import compile_cluster
from egressd.upstream.spec import (
    ClusterSpec,
)

HOST = "a.example.com"
HTTP = ServicePort(number=80, name="http", protocol="HTTP", target_port=8080)
HTTPS = ServicePort(number=443, name="https", protocol="https")


def entry(*endpoints: WorkloadEntry, host: str = HOST, **more: Any) -> ServiceEntry:
    given = {"ports": (HTTP, HTTPS), "resolution": Resolution.STATIC} | more
    return ServiceEntry(hosts=(host,), endpoints=endpoints, **given)


def rule(
    policy: TrafficPolicy | None = None, *subsets: Subset, host: str = HOST
) -> DestinationRule:
    return DestinationRule(host=host, traffic_policy=policy, subsets=subsets)


def compiled(
    *specs: Spec, host: str = HOST, subset: str = "", port: int = 80, **more: Any
) -> ClusterSpec:
    kinds = {ServiceEntry: Kind.SERVICE_ENTRY, DestinationRule: Kind.DESTINATION_RULE}
    records = [
        Record(
            resource=Resource(kind=kinds[type(spec)], metadata=Metadata(name=f"r{n}"), spec=spec),
            source="files",
        )
        for n, spec in enumerate(specs)
    ]
    return compile_cluster(MemoryView(records), ClusterKey(host, subset, port), **more)


ONE = entry(WorkloadEntry(address="10.0.0.1"))


def with_policy(**sections: Any) -> ClusterSpec:
    return compiled(ONE, rule(TrafficPolicy(**sections)))
