"""Where a decision comes from: records and places of the data plane as `By`."""

from __future__ import annotations

from collections.abc import Iterable

from egressd.api.resource import Kind
from egressd.explain.model import By
from egressd.registry.claims import delegate_key, gateway_key, kind_key
from egressd.registry.lookup import candidates
from egressd.registry.records import Record
from egressd.registry.view import RegistryView


def by(record: Record, field: str = "") -> By:
    """A record that decided, by one of its fields."""
    place = record.resource.place
    return By(record.resource.ref, field, place.file, place.line, record.source, record.origin)


def find_record(view: RegistryView, ref: str, keys: Iterable[str]) -> Record | None:
    """The record of a ref, looked for under these keys first."""
    kind = Kind(ref.partition("/")[0])
    for key in keys:
        for record in view.claims(kind, key):
            if record.resource.ref == ref:
                return record
    return next((r for r in view.records(kind) if r.resource.ref == ref), None)


def by_place(view: RegistryView, place: str, host: str) -> By:
    """A place as compiled forms note it: "VirtualService/default/v spec.http[0]"; of a delegated route
    ("root > leaf") the leaf."""
    ref, _, field = place.rpartition(" > ")[2].partition(" ")
    kind, _, rest = ref.partition("/")
    if kind not in tuple(Kind):
        return By(ref, field)
    namespace, _, name = rest.partition("/")
    keys = (
        *(candidates(host) if host else ()),
        delegate_key(namespace, name),
        gateway_key(rest),
        kind_key(Kind(kind)),
    )
    record = find_record(view, ref, keys)
    return By(ref, field) if record is None else by(record, field)
