"""From the fleet's resources to what the node is told, and back to what the fleet is told. Pure."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from egressd.api.resource import Place, Problem, Severity
from egressd.fleet.layout import Layout
from egressd.fleet.node_status import NodeStatus, Rejection
from egressd.fleet.resource_set import ResourceSet, Stored
from egressd.registry.records import Record, Snapshot

MAX_REJECTIONS = 100
_MAX_REASON = 300


class Picture:
    """The newest set, as records. Those that did not change are the very same objects."""

    def __init__(self, source: str, layout: Layout) -> None:
        self._source = source
        self._layout = layout
        self._known: dict[str, tuple[Stored, Record]] = {}
        self._in_force: dict[str, int] = {}  # the last readable revision of each resource
        self.found: ResourceSet | None = None

    def is_empty(self, found: ResourceSet) -> bool:
        """Whether a set holds nothing: nothing was applied yet, the store lost its state, or the token
        may not read (Consul then shows an empty store)."""
        return not found.stored and not found.version_revision

    @property
    def _emptiness(self) -> Problem:
        return Problem(
            severity=Severity.WARNING,
            place=Place(self._layout.prefix),
            found="no version and no resources",
            expected="what `egressd apply` writes: nothing was applied yet, the store lost its "
            "state, or this node may not read it",
        )

    def emptiness(self) -> str:
        """What an empty set may mean."""
        problem = self._emptiness
        return f"{problem.place}: found {problem.found}, expected {problem.expected}"

    def take(self, found: ResourceSet) -> Snapshot:
        """The snapshot that a set makes. Keys that cannot be read keep what they said before."""
        doubt = self._doubt(found)
        known: dict[str, tuple[Stored, Record]] = {}
        for ref, stored in found.stored.items():
            if stored.resource is None:
                continue
            before = self._known.get(ref)
            if before is not None and before[0] is stored:
                known[ref] = before
                continue
            record = Record(
                resource=stored.resource,
                source=self._source,
                origin=self._layout.resource(ref),
                source_version=str(stored.revision),
            )
            known[ref] = stored, record
        self._known = known
        self._in_force = {
            ref: known[ref][0].revision if ref in known else self._in_force.get(ref, 0)
            for ref in found.stored
        }
        self.found = found
        return Snapshot(
            records=tuple(record for _, record in known.values()),
            source_version=str(found.version.version),
            failed_origins=frozenset(
                self._layout.resource(ref) for ref in found.stored if ref not in known
            ),
            doubt=doubt,
        )

    def problems(self) -> tuple[Problem, ...]:
        """What is wrong with the resources."""
        if self.found is None:
            return ()
        if self.is_empty(self.found):
            return (self._emptiness,)
        told = (problem for one in self.found.stored.values() for problem in one.problems)
        return (*told, *self.found.strays)

    def status(
        self, overruled: Iterable[Problem], *, node: str, at: float, interval_s: float, held: bool
    ) -> NodeStatus:
        """This node's word. `overruled` is the registry's, of what it was told."""
        assert self.found is not None
        rejected = [
            self._rejection(ref, _first_error(stored), self._in_force[ref])
            for ref, stored in self.found.stored.items()
            if stored.resource is None
        ]
        reasons: dict[str, str] = {}
        for problem in overruled:
            reasons.setdefault(problem.resource, _reason(problem))
        rejected += [
            self._rejection(ref, reason, 0)
            for ref, reason in reasons.items()
            if ref in self.found.stored
        ]
        rejected.sort(key=lambda rejection: rejection.resource)
        return NodeStatus(
            node,
            at,
            interval_s,
            self.found.version.version,
            tuple(rejected[:MAX_REJECTIONS]),
            len(rejected),
            held,
        )

    def _rejection(self, ref: str, reason: str, in_force: int) -> Rejection:
        assert self.found is not None
        return Rejection(ref, self.found.stored[ref].revision, in_force, reason[:_MAX_REASON])

    def _doubt(self, found: ResourceSet) -> str:
        before = self.found.version.version if self.found is not None else 0
        now = found.version.version
        if now >= before:
            return ""
        return f"the fleet's version went back from {before} to {now}: the store lost its state"


def _first_error(stored: Stored) -> str:
    errors = (p for p in stored.problems if p.severity is Severity.ERROR)
    return next(map(_reason, errors), "not readable")


def _reason(problem: Problem) -> str:
    """A problem without the resource and its place, which stand beside it."""
    bare = msgspec.structs.replace(problem, place=Problem().place, resource="")
    return str(bare).removeprefix(f"{problem.severity}: ")
