"""What all sources say together. Pure: snapshots in, changes out.

Per ref the source that stands first in the configured order wins. A VirtualService that claims a host
which another one has on the same gateway, for a namespace that sees both, is refused; the one in force
keeps it, at a cold start the older by creationTimestamp, then by source order, then by ref (Istio).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from egressd.api.export import exports_overlap
from egressd.api.resource import Kind, Problem
from egressd.registry.claims import claimed_hosts, contested_hosts, gateway_names
from egressd.registry.records import Record, Snapshot


class ChangeSet(msgspec.Struct, frozen=True):
    """What one publication changes. `hosts` are the host keys whose answers may differ now."""

    puts: tuple[Record, ...] = ()
    deletes: tuple[Record, ...] = ()
    hosts: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.puts or self.deletes)


class Merger:
    """The current say of every source and the merged set that is in force."""

    def __init__(self, order: Sequence[str], in_force: Iterable[Record] = ()) -> None:
        self._rank = {source: rank for rank, source in enumerate(order)}
        self._by_source: dict[str, dict[str, Record]] = {source: {} for source in order}
        self._in_force: dict[str, Record] = {}
        self._touched: set[str] = set()
        self._sources: set[str] = set()
        self.conflicts: tuple[Problem, ...] = ()
        for record in in_force:
            ref = record.resource.ref
            self._in_force[ref] = record
            if record.source in self._by_source:
                self._by_source[record.source][ref] = record
            else:
                self._touched.add(ref)  # its source is no longer configured

    def rank(self, source: str) -> int:
        """The source's place in the configured order, the first wins."""
        return self._rank.get(source, len(self._rank))

    def count(self, source: str) -> int:
        """Records that a source holds."""
        return len(self._by_source.get(source, ()))

    def apply(self, source: str, snapshot: Snapshot) -> bool:
        """Take a source's snapshot. Returns whether anything changed."""
        before = self._by_source[source]
        after = {record.resource.ref: record for record in snapshot.records}
        if snapshot.failed_origins:
            for ref, record in before.items():
                if record.origin in snapshot.failed_origins:
                    after.setdefault(ref, record)
        changed = {ref for ref, record in after.items() if _differs(before.get(ref), record)}
        changed |= before.keys() - after.keys()
        self._by_source[source] = after
        if changed:
            self._touched |= changed
            self._sources.add(source)
        return bool(changed)

    def changes(self) -> ChangeSet:
        """What has to be published since the last call, and from now on counts as in force."""
        if not self._touched:
            return ChangeSet()
        if any(ref.startswith(Kind.VIRTUAL_SERVICE.value) for ref in self._touched):
            wanted_services = self._settle_virtual_services()
        else:
            wanted_services = {}
        puts: list[Record] = []
        deletes: list[Record] = []
        hosts: dict[str, None] = {}
        for ref in sorted(self._touched | wanted_services.keys()):
            old = self._in_force.get(ref)
            new = wanted_services[ref] if ref in wanted_services else self._winner(ref)
            if not _differs(old, new):
                continue
            for record in (old, new):
                if record is not None:
                    hosts.update(dict.fromkeys(claimed_hosts(record.resource)))
            if new is None:
                assert old is not None
                deletes.append(old)
                del self._in_force[ref]
            else:
                puts.append(new)
                self._in_force[ref] = new
        sources = tuple(sorted(self._sources))
        self._touched.clear()
        self._sources.clear()
        return ChangeSet(tuple(puts), tuple(deletes), tuple(hosts), sources)

    def _winner(self, ref: str) -> Record | None:
        for records in self._by_source.values():
            if ref in records:
                return records[ref]
        return None

    def _settle_virtual_services(self) -> dict[str, Record | None]:
        """Every VirtualService ref with the record in force, None for a refused one."""
        prefix = f"{Kind.VIRTUAL_SERVICE}/"
        refs = {ref for records in self._by_source.values() for ref in records}
        refs |= self._in_force.keys()
        candidates: list[Record] = []
        settled: dict[str, Record | None] = {}
        for ref in refs:
            if ref.startswith(prefix):
                settled[ref] = winner = self._winner(ref)
                if winner is not None:
                    candidates.append(winner)
        candidates.sort(key=self._age)
        owners: dict[tuple[str, str], list[Record]] = {}
        conflicts: list[Problem] = []
        for record in candidates:
            keys = _gateway_hosts(record)
            taken = _taken(record, keys, owners)
            if taken is None:
                for key in keys:
                    owners.setdefault(key, []).append(record)
            else:
                settled[record.resource.ref] = None
                conflicts.append(_conflict(record, *taken))
        self.conflicts = tuple(conflicts)
        return settled

    def _age(self, record: Record) -> tuple[bool, str, int, str]:
        """In force first, then by creation time, source order and ref."""
        ref = record.resource.ref
        created = record.resource.metadata.creation_timestamp or "~"  # unknown sorts last
        return ref not in self._in_force, created, self.rank(record.source), ref


def _differs(old: Record | None, new: Record | None) -> bool:
    """Whether readers would see another resource. Its line in a file is nothing to them: an edit
    further up must not recompile all that stands below it."""
    if old is None or new is None:
        return old is not new
    if old is new:
        return False
    one, other = old.resource, new.resource
    return (
        one.spec != other.spec
        or one.metadata != other.metadata
        or one.kind is not other.kind
        or old.source != new.source
    )


def _gateway_hosts(record: Record) -> list[tuple[str, str]]:
    hosts = contested_hosts(record.resource)
    return [(gateway, host) for gateway in gateway_names(record.resource) for host in hosts]


def _taken(
    record: Record, keys: list[tuple[str, str]], owners: dict[tuple[str, str], list[Record]]
) -> tuple[Record, tuple[str, str]] | None:
    """The owner of one of the keys whom some namespace sees beside this one, with the key."""
    for key in keys:
        for owner in owners.get(key, ()):
            if exports_overlap(owner.resource, record.resource):
                return owner, key
    return None


def _conflict(refused: Record, owner: Record, taken: tuple[str, str]) -> Problem:
    gateway, host = taken
    return Problem(
        place=refused.resource.place,
        resource=refused.resource.ref,
        field="spec.hosts",
        found=f"{host} (gateway {gateway})",
        expected=f"a host that no other VirtualService claims: {owner.resource.ref} has it and keeps it",
    )
