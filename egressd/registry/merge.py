"""What all sources say together. Pure: snapshots in, changes out.

ServiceEntries of several sources stand side by side (`egressd.registry.lookup` takes those of the
first source in order, and adds the endpoints of sources that are merged). Of any other kind the source
that stands first in the configured order wins, per ref. Of two VirtualServices of one host on the mesh
one has it: that in force, at a cold start the older by creationTimestamp, then by source order, then
by ref (Istio). The other one serves clients for whom that has nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from egressd.api.age import creation_order
from egressd.api.resource import Kind, Problem, Severity
from egressd.registry.claims import claimed_hosts
from egressd.registry.conflicts import Age, ServiceHosts, Settled, settle
from egressd.registry.guard import LossLimit
from egressd.registry.records import Hold, Record, Snapshot
from egressd.registry.said import Said, describe_change, differs

_VIRTUAL_SERVICES = f"{Kind.VIRTUAL_SERVICE}/"


class SourceRule(msgspec.Struct, frozen=True):
    """How one source is taken: what loss is held, whether its endpoints join another source's."""

    limit: LossLimit = LossLimit()
    is_merged: bool = False


class ChangeSet(msgspec.Struct, frozen=True):
    """What one publication changes. `hosts` are the host keys whose answers may differ now; `notes`
    say of each put what is new in it, for people."""

    puts: tuple[Record, ...] = ()
    deletes: tuple[Record, ...] = ()
    hosts: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.puts or self.deletes)


class Merger:
    """The current say of every source and the merged set that is in force."""

    def __init__(
        self,
        order: Sequence[str],
        in_force: Iterable[Record] = (),
        rules: Mapping[str, SourceRule] | None = None,
        holds: Mapping[str, Hold] | None = None,
    ) -> None:
        """`in_force` and `holds` (by source) are those of an earlier process."""
        given = rules or {}
        self._rules = {source: given.get(source, SourceRule()) for source in order}
        self._rank = {source: rank for rank, source in enumerate(order)}
        self._said = {source: Said(self._rules[source].limit) for source in order}
        for source, hold in (holds or {}).items():
            self._said[source].hold = hold
        self._in_force: dict[str, Record] = {}
        self._hosts = ServiceHosts()
        self.has_orphans = False  # in force of a source that is no longer configured
        self._refusals: tuple[Problem, ...] = ()
        self._touched: set[str] = set()
        self._overruled: dict[str, tuple[Problem, ...]] = {}
        self._decided: set[str] = set()  # sources of which that is as of the last `changes`
        self._sources: set[str] = set()
        for record in in_force:
            self._adopt(record)
        self.conflicts = self._hosts.conflicts(self.rank)

    def _adopt(self, record: Record) -> None:
        self._in_force[record.key] = record
        self._hosts.replace(None, record)
        rule = self._rules.get(record.source)
        if rule is not None:
            self._said[record.source].adopt(record)
        self.has_orphans |= rule is None
        if rule is None or rule.is_merged != record.is_merged:
            self._touched.add(
                record.key
            )  # its source is gone from the bootstrap, or taken otherwise

    def rank(self, source: str) -> int:
        """The source's place in the configured order, the first wins."""
        return self._rank.get(source, len(self._rank))

    def count(self, source: str) -> int:
        """Records of a source that are taken."""
        return len(self._said[source].records)

    def known(self, source: str) -> tuple[Record, ...]:
        """Records of a source that are taken."""
        return tuple(self._said[source].records.values())

    def hold(self, source: str) -> Hold | None:
        """The loss of a source that is not believed yet."""
        return self._said[source].hold

    def has_spoken(self, source: str) -> bool:
        """Whether a source has answered at all; until then nobody knows what its answer lacks."""
        return self._said[source].has_spoken

    def lost(self, source: str) -> int:
        """How many endpoints in force a source's last answer lacked, believed or not."""
        return self._said[source].lost

    def retained(self, source: str) -> frozenset[str]:
        """Keys of records in force that the source no longer states in full."""
        return self._said[source].retained

    def overruled(self, source: str) -> tuple[Problem, ...]:
        """What is not in force of all that a source says, and why: as of the last `changes`, and the
        same object until it is something else."""
        if source in self._decided:
            return self._overruled[source]
        said = self._said[source].records
        found: list[Problem] = []
        for key, record in said.items():
            chosen = self._in_force.get(key)
            if chosen is not None and chosen.source != source:
                found.append(_preceded(record, chosen.source))
        own = {(record.resource.ref, record.resource.place) for record in said.values()}
        found += [problem for problem in self.conflicts if (problem.resource, problem.place) in own]
        self._decided.add(source)
        if self._overruled.get(source) != tuple(found):
            self._overruled[source] = tuple(found)
        return self._overruled[source]

    def apply(self, source: str, snapshot: Snapshot, now: float = 0.0) -> bool:
        """Take a source's snapshot at `now` (seconds of any clock, for holds). Returns whether
        anything changed."""
        return self._touch(source, self._said[source].take(snapshot, now))

    def confirm(self, source: str) -> bool:
        """Believe the loss of a source that is held. Returns whether anything changed."""
        return self._touch(source, self._said[source].release())

    def expire(self, now: float) -> list[str]:
        """Believe the losses whose grace period is over. Returns their sources."""
        over = [s for s, hold in self._endable() if now >= hold.until]
        for source in over:
            self.confirm(source)
        return over

    def next_expiry(self) -> float | None:
        """When `expire` has something to do next."""
        return min((hold.until for _, hold in self._endable()), default=None)

    def _endable(self) -> list[tuple[str, Hold]]:
        spoken = ((source, said) for source, said in self._said.items() if said.has_spoken)
        return [(source, said.hold) for source, said in spoken if said.hold is not None]

    def _touch(self, source: str, keys: set[str]) -> bool:
        if keys:
            self._touched |= keys
            self._sources.add(source)
        return bool(keys)

    def changes(self, at: float = 0.0) -> ChangeSet:
        """What has to be published since the last call, and from now on counts as in force. `at` is
        the time in seconds since the epoch."""
        if not self._touched:
            return ChangeSet()
        settled: dict[str, Record | None] = {}
        if any(key.startswith(_VIRTUAL_SERVICES) for key in self._touched):
            settled = self._settle_virtual_services()
        puts: list[Record] = []
        notes: list[str] = []
        deletes: list[Record] = []
        hosts: dict[str, None] = {}
        for key in sorted(self._touched | settled.keys()):
            old = self._in_force.get(key)
            new = self._stamped(settled[key] if key in settled else self._winner(key), old, at)
            if not differs(old, new) and _standing(old) == _standing(new):
                continue
            for record in (old, new):
                if record is not None:
                    hosts.update(dict.fromkeys(claimed_hosts(record.resource)))
            self._hosts.replace(old, new)
            if new is not None:
                puts.append(new)
                notes.append(describe_change(old, new))
                self._in_force[key] = new
            elif old is not None:
                deletes.append(old)
                del self._in_force[key]
        conflicts = self._hosts.conflicts(self.rank)
        self.conflicts = (*self._refusals, *conflicts) if self._refusals else conflicts
        sources = tuple(sorted(self._sources))
        self._touched.clear()
        self._decided.clear()
        self._sources.clear()
        return ChangeSet(tuple(puts), tuple(deletes), tuple(hosts), sources, tuple(notes))

    def _stamped(self, record: Record | None, old: Record | None, at: float) -> Record | None:
        if record is None:
            return None
        is_known = old is not None and old.source == record.source
        return msgspec.structs.replace(
            record,
            first_seen=old.first_seen if old is not None and is_known else at,
            last_seen=at,
            is_merged=self._rules[record.source].is_merged,
        )

    def _winner(self, key: str) -> Record | None:
        for said in self._said.values():
            if key in said.records:
                return said.records[key]
        return None

    def _settle_virtual_services(self) -> dict[str, Record | None]:
        """Every VirtualService key with the record in force, None for one that is gone."""
        keys = {key for said in self._said.values() for key in said.records}
        keys |= self._in_force.keys()
        winners = {key: self._winner(key) for key in keys if key.startswith(_VIRTUAL_SERVICES)}
        settled = settle((r for r in winners.values() if r), self._age)
        before = {problem: problem for problem in self._refusals}
        self._refusals = tuple(before.get(problem, problem) for problem in settled.problems)
        return {
            key: _losing(record, settled) if record is not None else None
            for key, record in winners.items()
        }

    def _age(self, record: Record, host: str) -> Age:
        """Who has the host in force first, then by creation time, source order and ref."""
        in_force = self._in_force.get(record.key)
        has_host = in_force is not None and host not in in_force.lost_hosts
        rank = self.rank(record.source)
        return not has_host, creation_order(record.resource), rank, record.key


def _standing(record: Record | None) -> tuple[bool, tuple[str, ...]]:
    """What the registry itself says of a record."""
    return (record.is_merged, record.lost_hosts) if record is not None else (False, ())


def _losing(record: Record, settled: Settled) -> Record:
    lost = settled.lost.get(record.key, ())
    if lost == record.lost_hosts:
        return record
    return msgspec.structs.replace(record, lost_hosts=lost)


def _preceded(record: Record, source: str) -> Problem:
    return Problem(
        severity=Severity.WARNING,
        place=record.resource.place,
        resource=record.resource.ref,
        found=f"the same resource in source {source}, which has precedence",
        expected="one source for a resource",
    )
