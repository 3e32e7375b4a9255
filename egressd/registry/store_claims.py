"""What records are filed by in the store: keys of a bounded length, and the claims of each host."""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b

import lmdb
import msgspec

from egressd.registry.claims import claimed_hosts
from egressd.registry.records import Record

_KEY_BYTES = 500
_encode = msgspec.msgpack.Encoder().encode
decode_claims = msgspec.msgpack.Decoder(list[tuple[int, bytes]]).decode
"""The records that claim a key: [[order, record key], ...], the winner first."""


def store_key(text: str) -> bytes:
    """LMDB keys are bounded: a long one keeps its beginning and ends in its hash."""
    raw = text.encode()
    if len(raw) <= _KEY_BYTES:
        return raw
    return raw[: _KEY_BYTES - 40] + b"#" + blake2b(raw, digest_size=16).hexdigest().encode()


class ClaimWriter:
    """The claims that one transaction changes, each read and written once: thousands of TCP services
    stand under the one key of their port."""

    def __init__(self, txn: lmdb.Transaction, database: lmdb._Database) -> None:
        self._txn = txn
        self._database = database
        self._touched: dict[bytes, dict[bytes, int]] = {}

    def of(self, name: bytes) -> dict[bytes, int]:
        """The order of each record that claims a key (its source's rank, then its age), to be changed
        in place."""
        claims = self._touched.get(name)
        if claims is None:
            found = self._txn.get(name, db=self._database)
            listed = decode_claims(found) if found is not None else []
            claims = self._touched[name] = {key: order for order, key in listed}
        return claims

    def write(self) -> None:
        """Write what was changed."""
        for name, claims in self._touched.items():
            if claims:
                listed = sorted((order, key) for key, order in claims.items())
                self._txn.put(name, _encode(listed), db=self._database)
            else:
                self._txn.delete(name, db=self._database)


def claim_keys(record: Record) -> Iterable[bytes]:
    """The keys that a record is filed under."""
    kind = record.resource.kind
    return [store_key(f"{kind}\0{host}") for host in claimed_hosts(record.resource)]
