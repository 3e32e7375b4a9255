"""etcd as a key-value store of the fleet: the entry point `etcd` of `egressd.keyvalue`."""

from __future__ import annotations

import math
from collections.abc import Mapping

from adapters.etcd.client import (
    CompactedRevision,
    EtcdClient,
    EtcdError,
    FutureRevision,
    Refused,
)
from adapters.etcd.options import Connection, read_options
from adapters.etcd.rpc import Member
from adapters.etcd.wire import Heard, range_end
from egressd.api.secret import Secret
from egressd.registry.adapter_options import declares_options
from egressd.registry.keyvalue import (
    Compacted,
    Conflict,
    Entry,
    KeyValue,
    KeyValueError,
    Listing,
    Write,
)

_PAGE = 500  # keys a question


@declares_options(Connection)
def make_keyvalue(options: Mapping[str, object]) -> KeyValue:
    """A store client. Raises `AdapterConfigError`."""
    return EtcdKeyValue(EtcdClient("etcd", read_options("etcd", options, Connection)))


class EtcdKeyValue:
    """One cluster as a `KeyValue`."""

    def __init__(self, client: EtcdClient) -> None:
        self._client = client
        self._statuses: dict[str, tuple[int, bytes]] = {}  # by key: its lease and what it says

    async def list(self, prefix: str) -> Listing:
        """All entries below a prefix at one moment."""
        while True:
            entries: list[Entry] = []
            revision = 0
            try:
                async for page in self._client.pages(prefix.encode(), _PAGE):
                    revision = revision or page.revision
                    entries += page.keys
            except CompactedRevision:  # between two pages
                continue
            except EtcdError as error:
                raise KeyValueError(f"list {prefix}: {error}") from error
            return Listing(revision, tuple(entries))

    async def get(self, key: str) -> Entry | None:
        """One entry."""
        try:
            page = await self._client.page(key.encode(), b"")
        except EtcdError as error:
            raise KeyValueError(f"get {key}: {error}") from error
        return page.keys[0] if page.keys else None

    async def commit(self, writes: tuple[Write, ...]) -> int:
        """One transaction. A member that fails may have done it all the same: when the keys are found
        to stand as they were to be written, they were."""
        attempts = 0

        async def ask(member: Member, token: Secret) -> tuple[int, tuple[Entry, ...] | None]:
            nonlocal attempts
            attempts += 1
            expected = ((w.key, w.expected) for w in writes if w.expected is not None)
            return await member.transact(token, expected, ((w.key, w.value) for w in writes))

        named = ", ".join(write.key for write in writes)
        try:
            revision, stand = await self._client.call(ask)
        except EtcdError as error:
            raise KeyValueError(f"write {named}: {error}") from error
        if stand is None:
            return revision
        found = {each.key: each for each in stand}
        if attempts > 1 and all(_stands(write, found.get(write.key)) for write in writes):
            return max((each.revision for each in stand), default=revision)
        for write in writes:
            now = found[write.key].revision if write.key in found else 0
            if write.expected not in (None, now):
                raise Conflict(
                    f"write {write.key}: {self._client.target.url}: found revision {now}, "
                    f"expected {write.expected}"
                )
        raise KeyValueError(f"write {named}: {self._client.target.url}: refused without a reason")

    async def wait(self, prefix: str, revision: int) -> None:
        """Return once something changed after a revision, or the store counts from anew."""
        failures, own = 0, prefix.encode()

        async def heard(word: Heard) -> bool:
            nonlocal failures
            failures = 0
            return not word.changes and not word.went_back

        while True:
            try:
                probe = await self._client.call(
                    lambda m, token: m.range(token, own, range_end(own), limit=1, keys_only=True)
                )
                if probe.revision < revision:
                    return
                await self._client.follow(own, lambda: revision + 1, heard)
                return
            except CompactedRevision as error:
                raise Compacted(f"wait for {prefix}: {error}") from error
            except FutureRevision:
                return
            except Refused as error:
                raise KeyValueError(f"wait for {prefix}: {error}") from error
            except EtcdError:
                await self._client.pause(failures)
                failures += 1

    async def publish_status(self, key: str, value: bytes, ttl_s: float) -> None:
        """Write a key under a lease of its own, or renew the lease where the key says it already."""

        async def ask(member: Member, token: Secret) -> None:
            lease, said = self._statuses.get(key, (0, b""))
            if not lease or not await member.keep_alive(token, lease):
                lease, said = await member.grant(token, max(1, math.ceil(ttl_s))), b""
            if said != value or not said:
                await member.put(token, key, value, lease)
            self._statuses[key] = (lease, value)

        try:
            await self._client.call(ask)
        except EtcdError as error:
            raise KeyValueError(f"write {key}: {error}") from error

    async def aclose(self) -> None:
        """Close the connection."""
        self._client.close()


def _stands(write: Write, found: Entry | None) -> bool:
    return (None if found is None else found.value) == write.value
