"""What a source says: records, and snapshots of everything that a source knows."""

from __future__ import annotations

import msgspec

from egressd.api.resource import Resource


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One resource as one source states it.

    `origin` is the unit of the source that is read as a whole and can fail by itself: a file, a
    Consul service, an etcd key. `source_version` is the source's own index or revision.
    """

    resource: Resource
    source: str
    origin: str = ""
    source_version: str = ""


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a source knows now. Replaces what that source said before.

    Records of `failed_origins` that the registry holds from this source are kept: these origins
    could not be read this time (a file that does not parse, a service that does not answer), which
    is no reason to forget them.

    `doubt` says why what is missing may not be gone: the source lost its state, counts backwards, or
    answered for the first time after an error. A mass loss in doubt is never confirmed by another
    read, only by the guard's grace period or an operator. `is_reread`: the whole source was read
    afresh after `Sink.publish` held the answer before.
    """

    records: tuple[Record, ...]
    source_version: str = ""
    failed_origins: frozenset[str] = frozenset()
    doubt: str = ""
    is_reread: bool = False
