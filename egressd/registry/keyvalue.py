"""A key-value store with revisions, as the fleet's resources need one: etcd or Consul KV.

Found by name in the entry-point group `egressd.keyvalue`; the entry point is a `KeyValueFactory`.
Revisions are the store's own (etcd `mod_revision`, Consul `ModifyIndex`): numbers that grow with every
write of a key. Every method raises `KeyValueError` when the store cannot be reached or refuses, and
returns or raises within a deadline of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from egressd.api.secret import RedactedError

ENTRY_POINT_GROUP = "egressd.keyvalue"


class KeyValueError(RedactedError):
    """The store cannot be read or written. The message names the address, the key, what happened."""


class Conflict(KeyValueError):
    """The key is not at the expected revision: somebody else wrote it meanwhile."""


class Compacted(KeyValueError):
    """The store no longer knows what changed since that revision: list again."""


class Entry(msgspec.Struct, frozen=True):
    """One key. `revision` is that of its last write."""

    key: str
    value: bytes
    revision: int


class Listing(msgspec.Struct, frozen=True):
    """All keys below a prefix at one moment. `revision` is the store's, to wait from."""

    revision: int
    entries: tuple[Entry, ...]


class Write(msgspec.Struct, frozen=True):
    """One write of a transaction. `value` None deletes. `expected` is the revision that the key must
    have, 0 = it must not exist, None = whatever it has."""

    key: str
    value: bytes | None
    expected: int | None = None


class KeyValue(Protocol):
    """One store, for several tasks at once. Keys are text without a leading slash; prefixes end in
    one."""

    async def list(self, prefix: str) -> Listing:
        """All entries below a prefix, ordered by key."""

    async def get(self, key: str) -> Entry | None:
        """One entry; None = there is none."""

    async def commit(self, writes: tuple[Write, ...]) -> int:
        """Do all writes or none (at most 64, the least that stores take in one transaction); the
        revision that the written keys have now, 0 = not known, as all were deleted. Raises
        `Conflict`, which names the first key that was in the way."""

    async def wait(self, prefix: str, revision: int) -> None:
        """Return once something below the prefix was written or deleted after `revision` (it may
        return early for no reason; then `list` shows the same). Waits for as long as it takes; every
        connection attempt has a deadline. Raises `Compacted`."""

    async def publish_status(self, key: str, value: bytes, ttl_s: float) -> None:
        """Write a key that goes away by itself some time after the writer stopped renewing it (call
        again within `ttl_s`): etcd lease, Consul session."""

    async def aclose(self) -> None:
        """Close connections; never hangs."""


class KeyValueFactory(Protocol):
    """Makes a store client from options, those of the adapter of the same name (`address`, `token`,
    `tls`, ...). Needs no event loop. Raises `egressd.registry.adapter.AdapterConfigError`."""

    def __call__(self, options: Mapping[str, object]) -> KeyValue: ...
