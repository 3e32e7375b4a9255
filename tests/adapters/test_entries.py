"""What the ServiceEntries of several sources have in common, as tables."""

from __future__ import annotations

import pytest

from adapters.entries import (
    Found,
    Remark,
    clean_labels,
    compose_entry,
    host_from,
    locality,
    port_of,
)
from egressd.api.resource import Metadata, Place
from egressd.api.service_entry import Resolution, ServiceEntry, ServicePort


@pytest.mark.parametrize(
    ("name", "template", "host"),
    [
        ("web", "{name}.eureka", "web.eureka"),
        ("WEB", "x-{name}.svc", "x-web.svc"),
        ("my_app", "{name}", "my-app"),
        ("...", "{name}.eureka", "unnamed.eureka"),
        ("n" * 70, "{name}.eureka", "n" * 63 + ".eureka"),
        (".".join(["n" * 60] * 5), "{name}.eureka", ".".join(["n" * 60] * 4) + ".nn.eureka"),
    ],
)
def test_a_host_is_a_dns_name_from_a_template(name: str, template: str, host: str) -> None:
    assert host_from(template, name) == host
    assert len(host) <= 253


def test_labels_are_cleaned_and_the_last_of_equal_keys_wins() -> None:
    found = [("a b", "c/d"), ("-", "x"), ("k", "v" * 70), ("a-b", "last")]
    assert clean_labels(found) == {"a-b": "last", "k": "v" * 63}


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("r", "z", "s"), "r/z/s"),
        (("r", "", ""), "r"),
        (("a/b", "z", ""), "a-b/z"),
        (("",) * 3, ""),
    ],
)
def test_a_locality_ends_with_its_last_part(parts: tuple[str, str, str], expected: str) -> None:
    assert locality(*parts) == expected


@pytest.mark.parametrize(
    ("numbers", "protocols", "number", "protocol", "warned"),
    [
        ({8080: 2, 9090: 1}, {"GRPC": 1}, 8080, "GRPC", 0),
        ({9090: 1, 8080: 1}, {}, 8080, "HTTP", 0),
        ({}, {"SMOKE": 1}, 80, "HTTP", 1),
    ],
)
def test_the_port_is_the_commonest(
    numbers: dict[int, int], protocols: dict[str, int], number: int, protocol: str, warned: int
) -> None:
    remarks: list[Remark] = []
    port = port_of(numbers, protocols, "HTTP", remarks)
    assert (port.number, port.protocol, port.name) == (number, protocol, protocol.lower())
    assert len(remarks) == warned


def test_names_among_the_addresses_make_the_resolution_dns() -> None:
    def entry(*found: Found) -> ServiceEntry:
        metadata, port = Metadata(name="web"), ServicePort(number=80, name="http")
        spec = compose_entry(metadata, Place(), ("web",), port, found, ()).resource.spec
        assert isinstance(spec, ServiceEntry)
        return spec

    ip = Found("10.0.0.1", 80, {}, "", 2**40)
    again = Found("10.0.0.1", 80, {"version": "2"}, "", 1)
    name = Found("vm-1", 81, {}, "", 1)
    assert entry(ip).resolution is Resolution.STATIC
    assert entry(ip, name).resolution is Resolution.DNS
    (endpoint,) = entry(ip, again).endpoints
    assert (endpoint.labels, endpoint.weight) == ({}, 2**32 - 1)
    assert dict(entry(name).endpoints[0].ports) == {"http": 81}
