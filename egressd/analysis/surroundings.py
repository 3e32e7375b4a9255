"""Files together with what a registry holds, as the node has it once the files are in force. Pure.

Source: `istioctl analyze FILES`, which analyzes files together with the cluster.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from egressd.api.crosscheck import by_age
from egressd.api.resource import Resource
from egressd.registry.records import Record

FILES = "files"
"""The source of resources that are only read for the analysis: they have precedence."""


def with_registry(
    resources: Sequence[Resource],
    registry: Iterable[Record],
    read: Collection[str] = (),
    order: Sequence[str] = (),
) -> list[Record]:
    """The records of the registry with those that files state in their place, by source in `order`.

    A resource of a file takes the place of the one of its name, and keeps its source. What the registry
    has from one of the files `read` is gone where the file does not state it any more.
    """
    stated = {resource.ref for resource in resources}
    sources: dict[str, str] = {}
    kept: list[Record] = []
    for record in registry:
        place = record.resource.place.file
        if record.resource.ref not in stated:
            if place not in read:
                kept.append(record)
        elif place in read or record.resource.ref not in sources:
            sources[record.resource.ref] = record.source
    kept += (
        Record(resource=r, source=sources.get(r.ref, FILES), origin=r.place.file) for r in resources
    )
    ranks = {source: rank for rank, source in enumerate((FILES, *order))}
    return sorted(kept, key=lambda record: ranks.get(record.source, len(ranks)))


def distinct(records: Sequence[Record]) -> list[Record]:
    """Of several resources of one name and source the one that is in force: the oldest."""
    first: dict[str, Record] = {}
    resources = {id(record.resource): record for record in records}
    for resource in by_age(record.resource for record in records):
        record = resources[id(resource)]
        first.setdefault(record.key, record)
    kept = {id(record) for record in first.values()}
    return [record for record in records if id(record) in kept]


def alone(resources: Iterable[Resource]) -> list[Record]:
    """Resources as records of the one source `files`."""
    return [Record(resource=r, source=FILES, origin=r.place.file) for r in resources]


__all__ = ["FILES", "alone", "distinct", "with_registry"]
