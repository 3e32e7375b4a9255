"""What is known of a Eureka registry: its instances, the services they make up, the snapshot. Pure.

A full listing replaces all instances, a delta some. Either only marks the services that an instance
joined, left, or changed in; these are translated afterwards, one by one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from fnmatch import fnmatchcase

import msgspec

from adapters.entries import Translated
from adapters.eureka.wire import DELETED, Instance, Key, hashcode_of
from egressd.api.resource import Problem
from egressd.registry.records import Record, Snapshot

Translate = Callable[[str, Iterable[Instance]], Translated]
NamesOf = Callable[[Instance], tuple[str, ...]]


class Service(msgspec.Struct, frozen=True):
    """The last translation of one service."""

    record: Record
    problems: tuple[Problem, ...]


class Inventory:
    """One owner's mutable picture of the registry."""

    def __init__(
        self,
        source: str,
        translate: Translate,
        names_of: NamesOf,
        include: tuple[str, ...] = ("*",),
        exclude: tuple[str, ...] = (),
    ) -> None:
        self._source = source
        self._translate = translate
        self._names_of = names_of
        self._include = include
        self._exclude = exclude
        self._instances: dict[Key, Instance] = {}
        self._members: dict[str, dict[Key, Instance]] = {}
        self._services: dict[str, Service] = {}
        self._stale: set[str] = set()
        self._hashcode: str | None = None  # None = not counted since the last change

    @property
    def count(self) -> int:
        """How many instances there are, whatever their status."""
        return len(self._instances)

    @property
    def hashcode(self) -> str:
        """`apps__hashcode` as the server must state it when it knows the same."""
        if self._hashcode is None:
            self._hashcode = hashcode_of(self._instances.values())
        return self._hashcode

    @property
    def stale(self) -> frozenset[str]:
        """Services that must be translated before the next snapshot."""
        return frozenset(self._stale)

    def put(self, instances: Iterable[Instance]) -> None:
        """A part of a full listing."""
        for instance in instances:
            self._put(instance.key, instance)

    def retain(self, keys: Set[Key]) -> None:
        """The end of a full listing: what it did not have is gone."""
        for key in self._instances.keys() - keys:
            self._drop(key)

    def update(self, instances: Iterable[Instance]) -> None:
        """A delta, in its order: an instance may be in it several times, and repeats what earlier
        deltas said."""
        for instance in instances:
            if instance.action_type == DELETED:
                self._drop(instance.key)
            else:
                self._put(instance.key, instance)

    def translate(self, name: str, version: int) -> bool:
        """Translate one service anew; whether anything differs. An equal result keeps the very same
        record, so that the registry's comparison is cheap."""
        self._stale.discard(name)
        before = self._services.get(name)
        members = self._members.get(name)
        if not members:
            self._members.pop(name, None)  # names may come and go for ever
            self._services.pop(name, None)
            return before is not None
        translated = self._translate(name, members.values())
        if before is not None and before.record.resource == translated.resource:
            record = before.record
        else:
            record = Record(
                resource=translated.resource,
                source=self._source,
                origin=name,
                source_version=str(version),
            )
        service = Service(record, translated.problems)
        self._services[name] = service
        return service != before

    def snapshot(self, version: int, *, doubt: str, is_reread: bool) -> Snapshot:
        """All that is known, in the order of names. Two names of one host: the first has it."""
        return Snapshot(
            records=tuple(service.record for service in self._distinct().values()),
            source_version=str(version),
            doubt=doubt,
            is_reread=is_reread,
        )

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the services, including hosts that two services claim."""
        kept = self._distinct()
        found = [problem for service in kept.values() for problem in service.problems]
        for name in sorted(self._services.keys() - kept.keys()):
            resource = self._services[name].record.resource
            found.append(
                Problem(
                    place=resource.place,
                    resource=resource.ref,
                    field="spec.hosts[0]",
                    found=f"Eureka service {name!r}, whose host another service has already",
                    expected="names that differ in more than punctuation",
                )
            )
        return tuple(found)

    def _put(self, key: Key, instance: Instance) -> None:
        instance = msgspec.structs.replace(instance, action_type=None, lease_info=None)
        before = self._instances.get(key)
        if before == instance:
            return
        if before is not None:
            self._drop(key)
        self._instances[key] = instance
        self._hashcode = None
        for name in self._names_of(instance):
            if self._is_wanted(name):
                self._members.setdefault(name, {})[key] = instance
                self._stale.add(name)

    def _drop(self, key: Key) -> None:
        gone = self._instances.pop(key, None)
        self._hashcode = None
        for name in self._names_of(gone) if gone is not None else ():
            if name in self._members:
                self._members[name].pop(key, None)
                self._stale.add(name)

    def _is_wanted(self, name: str) -> bool:
        return any(fnmatchcase(name, p) for p in self._include) and not any(
            fnmatchcase(name, p) for p in self._exclude
        )

    def _distinct(self) -> dict[str, Service]:
        kept: dict[str, Service] = {}
        claimed: set[str] = set()
        for name in sorted(self._services):
            ref = self._services[name].record.resource.ref
            if ref not in claimed:
                claimed.add(ref)
                kept[name] = self._services[name]
        return kept
