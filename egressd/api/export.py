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


def exports_overlap(one: Resource, other: Resource) -> bool:
    """Whether some namespace sees both."""
    ours, theirs = export_namespaces(one), export_namespaces(other)
    if not ours or not theirs:
        return False
    return "*" in ours or "*" in theirs or not ours.isdisjoint(theirs)
