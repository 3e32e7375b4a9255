"""Which keys a resource is filed under: hosts, and for what is not found by host, pseudo keys that
start with "/" and so are no host."""

from __future__ import annotations

import ipaddress

from egressd.api.destination_rule import DestinationRule
from egressd.api.names import is_http, qualified_gateway, qualified_host
from egressd.api.resource import Kind, Resource
from egressd.api.service_entry import ServiceEntry
from egressd.api.virtual_service import VirtualService
from egressd.api.workload_entry import WorkloadEntry

MESH = "mesh"
"""The gateway that is the node's own egress listeners, and the default (Istio)."""


def gateway_names(resource: Resource) -> tuple[str, ...]:
    """The gateways that a VirtualService lists, as "namespace/name" or "mesh"."""
    spec = resource.spec
    named = (spec.gateways if isinstance(spec, VirtualService) else ()) or (MESH,)
    return qualified_gateways(named, resource.metadata.namespace)


def qualified_gateways(names: tuple[str, ...], namespace: str) -> tuple[str, ...]:
    """Gateway names relative to a resource's namespace, as "namespace/name" or "mesh"."""
    return tuple(qualified_gateway(name, namespace) for name in names)


def qualified(host: str, namespace: str) -> str:
    """Istio: a host without a dot is short for that service in the resource's namespace."""
    return qualified_host(host, namespace)


def contested_hosts(resource: Resource) -> tuple[str, ...]:
    """The hosts of a VirtualService in full: what another one may claim as well."""
    spec = resource.spec
    hosts = spec.hosts if isinstance(spec, VirtualService) else ()
    keys = (host.lower().removesuffix(".") for host in hosts)
    return tuple(dict.fromkeys(qualified(key, resource.metadata.namespace) for key in keys))


def _unnamed_keys(spec: ServiceEntry) -> list[str]:
    """Where a service is found by those who name none: its addresses; without any, the ports of it
    that carry no HTTP."""
    if spec.addresses:
        return [network_key(address) for address in spec.addresses]
    return [port_key(port.number) for port in spec.ports if not is_http(port.protocol or "HTTP")]


def network_key(address: str) -> str:
    """Where the ServiceEntries of a virtual address or block are filed."""
    return f"/address/{ipaddress.ip_network(address, strict=False)}"


def port_key(port: int) -> str:
    """Where the ServiceEntries with a TCP or TLS port and without addresses are filed."""
    return f"/port/{port}"


def gateway_key(gateway: str) -> str:
    """Where the VirtualServices of a gateway ("namespace/name") are filed, besides their hosts."""
    return f"/gateway/{gateway}"


def kind_key(kind: Kind) -> str:
    """Where all resources of a kind are filed that is read as a whole (Gateway, policies)."""
    return f"/{kind}"


def namespace_key(kind: Kind, namespace: str) -> str:
    """Where the resources of a kind are filed that is read by namespace (WorkloadEntry)."""
    return f"/{kind}/{namespace}"


def delegate_key(namespace: str, name: str) -> str:
    """Where a VirtualService without hosts is filed: only other ones name it (Istio `delegate`)."""
    return f"/{Kind.VIRTUAL_SERVICE}/{namespace}/{name}"


def is_delegate_key(key: str) -> bool:
    """Whether a key is one of `delegate_key`."""
    return key.startswith(f"/{Kind.VIRTUAL_SERVICE}/")


def claimed_hosts(resource: Resource) -> tuple[str, ...]:
    """Lower-case host keys without a trailing dot, or the pseudo key of a kind without hosts."""
    spec = resource.spec
    metadata = resource.metadata
    if isinstance(spec, ServiceEntry):
        hosts = (*spec.hosts, *_unnamed_keys(spec))
    elif isinstance(spec, VirtualService):
        hosts = spec.hosts
    elif isinstance(spec, DestinationRule):
        hosts = (spec.host,)
    elif isinstance(spec, WorkloadEntry):
        return (namespace_key(Kind.WORKLOAD_ENTRY, metadata.namespace),)
    else:
        return (kind_key(resource.kind),)
    if not hosts and isinstance(spec, VirtualService):
        return (delegate_key(metadata.namespace, metadata.name),)
    if isinstance(spec, VirtualService):
        bound = [gateway_key(name) for name in gateway_names(resource) if name != MESH]
        hosts = (*hosts, *bound)
    keys = dict.fromkeys(host.lower().removesuffix(".") for host in hosts)
    if not isinstance(spec, ServiceEntry):
        short = [key for key in keys if "." not in key and key[0] != "/"]
        keys.update(dict.fromkeys(qualified(key, metadata.namespace) for key in short))
    return tuple(keys)


def named_hosts(resource: Resource) -> list[str]:
    """The keys of a resource that are hosts."""
    return [key for key in claimed_hosts(resource) if not key.startswith("/")]
