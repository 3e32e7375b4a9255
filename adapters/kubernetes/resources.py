"""Istio resources of the API server, as they are: `read: istio`. Pure.

A resource with an error is refused, and what it said before stands; the API server checks little.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase

import msgspec

from adapters.kubernetes.wire import Custom, is_same
from egressd.api.parse import parse_text
from egressd.api.resource import Kind, Problem
from egressd.registry.records import Record, Snapshot

_NETWORKING = tuple(f"/apis/networking.istio.io/{v}" for v in ("v1", "v1beta1", "v1alpha3"))
_SECURITY = tuple(f"/apis/security.istio.io/{v}" for v in ("v1", "v1beta1"))
PLACES: Mapping[Kind, tuple[str, tuple[str, ...]]] = {
    Kind.SERVICE_ENTRY: ("serviceentries", _NETWORKING),
    Kind.WORKLOAD_ENTRY: ("workloadentries", _NETWORKING),
    Kind.VIRTUAL_SERVICE: ("virtualservices", _NETWORKING),
    Kind.DESTINATION_RULE: ("destinationrules", _NETWORKING),
    Kind.GATEWAY: ("gateways", _NETWORKING),
    Kind.SIDECAR: ("sidecars", _NETWORKING),
    Kind.AUTHORIZATION_POLICY: ("authorizationpolicies", _SECURITY),
}
"""Name and groups of each kind in the API, the newest version first."""
MANY = 1000


class ResourcesOf:
    """What is known of one kind. A `heard` method returns whether anything is new."""

    def __init__(self, source: str, kind: Kind, server: str, exclude: tuple[str, ...]) -> None:
        self._source = source
        self._kind = kind
        self._server = server
        self._exclude = exclude
        self._objects: dict[str, Custom] = {}
        self._marked: set[str] = set()
        self.records: dict[str, Record] = {}
        self.failed: set[str] = set()
        self.problems: dict[str, tuple[Problem, ...]] = {}

    def heard_all(self, namespace: str, objects: Iterable[Custom]) -> bool:
        """All of a namespace ("" = of all); others of it are gone."""
        now = {each.metadata.key: each for each in objects}
        prefix = f"{namespace}/" if namespace else ""
        gone = [key for key in self._objects if key not in now and key.startswith(prefix)]
        heard = [self.heard(each) for each in now.values()]
        return any(heard + [self.lost(self._objects[key]) for key in gone])

    def heard(self, one: Custom) -> bool:
        """One resource as it is now."""
        key = one.metadata.key
        excluded = any(fnmatchcase(key, pattern) for pattern in self._exclude)
        if excluded or is_same(self._objects.get(key), one):
            return False
        self._objects[key] = one
        self._marked.add(key)
        return True

    def lost(self, one: Custom) -> bool:
        """One resource that is gone."""
        key = one.metadata.key
        self.records.pop(key, None)
        self.problems.pop(key, None)
        self.failed.discard(key)
        self._marked.discard(key)
        return self._objects.pop(key, None) is not None

    def settle(self, limit: int) -> bool:
        """Parse at most so many of those that have changed; whether some are left."""
        for _ in range(min(limit, len(self._marked))):
            key = self._marked.pop()
            one = self._objects[key]
            parsed = parse_text(msgspec.json.encode(one).decode(), self._place(one))
            self.problems[key] = parsed.problems
            self.failed.discard(key)
            if parsed.errors:
                self.failed.add(key)
            for resource in parsed.resources[:1]:
                self.records[key] = Record(
                    resource=resource,
                    source=self._source,
                    origin=f"{self._kind}/{key}",
                    source_version=one.metadata.resource_version,
                )
        return bool(self._marked)

    def _place(self, one: Custom) -> str:
        meta = one.metadata
        name, (group, *_) = PLACES[self._kind]
        return f"{self._server}{group}/namespaces/{meta.namespace}/{name}/{meta.name}"


class Resources:
    """All kinds that are read."""

    def __init__(
        self, source: str, kinds: Iterable[Kind], server: str, exclude: tuple[str, ...]
    ) -> None:
        self.kinds = {kind: ResourcesOf(source, kind, server, exclude) for kind in kinds}

    @property
    def endpoints(self) -> int:
        """Resources count as one each."""
        return sum(len(each.records) for each in self.kinds.values())

    def settle(self, limit: int) -> bool:
        """Parse at most so many of one kind; whether some are left."""
        return any(each.settle(limit) for each in self.kinds.values())

    def snapshot(self, version: str) -> Snapshot:
        """All that is known."""
        while self.settle(MANY):
            pass
        return Snapshot(
            records=tuple(r for each in self.kinds.values() for r in each.records.values()),
            source_version=version,
            failed_origins=frozenset(
                f"{kind}/{key}" for kind, each in self.kinds.items() for key in each.failed
            ),
        )

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with them."""
        found = (each.problems.values() for each in self.kinds.values())
        return tuple(problem for problems in found for group in problems for problem in group)
