"""Services found without a name: by virtual address, or by port (Istio `ServiceEntry.addresses`)."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator

from egressd.api.resource import Kind
from egressd.api.service_entry import ServiceEntry
from egressd.registry.claims import network_key, port_key
from egressd.registry.records import Record
from egressd.registry.view import RegistryView


def host_of_address(view: RegistryView, address: str) -> str:
    """The host whose ServiceEntry has this address, the narrowest block first; "" for none."""
    for key in _blocks(address):
        for record in view.claims(Kind.SERVICE_ENTRY, key):
            return _host(record)
    return ""


def _blocks(address: str) -> Iterator[str]:
    """The keys of every block that an address lies in, the narrowest first."""
    try:
        parsed = ipaddress.ip_address(address.strip("[]"))
    except ValueError:
        return
    for prefix in range(parsed.max_prefixlen, -1, -1):
        yield network_key(f"{parsed}/{prefix}")


def hosts_of_port(view: RegistryView, port: int) -> tuple[tuple[str, str], ...]:
    """(host, protocol) of every service with a port that does not speak HTTP and no address of its
    own: what a connection to that port without a known destination may mean, the first wins."""
    found = []
    for record in view.claims(Kind.SERVICE_ENTRY, port_key(port)):
        spec = record.resource.spec
        assert isinstance(spec, ServiceEntry)
        protocol = next((p.protocol.upper() for p in spec.ports if p.number == port), "TCP")
        found.append((_host(record), protocol))
    return tuple(found)


def _host(record: Record) -> str:
    spec = record.resource.spec
    assert isinstance(spec, ServiceEntry)
    return spec.hosts[0].lower().removesuffix(".")
