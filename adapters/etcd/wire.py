"""What is asked of etcd and what it answers, as plain values; and what its refusals mean. Pure."""

from __future__ import annotations

import msgspec

from egressd.api.secret import RedactedError
from egressd.registry.keyvalue import Entry

_OTHER_MEMBER = frozenset(
    {
        "UNAVAILABLE",  # no connection, no leader, stopping
        "DEADLINE_EXCEEDED",
        "CANCELLED",  # the connection was closed below the call
        "INTERNAL",
        "UNKNOWN",  # garbage where HTTP/2 was expected, and errors that etcd has no code for
        "UNIMPLEMENTED",  # not an etcd server
        "DATA_LOSS",
        "RESOURCE_EXHAUSTED",  # too many requests, or no space
        "ABORTED",
    }
)
_OLD_TOKEN = ("invalid auth token", "revision of auth store is old", "user name is empty")


class Page(msgspec.Struct, frozen=True):
    """A part of a range. `after` is the key to go on from; b"" at the end."""

    cluster: int
    revision: int  # of the whole store, when it answered
    count: int  # keys in the whole range
    keys: tuple[Entry, ...]
    after: bytes


class Change(msgspec.Struct, frozen=True):
    """One write, or one deletion (`value` None)."""

    key: str
    value: bytes | None
    revision: int


class Heard(msgspec.Struct, frozen=True):
    """A word of a watched cluster: changes, or only a sign of life: of a probe, or of a watch that was
    made.

    A probe's revision is the leader's, at least `expected` unless the store counts from anew: what was
    known when it was sent. A watch's is that of a member that may lag.
    """

    cluster: int
    revision: int
    changes: tuple[Change, ...] = ()
    is_probe: bool = False
    expected: int = 0

    @property
    def went_back(self) -> bool:
        """The store counts from anew."""
        return self.revision < self.expected


class RpcFailed(RedactedError):
    """One call to one member failed. `code` is gRPC's name of it, `details` the server's words."""

    def __init__(self, code: str, details: str) -> None:
        super().__init__(f"{code}: {details}" if details else code)
        self.code = code
        self.details = details

    @property
    def is_members(self) -> bool:
        """Another member may do better."""
        return self.code in _OTHER_MEMBER

    @property
    def is_old_token(self) -> bool:
        """A new login may do better."""
        return self.code == "UNAUTHENTICATED" or any(w in self.details for w in _OLD_TOKEN)

    @property
    def is_compacted(self) -> bool:
        """The revision that was asked about is forgotten."""
        return self.code == "OUT_OF_RANGE" and "compacted" in self.details

    @property
    def is_future(self) -> bool:
        """The revision that was asked about is not reached yet."""
        return self.code == "OUT_OF_RANGE" and "future" in self.details


def range_end(prefix: bytes) -> bytes:
    """The first key after all that begin with the prefix; b"\\0" (all keys) where none does."""
    cut = prefix.rstrip(b"\xff")
    return cut[:-1] + bytes((cut[-1] + 1,)) if cut else b"\0"


def text_of(key: bytes) -> str:
    """A key for people and records; bytes that are no UTF-8 are escaped."""
    return key.decode("utf-8", "backslashreplace")
