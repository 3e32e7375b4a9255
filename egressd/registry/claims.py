"""Which host keys a resource is filed under."""

from __future__ import annotations

from egressd.api.destination_rule import DestinationRule
from egressd.api.resource import Resource
from egressd.api.service_entry import ServiceEntry
from egressd.api.virtual_service import VirtualService


def claimed_hosts(resource: Resource) -> tuple[str, ...]:
    """Lower-case host keys without a trailing dot; () for kinds that are not looked up by host."""
    spec = resource.spec
    if isinstance(spec, (ServiceEntry, VirtualService)):
        hosts = spec.hosts
    elif isinstance(spec, DestinationRule):
        hosts = (spec.host,)
    else:
        return ()
    return tuple(dict.fromkeys(host.lower().removesuffix(".") for host in hosts))
