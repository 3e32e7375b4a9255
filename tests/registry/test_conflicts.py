"""Hosts that several sources name: which kinds of resource contest them."""

from __future__ import annotations

from itertools import permutations

import pytest

from egressd.api.parse import parse_text
from egressd.api.resource import Kind
from egressd.registry.conflicts import ServiceHosts
from egressd.registry.records import Record

HOST = "web.service.consul"
NETWORKING, SECURITY = "networking.istio.io/v1", "security.istio.io/v1"
SPECS = {
    Kind.SERVICE_ENTRY: f"{{hosts: [{HOST}], ports: [{{number: 80, name: http}}], resolution: DNS}}",
    Kind.VIRTUAL_SERVICE: f"{{hosts: [{HOST}], http: [{{route: [{{destination: {{host: {HOST}}}}}]}}]}}",
    Kind.DESTINATION_RULE: f"{{host: {HOST}, subsets: [{{name: v1, labels: {{a: b}}}}]}}",
    Kind.WORKLOAD_ENTRY: f"{{address: {HOST}}}",
    Kind.GATEWAY: f"{{servers: [{{port: {{number: 80, name: h, protocol: HTTP}}, hosts: [{HOST}]}}]}}",
    Kind.SIDECAR: f'{{egress: [{{hosts: ["*/{HOST}"]}}]}}',
    Kind.AUTHORIZATION_POLICY: f"{{rules: [{{to: [{{operation: {{hosts: [{HOST}]}}}}]}}]}}",
}
ORDER = ["files", "consul", "etcd"]


def record(kind: Kind, source: str) -> Record:
    group = SECURITY if kind is Kind.AUTHORIZATION_POLICY else NETWORKING
    text = f"apiVersion: {group}\nkind: {kind}\nmetadata: {{name: web-{source}}}\nspec: {SPECS[kind]}\n"
    parsed = parse_text(text, "t.yaml")
    assert not parsed.errors, parsed.errors
    return Record(resource=parsed.resources[0], source=source)


def test_every_kind_is_looked_at() -> None:
    assert set(SPECS) == set(Kind)


@pytest.mark.parametrize("kind", [kind for kind in Kind if kind is not Kind.SERVICE_ENTRY])
@pytest.mark.parametrize("sources", list(permutations(ORDER, 2)))
def test_a_resource_about_a_service_of_another_source_is_no_conflict(
    kind: Kind, sources: tuple[str, str]
) -> None:
    hosts = ServiceHosts()
    service, about = record(Kind.SERVICE_ENTRY, sources[0]), record(kind, sources[1])
    hosts.replace(None, about)
    hosts.replace(None, service)
    assert not hosts.conflicts(ORDER.index)
    hosts.replace(about, record(kind, sources[1]))
    hosts.replace(service, None)
    hosts.replace(about, None)
    assert not hosts.conflicts(ORDER.index)


def test_two_services_are_one_whatever_else_names_the_host() -> None:
    hosts = ServiceHosts()
    others = [record(kind, "files") for kind in Kind if kind is not Kind.SERVICE_ENTRY]
    for one in (*others, record(Kind.SERVICE_ENTRY, "consul"), record(Kind.SERVICE_ENTRY, "etcd")):
        hosts.replace(None, one)
    (conflict,) = hosts.conflicts(ORDER.index)
    assert conflict.resource == "ServiceEntry/default/web-etcd"
    assert "source consul" in conflict.found
