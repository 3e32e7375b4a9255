"""Who may use a resource: Istio `exportTo` of ServiceEntry, VirtualService and DestinationRule. "." is
the resource's own namespace, "*" every one, "~" none; not set means "*"."""

from __future__ import annotations

from egressd.api.destination_rule import DestinationRule
from egressd.api.resource import Resource
from egressd.api.service_entry import ServiceEntry
from egressd.api.virtual_service import VirtualService


def export_namespaces(resource: Resource) -> frozenset[str]:
    """The namespaces that a resource is exported to; "*" stands for all."""
    spec = resource.spec
    own = resource.metadata.namespace
    if isinstance(spec, DestinationRule) and spec.workload_selector is not None:
        return frozenset((own,))  # Istio: a rule for some workloads is never exported
    if not isinstance(spec, (ServiceEntry, VirtualService, DestinationRule)) or not spec.export_to:
        return frozenset(("*",))
    return frozenset(own if to == "." else to for to in spec.export_to if to != "~")


def is_exported(resource: Resource, namespace: str) -> bool:
    """Whether clients of a namespace may use a resource."""
    return not export_namespaces(resource).isdisjoint(("*", namespace))


def precedence(resource: Resource, namespace: str) -> int:
    """Which of several VirtualServices of a host a client of a namespace has (Istio
    `VirtualServicesForGateway`): 0 one that is private to it, 1 one that is exported to it by name, 2
    one for every namespace; 3 for those that it does not see."""
    namespaces = export_namespaces(resource)
    if "*" in namespaces:
        return 2
    if namespace not in namespaces:
        return 3
    return 0 if namespace == resource.metadata.namespace else 1


def contest(one: Resource, other: Resource) -> bool:
    """Whether some namespace sees two resources with equal precedence."""
    ours, theirs = export_namespaces(one), export_namespaces(other)
    if "*" in ours or "*" in theirs:
        return "*" in ours and "*" in theirs
    return any(precedence(one, space) == precedence(other, space) for space in ours & theirs)
