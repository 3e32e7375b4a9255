"""What a source says: records, and snapshots of everything that a source knows."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from egressd.api.resource import Kind, Resource


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One resource as one source states it.

    `origin` is the unit of the source that is read as a whole and can fail by itself: a file, a
    Consul service, an etcd key. `source_version` is the source's own index or revision. What stands
    below it is the registry's to fill in, not the adapter's; times are seconds since the epoch.
    """

    resource: Resource
    source: str
    origin: str = ""
    source_version: str = ""
    first_seen: float = 0.0  # the source stated it for the first time
    last_seen: float = 0.0  # it changed for the last time; see also `SourceState.synced_at`
    is_merged: bool = False  # its endpoints join those of the source that has precedence
    lost_hosts: tuple[str, ...] = ()  # of a VirtualService: an older one comes first on the mesh

    @property
    def key(self) -> str:
        """What it is filed under. ServiceEntries of several sources stand side by side, of all other
        kinds one source's is in force."""
        ref = self.resource.ref
        return f"{ref}\0{self.source}" if self.resource.kind is Kind.SERVICE_ENTRY else ref


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a source knows now. Replaces what that source said before.

    Records of `failed_origins` that the registry holds from this source are kept: these origins
    could not be read this time (a file that does not parse, a service that does not answer), which
    is no reason to forget them.

    `doubt` says why what is missing may not be gone: the source lost its state, counts backwards, or
    answers with much less right after an error. A loss in doubt, however small, is never confirmed by
    another read, only by the guard's grace period or an operator. `is_reread`: the whole source was
    read afresh after `Sink.publish` held the answer before. `is_failing`: a part of the source cannot be
    read now and is stated as it was: the failure that was told is not over.

    `suspects` are origins that may be half of what their writer means, and why. What the registry holds
    of them stands, whatever they state, until a snapshot does not suspect them any more, the guard's
    grace period is over, or an operator confirms. Losses of other origins are believed meanwhile.
    """

    records: tuple[Record, ...]
    source_version: str = ""
    failed_origins: frozenset[str] = frozenset()
    doubt: str = ""
    is_reread: bool = False
    is_failing: bool = False
    suspects: Mapping[str, str] = {}


class Hold(msgspec.Struct, frozen=True):
    """A loss that is not believed yet. Times in seconds of the caller's clock. `origins`: it is of these
    alone, which may be half of what their writer means; () = of the whole source."""

    since: float
    until: float
    lost: int
    known: int
    doubt: str = ""
    origins: tuple[str, ...] = ()

    def moved(self, by: float) -> Hold:
        """The same by another clock."""
        return msgspec.structs.replace(self, since=self.since + by, until=self.until + by)

    def describe(self, now: float) -> str:
        """For people."""
        if self.origins:
            return (
                f"{self.doubt}; what it held before is kept for {max(0.0, self.until - now):.0f} s "
                "more, or until it is whole or it is confirmed"
            )
        why = f" ({self.doubt})" if self.doubt else ""
        return (
            f"{self.lost} of {self.known} endpoints are gone from its answer{why}; they are kept for "
            f"{max(0.0, self.until - now):.0f} s more, or until they are back or it is confirmed"
        )


class SourceState(msgspec.Struct, frozen=True):
    """How a source stood when the registry process last wrote it down. Seconds since the epoch.

    `hold` is the loss that the mass-loss guard does not believe; it outlives the process. `retained`
    are the keys of records that the source no longer states: they are kept by that hold or because
    their origin cannot be read.
    """

    synced_at: float = 0.0
    error: str = ""
    hold: Hold | None = None
    retained: frozenset[str] = frozenset()


def never_answered(error: str) -> str:
    """What is said of a source that has never answered; `error` is why, "" = not known yet."""
    return f"has never answered: {error}" if error else "has not answered yet"
