"""What one source says: its last answer, and what of it is in force. Pure.

Adapters hand in the very same record objects for what did not change, so an answer of 10,000 records
is compared by identity before anything else is looked at.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from egressd.api.workload_entry import WorkloadEntry
from egressd.registry.guard import (
    LossLimit,
    is_empty,
    judge,
    lost_endpoints,
    padded,
    weigh,
)
from egressd.registry.records import Hold, Record, Snapshot

Short = tuple[Record, tuple[WorkloadEntry, ...]]
"""A record as last stated, and the endpoints in force that it no longer has."""
_SHOWN = 4  # endpoints named of each change in the log


class Said:
    """One source. `records` are those in force by key; `hold` is the loss that is not believed yet."""

    def __init__(self, limit: LossLimit) -> None:
        self._limit = limit
        self.records: dict[str, Record] = {}
        self.hold: Hold | None = None
        self.has_spoken = False  # what was adopted has been compared with an answer
        self.lost = 0  # endpoints in force before that the last answer lacked
        self._stated: tuple[Record, ...] = ()  # the last answer
        self._missing: set[str] = set()  # in force though the last answer lacks them
        self._short: dict[str, Short] = {}  # in force with endpoints that they lack
        self._failed: set[str] = set()  # of the missing: their origin could not be read
        self._waiting: dict[str, Record] = {}  # stated by origins that are suspected, not in force
        self._known = 0  # endpoints in force

    @property
    def retained(self) -> frozenset[str]:
        """Keys in force that the source no longer states, or not with all their endpoints."""
        return frozenset(
            self._missing | self._short.keys() | (self._waiting.keys() & self.records.keys())
        )

    def adopt(self, record: Record) -> None:
        """In force since before this process: to be compared with the first answer."""
        self._put(record.key, record)
        self._missing.add(record.key)

    def take(self, snapshot: Snapshot, now: float) -> set[str]:
        """Believe an answer, all or in part. Returns the keys whose record in force may differ."""
        came, gone = self._news(snapshot)
        suspects = self._suspects(snapshot, now)
        waiting = {
            key: record
            for key, record in came.items()
            if record.origin in suspects and differs(self.records.get(key), record)
        }
        came = {key: record for key, record in came.items() if key not in waiting}
        missing = ((gone | self._missing) & self.records.keys()) - came.keys() - waiting.keys()
        failed = {k for k in missing if self.records[k].origin in snapshot.failed_origins}
        frozen = {k for k in missing - failed if self.records[k].origin in suspects}
        new = came.keys() | missing | waiting.keys()
        still = {k: s for k, s in self._short.items() if k not in new}
        short = {
            key: (record, endpoints)
            for key, record in came.items()
            if (old := self.records.get(key)) is not None
            and (endpoints := lost_endpoints(old, record))
        }
        self.lost = sum(weigh(self.records[key]) for key in missing - failed - frozen)
        self.lost += sum(len(endpoints) for _, endpoints in (*still.values(), *short.values()))
        before_hold = self.hold
        self.hold = judge(
            None if before_hold is not None and before_hold.origins else before_hold,
            self._limit,
            known=self._known,
            lost=self.lost,
            doubt=snapshot.doubt,
            is_reread=snapshot.is_reread,
            now=now,
            is_empty=self.lost == self._known and is_empty(snapshot.records),
        )
        is_held = self.hold is not None
        if self.hold is None and (waiting or frozen):
            self.hold = self._suspected(before_hold, snapshot.suspects, waiting, frozen, now)
        self.has_spoken = True
        touched = came.keys() | missing | (set() if is_held else still.keys())
        before = {key: self.records.get(key) for key in touched}
        self._stated = snapshot.records
        for key, record in came.items():
            in_force = self.records.get(key)
            if is_held and in_force is not None and key in short:
                record = padded(in_force, *short[key])
            self._put(key, record)
        for key, (record, _) in () if is_held else still.items():
            self._put(key, record)
        self._short = {**still, **short} if is_held else {}
        self._failed = failed
        self._waiting = waiting
        self._missing = missing if is_held else failed | frozen
        self._forget(missing - self._missing)
        return self._differing(before)

    def release(self) -> set[str]:
        """Believe the loss that is held. Returns the keys whose record in force may differ."""
        before = {key: self.records.get(key) for key in (*self.retained, *self._waiting)}
        for key, (record, _) in self._short.items():
            self._put(key, record)
        for key, record in self._waiting.items():
            self._put(key, record)
        self._forget(self._missing - self._failed)
        self.hold, self._short, self._missing, self._waiting = None, {}, self._failed, {}
        return self._differing(before)

    def _news(self, snapshot: Snapshot) -> tuple[dict[str, Record], set[str]]:
        """The records that are to be considered, by key, and the keys that were stated and are not."""
        came, gone = _compared(self._stated, snapshot.records)
        again = dict(self._waiting)
        if snapshot.suspects:  # no loss of theirs is confirmed meanwhile
            again |= {k: r for k, (r, _) in self._short.items() if r.origin in snapshot.suspects}
        if not again:
            return came, gone
        return {**{k: r for k, r in again.items() if k not in gone}, **came}, gone

    def _suspects(self, snapshot: Snapshot, now: float) -> Collection[str]:
        """The origins that are suspected; none any more when the grace period is over."""
        is_over = self.hold is not None and now >= self.hold.until
        return () if is_over else snapshot.suspects.keys()

    def _suspected(
        self,
        before: Hold | None,
        suspects: Mapping[str, str],
        waiting: Mapping[str, Record],
        frozen: Collection[str],
        now: float,
    ) -> Hold:
        """The hold of what suspected origins had; it goes on where there is one."""
        held = [self.records[key] for key in (*waiting, *frozen) if key in self.records]
        origins = sorted({record.origin for record in (*held, *waiting.values())} & suspects.keys())
        return Hold(
            since=before.since if before is not None else now,
            until=before.until if before is not None else now + self._limit.grace_s,
            lost=max(1, sum(map(weigh, (self.records[key] for key in frozen)))),
            known=self._known,
            doubt="; ".join(suspects[origin] for origin in origins),
            origins=tuple(origins),
        )

    def _differing(self, before: Mapping[str, Record | None]) -> set[str]:
        return {key for key, old in before.items() if differs(old, self.records.get(key))}

    def _put(self, key: str, record: Record) -> None:
        old = self.records.get(key)
        self._known += weigh(record) - (weigh(old) if old is not None else 0)
        self.records[key] = record

    def _forget(self, keys: Iterable[str]) -> None:
        for key in keys:
            self._known -= weigh(self.records.pop(key))


def _compared(
    old: tuple[Record, ...], new: tuple[Record, ...]
) -> tuple[dict[str, Record], set[str]]:
    """The records of an answer that the one before did not hold, by key, and the keys of those that
    it held instead."""
    if len(old) == len(new):  # most often one record in its place has changed
        pairs = [(one, other) for one, other in zip(old, new, strict=True) if one is not other]
        if all(one.key == other.key for one, other in pairs):
            return {other.key: other for _, other in pairs}, {one.key for one, _ in pairs}
    before, after = ({id(record): record for record in records} for records in (old, new))
    came = {after[i].key: after[i] for i in after.keys() - before.keys()}
    return came, {before[i].key for i in before.keys() - after.keys()}


def differs(old: Record | None, new: Record | None) -> bool:
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


def describe_change(old: Record | None, new: Record) -> str:
    """What is new in a record, for people: "new", or the endpoints that came and went."""
    if old is None:
        return "new"
    came, gone = lost_endpoints(new, old), lost_endpoints(old, new)
    parts = [f"+{_place(e)}" for e in came[:_SHOWN]] + [f"-{_place(e)}" for e in gone[:_SHOWN]]
    more = max(0, len(came) - _SHOWN) + max(0, len(gone) - _SHOWN)
    if more:
        parts.append(f"{more} more endpoints")
    return " ".join(parts) or "changed"


def _place(endpoint: WorkloadEntry) -> str:
    ports = ",".join(str(port) for port in endpoint.ports.values())
    return f"{endpoint.address}:{ports}" if ports else endpoint.address
