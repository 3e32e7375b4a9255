"""What is known of a cluster: Services, their slices, and the records that they became. Pure.

A change of one object marks its Service; only marked Services are translated again, and a record
whose resource came out equal stays the very same object, so that the registry's comparison is cheap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from fnmatch import fnmatchcase

import msgspec

from adapters.kubernetes.translate import Translated
from adapters.kubernetes.wire import EndpointSlice, Service, is_same
from egressd.api.resource import Problem
from egressd.api.service_entry import ServiceEntry
from egressd.registry.records import Record, Snapshot

Translate = Callable[[Service, Sequence[EndpointSlice]], Translated]


class _Known(msgspec.Struct, frozen=True):
    """One Service's last translation."""

    records: tuple[Record, ...]
    problems: tuple[Problem, ...]
    endpoints: int


class Inventory:
    """One owner's mutable picture of the cluster. A `heard` method returns whether it changed."""

    def __init__(self, source: str, translate: Translate, exclude: tuple[str, ...] = ()) -> None:
        self._source = source
        self._translate = translate
        self._exclude = exclude
        self._services: dict[str, Service] = {}
        self._slices: dict[str, EndpointSlice] = {}
        self._slices_of: dict[str, dict[str, EndpointSlice]] = {}  # by Service, then by key
        self._known: dict[str, _Known] = {}
        self._marked: set[str] = set()
        self._problems: dict[str, tuple[Problem, ...]] = {}  # of the Services that have some
        self.endpoints = 0  # of all Services, as of the last snapshot

    def heard_services(self, namespace: str, services: Iterable[Service]) -> bool:
        """All Services of a namespace ("" = of all); others of it are gone."""
        now = {service.metadata.key: service for service in services}
        gone = _gone(self._services, now, namespace)
        heard = [self.heard_service(service) for service in now.values()]
        heard += [self.lost_service(self._services[key]) for key in gone]
        return any(heard)

    def heard_slices(self, namespace: str, slices: Iterable[EndpointSlice]) -> bool:
        """All slices of a namespace ("" = of all); others of it are gone."""
        now = {one.metadata.key: one for one in slices}
        gone = _gone(self._slices, now, namespace)
        heard = [self.heard_slice(one) for one in now.values()]
        heard += [self.lost_slice(self._slices[key]) for key in gone]
        return any(heard)

    def heard_service(self, service: Service) -> bool:
        """One Service as it is now."""
        key = service.metadata.key
        if is_same(self._services.get(key), service) or self._is_excluded(key):
            return False
        self._services[key] = service
        self._marked.add(key)
        return True

    def lost_service(self, service: Service) -> bool:
        """One Service that is gone."""
        key = service.metadata.key
        if self._services.pop(key, None) is None:
            return False
        self._marked.add(key)
        return True

    def heard_slice(self, one: EndpointSlice) -> bool:
        """One slice as it is now."""
        key = one.metadata.key
        before = self._slices.get(key)
        if is_same(before, one) or self._is_excluded(one.service):
            return False
        if before is not None and before.service != one.service:
            self.lost_slice(before)
        self._slices[key] = one
        self._slices_of.setdefault(one.service, {})[key] = one
        return self._mark(one.service)

    def lost_slice(self, one: EndpointSlice) -> bool:
        """One slice that is gone."""
        key = one.metadata.key
        before = self._slices.pop(key, None)
        if before is None:
            return False
        siblings = self._slices_of[before.service]
        del siblings[key]
        if not siblings:
            del self._slices_of[before.service]
        return self._mark(before.service)

    def settle(self, limit: int) -> bool:
        """Translate at most so many of the Services that have changed; whether some are left."""
        for _ in range(min(limit, len(self._marked))):
            key = self._marked.pop()
            service = self._services.get(key)
            self._replace(key, None if service is None else self._translated(key, service))
        return bool(self._marked)

    def snapshot(self, version: str) -> Snapshot:
        """All that is known."""
        self.settle(len(self._marked))
        return Snapshot(
            records=tuple(record for known in self._known.values() for record in known.records),
            source_version=version,
        )

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the Services, as of the last snapshot."""
        return tuple(problem for found in self._problems.values() for problem in found)

    def _replace(self, key: str, known: _Known | None) -> None:
        before = self._known.pop(key, None)
        self._problems.pop(key, None)
        if before is not None:
            self.endpoints -= before.endpoints
        if known is not None:
            self._known[key] = known
            self.endpoints += known.endpoints
            if known.problems:
                self._problems[key] = known.problems

    def _translated(self, key: str, service: Service) -> _Known:
        slices = [one for _, one in sorted(self._slices_of.get(key, {}).items())]
        translated = self._translate(service, slices)
        metas = [service.metadata, *(one.metadata for one in slices)]
        newest = max((meta.resource_version for meta in metas), key=lambda text: text.zfill(20))
        before = self._known.get(key)
        old = {} if before is None else {r.resource.ref: r for r in before.records}
        records = []
        for resource in translated.resources:
            record = old.get(resource.ref)
            if record is None or record.resource != resource:
                record = Record(
                    resource=resource, source=self._source, origin=key, source_version=newest
                )
            records.append(record)
        specs = (record.resource.spec for record in records)
        endpoints = sum(len(spec.endpoints) for spec in specs if isinstance(spec, ServiceEntry))
        return _Known(tuple(records), translated.problems, endpoints)

    def _mark(self, service: str) -> bool:
        """A slice of a Service that is not known (yet) changes nothing."""
        if service not in self._services:
            return False
        self._marked.add(service)
        return True

    def _is_excluded(self, key: str) -> bool:
        return any(fnmatchcase(key, pattern) for pattern in self._exclude)


def _gone(
    known: dict[str, Service] | dict[str, EndpointSlice],
    now: dict[str, Service] | dict[str, EndpointSlice],
    namespace: str,
) -> list[str]:
    prefix = f"{namespace}/" if namespace else ""
    return [key for key in known if key not in now and key.startswith(prefix)]
