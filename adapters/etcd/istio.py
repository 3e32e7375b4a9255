"""Layout `istio`: each key holds resources as YAML or JSON text. Pure.

| etcd | record |
| --- | --- |
| key | origin, and the place that problems name |
| value | one or more resources of any kind that egressd reads |
| mod_revision | source version |

A value with any error is refused as a whole; what the key said before stands. Of two keys that hold
a resource of the same kind, namespace and name, the first in the order of keys has it.
"""

from __future__ import annotations

from egressd.api.parse import parse_text
from egressd.api.resource import Parsed, Place, Problem, Resource
from egressd.registry.keyvalue import Entry
from egressd.registry.records import Record


class IstioLayout:
    """Resources by key. What is in force is kept by `ref`, so that one key costs one key."""

    def __init__(self, source: str) -> None:
        self._source = source
        self._stated: dict[str, dict[str, Record]] = {}  # key -> ref -> record
        self._claims: dict[str, list[str]] = {}  # ref -> keys that state it, ordered
        self._contested: set[str] = set()  # refs that more than one key states
        self._in_force: dict[str, Record] = {}  # by ref
        self._failed: set[str] = set()
        self._problems: dict[str, tuple[Problem, ...]] = {}  # by key

    def put(self, entry: Entry) -> None:
        parsed = _parse(entry)
        self._failed.discard(entry.key)
        self._problems.pop(entry.key, None)
        problems = list(parsed.problems)
        stated: dict[str, Record] = {}
        before = self._stated.get(entry.key, {})
        for resource in parsed.resources:
            if resource.ref in stated:
                problems.append(_twice(resource, entry.key))
            else:
                stated[resource.ref] = self._record(resource, entry, before.get(resource.ref))
        if parsed.errors:
            self._failed.add(entry.key)
            stated = {}
        if problems:
            self._problems[entry.key] = tuple(problems)
        self._state(entry.key, stated)

    def delete(self, key: str) -> None:
        self._failed.discard(key)
        self._problems.pop(key, None)
        self._state(key, {})

    def records(self) -> tuple[Record, ...]:
        return tuple(self._in_force.values())

    def failed_origins(self) -> frozenset[str]:
        return frozenset(self._failed)

    def problems(self) -> tuple[Problem, ...]:
        found = [problem for key in sorted(self._problems) for problem in self._problems[key]]
        for ref in sorted(self._contested):
            first, *others = self._claims[ref]
            found += [_twice(self._stated[key][ref].resource, first) for key in others]
        return tuple(found)

    def _record(self, resource: Resource, entry: Entry, before: Record | None) -> Record:
        if before is not None and before.resource == resource:
            return before
        return Record(
            resource=resource,
            source=self._source,
            origin=entry.key,
            source_version=str(entry.revision),
        )

    def _state(self, key: str, stated: dict[str, Record]) -> None:
        before = self._stated.pop(key, {})
        if stated:
            self._stated[key] = stated
        for ref in before.keys() | stated.keys():
            claims = self._claims.setdefault(ref, [])
            if ref not in stated:
                claims.remove(key)
            elif ref not in before:
                claims.append(key)
                claims.sort()
            if len(claims) > 1:
                self._contested.add(ref)
            else:
                self._contested.discard(ref)
            if claims:
                self._in_force[ref] = self._stated[claims[0]][ref]
            else:
                del self._claims[ref], self._in_force[ref]


def _parse(entry: Entry) -> Parsed:
    try:
        text = entry.value.decode()
    except UnicodeDecodeError as error:
        problem = Problem(place=Place(entry.key), found=str(error), expected="UTF-8 text")
        return Parsed((), (problem,))
    return parse_text(text, entry.key)


def _twice(second: Resource, first: str) -> Problem:
    return Problem(
        place=second.place,
        resource=second.ref,
        field="metadata.name",
        found=f"the same kind, namespace and name as in key {first}",
        expected="one definition; the first key keeps it",
    )
