"""All datacenters together: the records, and the snapshot of them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec

from adapters.consul.translate import Part, Rules, compose, part_of
from adapters.entries import Translated
from egressd.api.resource import Problem
from egressd.api.service_entry import ServiceEntry
from egressd.registry.records import Record

Key = tuple[str, str]
"""Datacenter ("" = all of them) and service."""
QUERY = "query"  # first part of the origin of a prepared query


class Catalog:
    """The translated services. A service that did not change keeps the very same record, so that the
    registry's comparison is cheap; nothing but the changed ones is translated."""

    def __init__(self, source: str, rules: Rules) -> None:
        self._source = source
        self._rules = rules
        self._query_rules = msgspec.structs.replace(
            rules,
            template="{name}.query.{domain}",
            path="/v1/query/{name}/execute",
            is_of_services=False,
        )
        self._parts: dict[Key, dict[str, Part]] = {}
        self._by_ref: dict[str, dict[str, Record]] = {}  # by origin: two names may make one host
        self._refs: dict[str, str] = {}  # of origins
        self._winners: dict[str, Record] = {}  # by ref
        self._contested: set[str] = set()  # refs
        self._warnings: dict[str, tuple[Problem, ...]] = {}  # by origin

    def origin(self, dc: str, name: str) -> str:
        """The origin of a service's record."""
        return f"{dc}/{name}" if self._rules.names_datacenter else name

    def put(self, dc: str, name: str, part: Part | None, version: str) -> None:
        """What a datacenter says of a service now; None = it has none."""
        own_dc = dc if self._rules.names_datacenter else ""
        key = (own_dc, name)
        parts = self._parts.setdefault(key, {})
        if part is None:
            parts.pop(dc, None)
        else:
            parts[dc] = part
        if not parts:
            del self._parts[key]
        ordered = [parts[each] for each in sorted(parts)]
        made = compose(name, ordered, self._rules, own_dc) if parts else None
        self._set(self.origin(dc, name), made, version)

    def adopt(self, dc: str, records: Iterable[Record]) -> set[str]:
        """Take what an earlier run knew of a datacenter, until it is read. The names of services."""
        adopted = set()
        for record in records:
            own_dc, _, name = record.origin.rpartition("/")
            spec = record.resource.spec
            if own_dc not in ("", dc) or not isinstance(spec, ServiceEntry):
                continue
            part = part_of(spec, dc)
            if part is not None and self.origin(dc, name) == record.origin:
                self.put(dc, name, part, record.source_version)
                adopted.add(name)
        return adopted

    def put_query(self, name: str, part: Part) -> None:
        """What a prepared query found."""
        self._set(f"{QUERY}/{name}", compose(name, [part], self._query_rules), "")

    def drop(self, dc: str) -> None:
        """The datacenter is no more."""
        for (_, name), parts in list(self._parts.items()):
            if dc in parts:
                self.put(dc, name, None, "")

    def records(self, without: frozenset[str] = frozenset()) -> tuple[Record, ...]:
        """One record a host, but those of some origins: of two services with one host the first in the
        alphabet has it."""
        if without:
            return tuple(r for r in self._winners.values() if r.origin not in without)
        return tuple(self._winners.values())

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the services, including hosts that two of them claim."""
        found = [problem for problems in self._warnings.values() for problem in problems]
        for records in (self._by_ref[ref] for ref in sorted(self._contested)):
            for origin in sorted(records)[1:]:
                resource = records[origin].resource
                found.append(
                    Problem(
                        place=resource.place,
                        resource=resource.ref,
                        field="spec.hosts[0]",
                        found=f"Consul service {origin!r}, whose host another service has already",
                        expected="service names that differ in more than case and punctuation",
                    )
                )
        return tuple(found)

    def _set(self, origin: str, made: Translated | None, version: str) -> None:
        self._warnings.pop(origin, None)
        ref = made.resource.ref if made else self._refs.get(origin, "")
        records = self._by_ref.setdefault(ref, {})
        if made is None:
            self._refs.pop(origin, None)
            records.pop(origin, None)
        else:
            if made.problems:
                self._warnings[origin] = made.problems
            if origin in records and records[origin].resource == made.resource:
                return
            self._refs[origin] = ref
            records[origin] = Record(
                resource=made.resource, source=self._source, origin=origin, source_version=version
            )
        (self._contested.add if len(records) > 1 else self._contested.discard)(ref)
        if records:
            self._winners[ref] = records[min(records)]
        else:
            self._winners.pop(ref, None)
            del self._by_ref[ref]


def version_of(indexes: Mapping[str, int]) -> str:
    """The version of the source: the index of its one datacenter, or all with their names."""
    if len(indexes) == 1:
        return str(next(iter(indexes.values())))
    return " ".join(f"{dc}={indexes[dc]}" for dc in sorted(indexes))
