"""Which keys a resource is filed under: hosts, and for what is not found by host, pseudo keys that
start with "/" and so are no host."""

from __future__ import annotations

from egressd.api.destination_rule import DestinationRule
from egressd.api.resource import Kind, Resource
from egressd.api.service_entry import ServiceEntry
from egressd.api.virtual_service import VirtualService
from egressd.api.workload_entry import WorkloadEntry


def kind_key(kind: Kind) -> str:
    """Where all resources of a kind are filed that is read as a whole (Gateway, policies)."""
    return f"/{kind}"


def namespace_key(kind: Kind, namespace: str) -> str:
    """Where the resources of a kind are filed that is read by namespace (WorkloadEntry)."""
    return f"/{kind}/{namespace}"


def delegate_key(namespace: str, name: str) -> str:
    """Where a VirtualService without hosts is filed: only other ones name it (Istio `delegate`)."""
    return f"/{Kind.VIRTUAL_SERVICE}/{namespace}/{name}"


def claimed_hosts(resource: Resource) -> tuple[str, ...]:
    """Lower-case host keys without a trailing dot, or the pseudo key of a kind without hosts."""
    spec = resource.spec
    metadata = resource.metadata
    if isinstance(spec, (ServiceEntry, VirtualService)):
        hosts = spec.hosts
    elif isinstance(spec, DestinationRule):
        hosts = (spec.host,)
    elif isinstance(spec, WorkloadEntry):
        return (namespace_key(Kind.WORKLOAD_ENTRY, metadata.namespace),)
    else:
        return (kind_key(resource.kind),)
    if not hosts and isinstance(spec, VirtualService):
        return (delegate_key(metadata.namespace, metadata.name),)
    return tuple(dict.fromkeys(host.lower().removesuffix(".") for host in hosts))
