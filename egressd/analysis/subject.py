"""What the checks look at: the resources, indexed once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

from egressd.api.destination_rule import DestinationRule
from egressd.api.export import export_namespaces
from egressd.api.message import Message
from egressd.api.resource import Kind, Resource
from egressd.api.virtual_service import Destination, VirtualService
from egressd.registry.lookup import (
    RecordingView,
    Service,
    choose_port,
    find_service,
    service_host,
)
from egressd.registry.memory import MemoryView
from egressd.registry.profile import NodeProfile
from egressd.registry.records import Record
from egressd.registry.visibility import VisibleView
from egressd.routing.compile import destination_key
from egressd.routing.table import ClusterKey

S = TypeVar("S", bound=Message)


class Subject:
    """The resources as this node sees them: records in the order of their sources' precedence."""

    def __init__(self, records: Sequence[Record], profile: NodeProfile) -> None:
        self.resources = tuple(record.resource for record in records)
        self.sources = {id(record.resource): record.source for record in records}
        self.profile = profile
        self.memory = MemoryView(records)
        self.view = VisibleView(self.memory, profile.namespace)
        self.recording = RecordingView(self.view)

    def each(self, kind: type[S]) -> Iterator[tuple[Resource, S]]:
        """The resources whose spec is of a type."""
        for resource in self.resources:
            if isinstance(resource.spec, kind):
                yield resource, resource.spec

    def service(self, host: str) -> Service | None:
        """The service of a host."""
        return find_service(self.view, host)

    def is_for_others(self, resource: Resource, host: str) -> bool:
        """Whether a VirtualService leads to a service that this node does not see, and those it is meant
        for do: its own namespace, else those that it is exported to (Istio `GetDestinationHost`)."""
        own = resource.metadata.namespace
        spaces = export_namespaces(resource)
        meant = (own,) if own in spaces or "*" in spaces else tuple(spaces)
        views = [VisibleView(self.memory, space) for space in meant]
        return bool(views) and all(
            find_service(view, service_host(view, host, own)) for view in views
        )

    def key(self, resource: Resource, destination: Destination) -> ClusterKey:
        """The cluster of a destination, where the port that is addressed is one of its service."""
        host = service_host(self.view, destination.host, resource.metadata.namespace)
        service = self.service(host)
        port = choose_port(service, 80) if service is not None else None
        addressed = port.number if port is not None else 80
        return destination_key(self.recording, resource, destination, addressed)

    def destinations(self) -> Iterator[tuple[Resource, str, Destination]]:
        """Every destination of every VirtualService with its field path."""
        for resource, spec in self.each(VirtualService):
            for index, route in enumerate(spec.http):
                path = f"spec.http[{index}]"
                for number, target in enumerate(route.route):
                    yield resource, f"{path}.route[{number}].destination", target.destination
                if route.mirror is not None:
                    yield resource, f"{path}.mirror", route.mirror
                for number, mirror in enumerate(route.mirrors):
                    yield resource, f"{path}.mirrors[{number}].destination", mirror.destination
            targets = [(f"spec.tls[{n}]", tls.route) for n, tls in enumerate(spec.tls)]
            targets += [(f"spec.tcp[{n}]", tcp.route) for n, tcp in enumerate(spec.tcp)]
            for path, l4 in targets:
                for number, to in enumerate(l4):
                    yield resource, f"{path}.route[{number}].destination", to.destination

    def rules(self) -> Iterator[tuple[Resource, DestinationRule]]:
        """Every DestinationRule."""
        return self.each(DestinationRule)

    def of_kind(self, kind: Kind) -> list[Resource]:
        """The resources of a kind."""
        return [resource for resource in self.resources if resource.kind is kind]
