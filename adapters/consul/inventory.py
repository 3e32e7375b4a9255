"""What is known of a Consul datacenter: which services must be read again, and the snapshot. Pure.

Three kinds of answer come in: the list of services, the list of all checks, and the instances of
one service. The lists say *which* service changed; only the instances say *what* it is now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from fnmatch import fnmatchcase

import msgspec

from adapters.consul.translate import Translated
from adapters.consul.wire import Check, Instance
from egressd.api.resource import Problem
from egressd.api.service_entry import ServiceEntry
from egressd.registry.records import Record, Snapshot

Translate = Callable[[str, tuple[Instance, ...]], Translated]
_Fingerprint = frozenset[tuple[str, str, str, str]]


class Reading(msgspec.Struct, frozen=True):
    """The last good answer about one service."""

    record: Record
    problems: tuple[Problem, ...]
    nodes: frozenset[str]

    @property
    def endpoints(self) -> int:
        spec = self.record.resource.spec
        return len(spec.endpoints) if isinstance(spec, ServiceEntry) else 0


class Inventory:
    """One owner's mutable picture of the datacenter. Methods return the services to read again."""

    def __init__(
        self,
        source: str,
        translate: Translate,
        include: tuple[str, ...] = ("*",),
        exclude: tuple[str, ...] = (),
    ) -> None:
        self._source = source
        self._translate = translate
        self._include = include
        self._exclude = exclude
        self._tags: dict[str, frozenset[str]] | None = None
        self._checks: dict[str, _Fingerprint] = {}
        self._node_checks: dict[str, _Fingerprint] = {}
        self._readings: dict[str, Reading] = {}
        self._failed: set[str] = set()

    @property
    def names(self) -> frozenset[str]:
        """The services that there are."""
        return frozenset(self._tags or ())

    @property
    def is_complete(self) -> bool:
        """Every service there is was asked about, with whatever result."""
        if self._tags is None:
            return False
        return self._tags.keys() <= self._readings.keys() | self._failed

    @property
    def has_readings(self) -> bool:
        """At least one service was read."""
        return bool(self._readings)

    @property
    def has_failures(self) -> bool:
        """At least one service could not be read the last time."""
        return bool(self._failed)

    @property
    def endpoints(self) -> int:
        """How many endpoints there are in all services."""
        return sum(reading.endpoints for reading in self._readings.values())

    def heard_services(self, services: Mapping[str, Iterable[str]]) -> set[str]:
        """The list of all services with their tags. Forgets those that are gone."""
        before = self._tags or {}
        self._tags = {
            name: frozenset(tags) for name, tags in services.items() if self._is_wanted(name)
        }
        for gone in before.keys() - self._tags.keys():
            self._readings.pop(gone, None)
            self._failed.discard(gone)
        return {name for name, tags in self._tags.items() if before.get(name) != tags}

    def heard_checks(self, checks: Iterable[Check]) -> set[str]:
        """The list of all checks. A node's check concerns every service with an instance on it."""
        by_service, by_node = _fingerprints(checks)
        changed = _differences(self._checks, by_service)
        changed_nodes = _differences(self._node_checks, by_node)
        self._checks, self._node_checks = by_service, by_node
        if changed_nodes:
            changed.update(n for n, r in self._readings.items() if r.nodes & changed_nodes)
        return changed & self.names

    def heard_instances(self, name: str, instances: tuple[Instance, ...], index: int) -> bool:
        """All instances of one service; whether anything is new. An equal answer keeps the very
        same record, so that the registry's comparison is cheap."""
        if self._tags is None or name not in self._tags:
            return False
        translated = self._translate(name, instances)
        before = self._readings.get(name)
        if before is not None and before.record.resource == translated.resource:
            record = before.record
        else:
            record = Record(
                resource=translated.resource,
                source=self._source,
                origin=name,
                source_version=str(index),
            )
        nodes = frozenset(instance.node.node for instance in instances)
        self._readings[name] = Reading(record, translated.problems, nodes)
        recovered = name in self._failed
        self._failed.discard(name)
        return recovered or before is None or self._readings[name] != before

    def failed(self, name: str) -> None:
        """One service could not be read."""
        if name in self.names:
            self._failed.add(name)

    def snapshot(self, version: int) -> Snapshot:
        """All that is known, in the order of names. Two names of one host: the first has it."""
        kept = self._distinct()
        return Snapshot(
            records=tuple(r.record for n, r in kept.items() if n not in self._failed),
            source_version=str(version),
            failed_origins=frozenset(self._failed),
        )

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the services, including hosts that two services claim."""
        kept = self._distinct()
        found = [problem for reading in kept.values() for problem in reading.problems]
        for name in sorted(self._readings.keys() - kept.keys()):
            resource = self._readings[name].record.resource
            found.append(
                Problem(
                    place=resource.place,
                    resource=resource.ref,
                    field="spec.hosts[0]",
                    found=f"Consul service {name!r}, whose host another service has already",
                    expected="service names that differ in more than case and punctuation",
                )
            )
        return tuple(found)

    def _is_wanted(self, name: str) -> bool:
        return any(fnmatchcase(name, p) for p in self._include) and not any(
            fnmatchcase(name, p) for p in self._exclude
        )

    def _distinct(self) -> dict[str, Reading]:
        kept: dict[str, Reading] = {}
        claimed: set[str] = set()
        for name in sorted(self._readings):
            ref = self._readings[name].record.resource.ref
            if ref not in claimed:
                claimed.add(ref)
                kept[name] = self._readings[name]
        return kept


def _fingerprints(
    checks: Iterable[Check],
) -> tuple[dict[str, _Fingerprint], dict[str, _Fingerprint]]:
    """What decides about traffic, of the checks of each service and of each node. A check's output
    is not in it: it changes with every run of the check."""
    services: dict[str, set[tuple[str, str, str, str]]] = {}
    nodes: dict[str, set[tuple[str, str, str, str]]] = {}
    for check in checks:
        state = (check.node, check.check_id, check.service_id, check.status)
        if check.service_name:
            services.setdefault(check.service_name, set()).add(state)
        else:
            nodes.setdefault(check.node, set()).add(state)
    return (
        {name: frozenset(states) for name, states in services.items()},
        {name: frozenset(states) for name, states in nodes.items()},
    )


def _differences(before: Mapping[str, _Fingerprint], now: Mapping[str, _Fingerprint]) -> set[str]:
    """The keys that came, went, or have another value."""
    return {key for key in before.keys() | now.keys() if before.get(key) != now.get(key)}
