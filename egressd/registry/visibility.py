"""What a node sees of the registry: resources that are exported to its namespace. Pure.

Source: Istio `exportTo` of ServiceEntry, VirtualService and DestinationRule: "." is the resource's own
namespace, "*" every one, "~" none; not set means "*".
"""

from __future__ import annotations

from egressd.api.destination_rule import DestinationRule
from egressd.api.resource import Kind, Resource
from egressd.api.service_entry import ServiceEntry
from egressd.api.virtual_service import VirtualService
from egressd.registry.records import Record
from egressd.registry.view import RegistryView


def is_exported(resource: Resource, namespace: str) -> bool:
    """Whether clients of a namespace may use a resource."""
    spec = resource.spec
    if not isinstance(spec, (ServiceEntry, VirtualService, DestinationRule)) or not spec.export_to:
        return True
    own = resource.metadata.namespace
    return any(to == "*" or (own if to == "." else to) == namespace for to in spec.export_to)


class VisibleView:
    """A view without what is not exported to `namespace`."""

    def __init__(self, view: RegistryView, namespace: str) -> None:
        self._view = view
        self._namespace = namespace

    def version(self) -> int:
        return self._view.version()

    def claims(self, kind: Kind, host: str) -> tuple[Record, ...]:
        found = self._view.claims(kind, host)
        if all(is_exported(record.resource, self._namespace) for record in found):
            return found
        return tuple(r for r in found if is_exported(r.resource, self._namespace))

    def records(self, kind: Kind) -> tuple[Record, ...]:
        found = self._view.records(kind)
        return tuple(r for r in found if is_exported(r.resource, self._namespace))
