"""A host that several sources have."""

from __future__ import annotations

import pytest

from egressd.api.resource import Severity
from egressd.registry.lookup import find_service
from egressd.registry.memory import MemoryView
from egressd.registry.merge import Merger, SourceRule
from egressd.registry.records import Snapshot
from tests.registry.test_merge import API, records


def entry(name: str, rest: str, host: str = "web.example", namespace: str = "default") -> str:
    return (
        f"apiVersion: {API}\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: {namespace}}}\n"
        f"spec: {{hosts: [{host}], {rest}}}\n"
    )


def static(*addresses: str, port: str = "number: 80, name: http, protocol: HTTP") -> str:
    endpoints = ", ".join(f"{{address: {address}}}" for address in addresses)
    return f"ports: [{{{port}}}], resolution: STATIC, endpoints: [{endpoints}]"


def found(merger: Merger) -> list[tuple[str, dict[str, int]]]:
    service = find_service(MemoryView(sorted_records(merger)), "web.example")
    assert service is not None
    return [(endpoint.address, dict(endpoint.ports)) for endpoint in service.endpoints]


def sorted_records(merger: Merger) -> list:  # type: ignore[type-arg]
    return sorted(merger._in_force.values(), key=lambda r: merger.rank(r.source))


def two(one: str, other: str, *, is_merged: bool) -> Merger:
    merger = Merger(["one", "two"], rules={"two": SourceRule(is_merged=is_merged)})
    merger.apply("two", Snapshot(records=records("two", other)))
    merger.apply("one", Snapshot(records=records("one", one)))
    merger.changes(7.0)
    return merger


def test_the_first_source_replaces_the_endpoints_of_the_next() -> None:
    merger = two(entry("a", static("10.0.0.1")), entry("b", static("10.0.0.2")), is_merged=False)
    assert found(merger) == [("10.0.0.1", {})]
    (conflict,) = merger.conflicts
    assert conflict.severity is Severity.WARNING
    assert conflict.resource == "ServiceEntry/default/b"
    assert "source two" in conflict.found


def test_a_merged_source_adds_its_endpoints_once() -> None:
    other = entry("b", static("10.0.0.1", "10.0.0.2"), namespace="elsewhere")
    merger = two(entry("a", static("10.0.0.1")), other, is_merged=True)
    assert found(merger) == [("10.0.0.1", {}), ("10.0.0.2", {})]
    assert merger.conflicts == ()


def test_the_same_name_in_two_sources_is_two_records() -> None:
    merger = two(entry("a", static("10.0.0.1")), entry("a", static("10.0.0.2")), is_merged=True)
    assert found(merger) == [("10.0.0.1", {}), ("10.0.0.2", {})]


def test_the_next_source_takes_over_when_the_first_one_no_longer_has_it() -> None:
    merger = two(entry("a", static("10.0.0.1")), entry("b", static("10.0.0.2")), is_merged=False)
    merger.apply("one", Snapshot(records=()))
    merger.changes()
    assert found(merger) == [("10.0.0.2", {})]
    assert merger.conflicts == ()


@pytest.mark.parametrize(
    ("port", "ports"),
    [
        ("number: 80, name: http, protocol: HTTP, targetPort: 8080", {"http": 8080}),
        ("number: 80, name: web, protocol: HTTP, targetPort: 8080", {"http": 8080}),
        ("number: 80, name: web, protocol: HTTP", {"http": 80}),
        ("number: 81, name: http, protocol: HTTP, targetPort: 8081", {"http": 8081}),
        ("number: 81, name: web, protocol: HTTP", {"http": 81}),
    ],
)
def test_merged_endpoints_keep_the_ports_of_their_own_source(
    port: str, ports: dict[str, int]
) -> None:
    other = entry("b", static("10.0.0.2", port=port))
    merger = two(entry("a", static("10.0.0.1")), other, is_merged=True)
    assert found(merger) == [("10.0.0.1", {}), ("10.0.0.2", ports)]


def test_an_endpoint_at_the_port_number_stays_there_beside_a_target_port() -> None:
    one = entry(
        "a", static("10.0.0.1", port="number: 80, name: http, protocol: HTTP, targetPort: 8080")
    )
    merger = two(one, entry("b", static("10.0.0.2")), is_merged=True)
    assert found(merger) == [("10.0.0.1", {}), ("10.0.0.2", {"http": 80})]


def test_a_service_takes_only_endpoints_that_its_resolution_can() -> None:
    dns = "ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS"
    named = entry("b", f"{dns}, endpoints: [{{address: x.example}}]")
    assert found(two(entry("a", static("10.0.0.1")), named, is_merged=True)) == [("10.0.0.1", {})]
    own_name = two(entry("a", dns), entry("b", static("10.0.0.2")), is_merged=True)
    assert found(own_name) == []  # the host's own name resolves, as before


def test_a_record_keeps_when_it_was_first_seen() -> None:
    merger = two(entry("a", static("10.0.0.1")), entry("b", static("10.0.0.2")), is_merged=False)
    merger.apply("one", Snapshot(records=records("one", entry("a", static("10.0.0.3")))))
    (put,) = merger.changes(9.0).puts
    assert (put.first_seen, put.last_seen) == (7.0, 9.0)
