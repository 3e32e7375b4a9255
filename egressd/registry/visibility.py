"""What a node sees of the registry: resources that are exported to its namespace. Pure.

Source: Istio `exportTo` (`egressd.api.export`). Delegates are not filtered: they must be exported to
the namespace of the VirtualService that names them, whoever the client is (`egressd.routing.delegate`).
"""

from __future__ import annotations

from collections.abc import Mapping

from egressd.api.export import is_exported
from egressd.api.resource import Kind
from egressd.registry.claims import is_delegate_key
from egressd.registry.lookup import RecordingView
from egressd.registry.records import Record
from egressd.registry.sidecar import SidecarView
from egressd.registry.view import RegistryView


class VisibleView:
    """A view without what is not exported to `namespace`. Its own ServiceEntries come first (Istio: of
    one host in several namespaces, the client's own is meant)."""

    def __init__(self, view: RegistryView, namespace: str) -> None:
        self.inner = view
        self._namespace = namespace

    def version(self) -> int:
        return self.inner.version()

    def claims(self, kind: Kind, host: str) -> tuple[Record, ...]:
        found = self.inner.claims(kind, host)
        if is_delegate_key(host):
            return found
        if not all(is_exported(record.resource, self._namespace) for record in found):
            found = tuple(r for r in found if is_exported(r.resource, self._namespace))
        if kind is Kind.SERVICE_ENTRY and len(found) > 1:
            return tuple(sorted(found, key=self._is_foreign))
        return found

    def records(self, kind: Kind) -> tuple[Record, ...]:
        found = self.inner.records(kind)
        return tuple(r for r in found if is_exported(r.resource, self._namespace))

    def unanswered(self) -> Mapping[str, str]:
        return self.inner.unanswered()

    def _is_foreign(self, record: Record) -> bool:
        return record.resource.metadata.namespace != self._namespace


class ReachedView:
    """What routes may lead to where a Sidecar narrows what is seen: of a host the services that are
    seen, else whatever else is exported to the client (Istio imports the clusters of VirtualServices'
    destinations)."""

    def __init__(self, seen: RegistryView, exported: RegistryView) -> None:
        self._seen = seen
        self._exported = exported

    def version(self) -> int:
        return self._exported.version()

    def claims(self, kind: Kind, host: str) -> tuple[Record, ...]:
        return self._seen.claims(kind, host) or self._exported.claims(kind, host)

    def records(self, kind: Kind) -> tuple[Record, ...]:
        return self._exported.records(kind)

    def unanswered(self) -> Mapping[str, str]:
        return self._exported.unanswered()


def reached_view(view: RegistryView, namespace: str) -> RegistryView:
    """What the routes of a client may lead to; `view` is what the client sees, or the registry."""
    whole = view
    has_sidecar = False
    while isinstance(whole, (VisibleView, SidecarView)):
        has_sidecar |= isinstance(whole, SidecarView)
        whole = whole.inner
    exported = VisibleView(whole, namespace)
    return ReachedView(VisibleView(view, namespace), exported) if has_sidecar else exported


def recording_view(view: RegistryView, namespace: str) -> RecordingView:
    """What a client of a namespace sees, for compiling."""
    return RecordingView(VisibleView(view, namespace), reached_view(view, namespace))


__all__ = ["VisibleView", "is_exported", "reached_view", "recording_view"]
