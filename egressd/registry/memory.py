"""A registry in memory: for files read offline (`--config DIR`) and for tests."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType

from egressd.api.age import creation_order
from egressd.api.resource import Kind
from egressd.registry.claims import claimed_hosts
from egressd.registry.records import Record


class MemoryView:
    """A `RegistryView` over records that do not change."""

    def __init__(
        self,
        records: Iterable[Record],
        version: int = 1,
        unanswered: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self._unanswered = unanswered
        self._version = version
        self._records: dict[Kind, list[Record]] = {kind: [] for kind in Kind}
        self._claims: dict[tuple[Kind, str], list[Record]] = {}
        listed = list(records)
        sources = {
            source: rank for rank, source in enumerate(dict.fromkeys(r.source for r in listed))
        }
        order = {
            id(r): (sources[r.source], creation_order(r.resource), r.resource.ref) for r in listed
        }
        for record in sorted(listed, key=lambda r: order[id(r)]):
            kind = record.resource.kind
            self._records[kind].append(record)
            for host in claimed_hosts(record.resource):
                self._claims.setdefault((kind, host), []).append(record)

    def version(self) -> int:
        return self._version

    def claims(self, kind: Kind, host: str) -> tuple[Record, ...]:
        return tuple(self._claims.get((kind, host), ()))

    def records(self, kind: Kind) -> tuple[Record, ...]:
        return tuple(sorted(self._records[kind], key=lambda record: record.resource.ref))

    def unanswered(self) -> Mapping[str, str]:
        return self._unanswered
