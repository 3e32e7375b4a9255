"""The shared registry on disk: LMDB, one writer, readers without locks in every other process.

Databases of the one environment:
    records   record key -> stored record
    claims    kind NUL host -> [[order, record key], ...], the winner first
    changes   version (8 bytes, big-endian) -> stored change
    meta      "version" -> 8 bytes; "layout" -> what the claims were filed by;
              "source NUL name" -> source state; "unanswered" -> sources without one so far, and why

A publication is one transaction, so a reader sees all of it or nothing. NOMETASYNC: after a crash of
the machine the last publication may be gone, never half of one. LMDB forbids opening an environment
twice in a process and using it across a fork: whoever reads opens it once, after the fork.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from pathlib import Path

import lmdb
import msgspec

from egressd.api.age import creation_order
from egressd.api.resource import SPEC_TYPES, Kind, Metadata, Place, Resource, Spec
from egressd.registry.claims import claimed_hosts
from egressd.registry.merge import ChangeSet
from egressd.registry.records import Record, SourceState
from egressd.registry.store_claims import ClaimWriter, claim_keys, decode_claims, store_key

_MAP_SIZE = 16 << 30  # address space, not disk: the file grows as it is written
_MAX_READERS = 1024
_MAX_CHANGES = 10_000
_NAMES = (b"records", b"claims", b"changes", b"meta")
_VERSION = b"version"
_LAYOUT = b"layout"
_FORMAT = "3"  # of one source the older first
_SOURCE, _UNANSWERED = b"source\0", b"unanswered"


class StoreError(Exception):
    """The store cannot be opened or, for now, written: the disk is full. The message names the path."""


class Stored(msgspec.Struct, frozen=True, array_like=True):
    """A record as it lies in the store; `spec` is decoded by kind."""

    kind: Kind
    spec: msgspec.Raw
    metadata: Metadata
    api_version: str
    place: Place
    source: str
    origin: str
    source_version: str
    first_seen: float = 0.0
    last_seen: float = 0.0
    is_merged: bool = False
    lost_hosts: tuple[str, ...] = ()


class Change(msgspec.Struct, frozen=True):
    """One publication in the change log. `at` is seconds since the epoch. `notes` go with `put`;
    `claims`, the host keys of each resource, with `put` and then `deleted`."""

    version: int
    at: float
    sources: tuple[str, ...]
    hosts: tuple[str, ...]
    put: tuple[str, ...]
    deleted: tuple[str, ...]
    notes: tuple[str, ...] = ()
    claims: tuple[tuple[str, ...], ...] = ()

    def of(self, hosts: Set[str]) -> Change:
        """Only the resources that claim one of the host keys; all, where that is not known of any."""
        places = range(len(self.put) + len(self.deleted))
        kept = [at for at in places if at < len(self.claims) and hosts & set(self.claims[at])]
        if not kept:
            return self
        put = [at for at in kept if at < len(self.put)]
        return msgspec.structs.replace(
            self,
            put=tuple(self.put[at] for at in put),
            deleted=tuple(self.deleted[at - len(self.put)] for at in kept[len(put) :]),
            notes=tuple(self.notes[at] for at in put if at < len(self.notes)),
            claims=tuple(self.claims[at] for at in kept),
        )


class Changes(msgspec.Struct, frozen=True):
    """What a reader that knew an older version must look at again."""

    version: int
    hosts: frozenset[str]


_encode = msgspec.msgpack.Encoder().encode
_decode_stored = msgspec.msgpack.Decoder(Stored).decode
_decode_change = msgspec.msgpack.Decoder(Change).decode
_decode_state = msgspec.msgpack.Decoder(SourceState).decode
_decode_spec = {kind: msgspec.msgpack.Decoder(spec) for kind, spec in SPEC_TYPES.items()}


def _freeze(record: Record) -> bytes:
    resource = record.resource
    return _encode(
        Stored(
            resource.kind,
            msgspec.Raw(_encode(resource.spec)),
            resource.metadata,
            resource.api_version,
            resource.place,
            record.source,
            record.origin,
            record.source_version,
            record.first_seen,
            record.last_seen,
            record.is_merged,
            record.lost_hosts,
        )
    )


def _thaw(data: bytes) -> Record:
    stored = _decode_stored(data)
    spec: Spec = _decode_spec[stored.kind].decode(stored.spec)
    return Record(
        resource=Resource(
            kind=stored.kind,
            metadata=stored.metadata,
            spec=spec,
            api_version=stored.api_version,
            place=stored.place,
        ),
        source=stored.source,
        origin=stored.origin,
        source_version=stored.source_version,
        first_seen=stored.first_seen,
        last_seen=stored.last_seen,
        is_merged=stored.is_merged,
        lost_hosts=stored.lost_hosts,
    )


class StoreReader:
    """A `RegistryView` of the store. One a process; safe beside a writer in another one."""

    def __init__(self, env: lmdb.Environment) -> None:
        self._env = env
        names = [env.open_db(name, create=False) for name in _NAMES]
        self._records, self._claims, self._changes, self._meta = names

    @classmethod
    def open(cls, path: str | Path) -> StoreReader:
        """Open for reading. Raises `StoreError` when there is none yet."""
        try:
            env = lmdb.open(
                str(path),
                readonly=True,
                create=False,
                max_dbs=len(_NAMES),
                max_readers=_MAX_READERS,
                map_size=_MAP_SIZE,
            )
            return cls(env)
        except lmdb.Error as error:
            raise StoreError(
                f"{path}: no registry to read ({error}); has `egressd run` been started with this "
                "stateDir?"
            ) from None

    def close(self) -> None:
        self._env.close()

    def refresh(self) -> None:
        """See what was published since: always so here, where each question sees the newest version."""

    def version(self) -> int:
        with self._env.begin() as txn:
            return int.from_bytes(txn.get(_VERSION, b"", db=self._meta), "big")

    def claims(self, kind: Kind, host: str) -> tuple[Record, ...]:
        with self._env.begin() as txn:
            found = txn.get(store_key(f"{kind}\0{host}"), db=self._claims)
            if found is None:
                return ()
            stored = (txn.get(key, db=self._records) for _, key in decode_claims(found))
            return tuple(_thaw(data) for data in stored if data is not None)

    def records(self, kind: Kind) -> tuple[Record, ...]:
        return tuple(self._scan(f"{kind}/".encode()))

    def all_records(self) -> tuple[Record, ...]:
        """Every record, ordered by key."""
        return tuple(self._scan(b""))

    def _scan(self, prefix: bytes) -> Iterator[Record]:
        with self._env.begin() as txn, txn.cursor(self._records) as cursor:
            if cursor.set_range(prefix):
                for key, data in cursor:
                    if not key.startswith(prefix):
                        return
                    yield _thaw(data)

    def source_states(self) -> dict[str, SourceState]:
        """How each source stood when it was last written down, by name."""
        found: dict[str, SourceState] = {}
        with self._env.begin() as txn, txn.cursor(self._meta) as cursor:
            if cursor.set_range(_SOURCE):
                for key, data in cursor:
                    if not key.startswith(_SOURCE):
                        break
                    found[key.removeprefix(_SOURCE).decode()] = _decode_state(data)
        return found

    def unanswered(self) -> dict[str, str]:
        """Sources that have never said anything, with why; as of the last `note_sources`."""
        with self._env.begin() as txn:
            found = txn.get(_UNANSWERED, db=self._meta)
        return msgspec.msgpack.decode(found, type=dict[str, str]) if found else {}

    def changes_since(self, version: int) -> Changes | None:
        """The host keys changed after `version`; None when the log does not reach back so far."""
        with self._env.begin() as txn:
            now = int.from_bytes(txn.get(_VERSION, b"", db=self._meta), "big")
            if now == version:
                return Changes(now, frozenset())
            hosts: set[str] = set()
            expected = version + 1
            with txn.cursor(self._changes) as cursor:
                if not cursor.set_range(expected.to_bytes(8, "big")):
                    return None
                for key, data in cursor:
                    if int.from_bytes(key, "big") != expected:
                        return None
                    hosts.update(_decode_change(data).hosts)
                    expected += 1
            return Changes(now, frozenset(hosts)) if expected == now + 1 else None

    def history(self, limit: int = 100) -> tuple[Change, ...]:
        """The newest changes, newest first."""
        found: list[Change] = []
        with self._env.begin() as txn, txn.cursor(self._changes) as cursor:
            for _, data in cursor.iterprev():
                if len(found) >= limit:
                    break
                found.append(_decode_change(data))
        return tuple(found)


class StoreWriter(StoreReader):
    """The one writer, in the registry process."""

    @classmethod
    def open(cls, path: str | Path) -> StoreWriter:
        """Open, made if need be. A store that LMDB calls corrupt is moved aside (`moved_aside`).

        Raises `StoreError` for a path that cannot be written.
        """
        directory = Path(path)
        try:
            directory.mkdir(parents=True, exist_ok=True)
            try:
                return cls._open(directory)
            except (lmdb.CorruptedError, lmdb.InvalidError, lmdb.VersionMismatchError) as error:
                aside = directory.with_name(f"{directory.name}.corrupt-{int(time.time())}")
                directory.rename(aside)
                directory.mkdir()
                writer = cls._open(directory)
                writer.moved_aside = f"{aside}: {error}"
                return writer
        except (OSError, lmdb.Error) as error:
            raise StoreError(f"{path}: the registry cannot be written: {error}") from None

    @classmethod
    def _open(cls, directory: Path) -> StoreWriter:
        env = lmdb.open(
            str(directory),
            max_dbs=len(_NAMES),
            max_readers=_MAX_READERS,
            map_size=_MAP_SIZE,
            metasync=False,
            mode=0o640,
        )
        for name in _NAMES:
            env.open_db(name, create=True)
        env.reader_check()  # slots of readers that died
        return cls(env)

    moved_aside = ""

    @contextmanager
    def _write(self) -> Iterator[lmdb.Transaction]:
        """Raises `StoreError` for what passes: no space, no I/O (which LMDB has no class for)."""
        try:
            self._env.reader_check()
            with self._env.begin(write=True) as txn:
                yield txn
        except lmdb.Error as error:
            if type(error) not in (lmdb.DiskError, lmdb.MapFullError, lmdb.Error):
                raise
            raise StoreError(f"{self._env.path()}: cannot be written: {error}") from error

    def arrange(self, order: Sequence[str], at: float) -> None:
        """File all records anew where an older egressd or another order of sources filed them, and
        log the hosts that several records claim: another one may win now."""
        layout = "\0".join((_FORMAT, *order)).encode()
        with self._write() as txn:
            if txn.get(_LAYOUT, db=self._meta) == layout:
                return
            records = [_thaw(bytes(data)) for _, data in txn.cursor(self._records)]
            for database in (self._records, self._claims):
                txn.drop(database, delete=False)
            ranks = {source: rank for rank, source in enumerate(order)}
            times: Counter[str] = Counter()
            claims = ClaimWriter(txn, self._claims)
            for record in records:
                self._file(txn, record, ranks.get(record.source, len(ranks)), claims)
                times.update(claimed_hosts(record.resource))
            claims.write()
            txn.put(_LAYOUT, layout, db=self._meta)
            shared = tuple(host for host, count in times.items() if count > 1)
            if shared:
                self._log(txn, at, ChangeSet(hosts=shared))

    def note_sources(self, states: Mapping[str, SourceState]) -> None:
        """Write down how the sources stand; those of old bootstraps are forgotten."""
        with self._write() as txn:
            with txn.cursor(self._meta) as cursor:
                stale = [bytes(key) for key, _ in cursor if bytes(key).startswith(_SOURCE)]
            for key in stale:
                txn.delete(key, db=self._meta)
            for name, state in states.items():
                txn.put(_SOURCE + name.encode(), _encode(state), db=self._meta)
            silent = {name: state.error for name, state in states.items() if not state.synced_at}
            txn.put(_UNANSWERED, _encode(silent), db=self._meta)

    def publish(self, changes: ChangeSet, ranks: dict[str, int], at: float) -> int:
        """Write one change set in one transaction; returns the new version. Blocks for a disk sync.
        Raises `StoreError`: nothing is written, and may be later."""
        with self._write() as txn:
            claims = ClaimWriter(txn, self._claims)
            for record in (*changes.deletes, *changes.puts):
                self._unfile(txn, record.key, claims)
            for record in changes.puts:
                self._file(txn, record, ranks.get(record.source, len(ranks)), claims)
            claims.write()
            return self._log(txn, at, changes)

    def _log(self, txn: lmdb.Transaction, at: float, changes: ChangeSet) -> int:
        version = int.from_bytes(txn.get(_VERSION, b"", db=self._meta), "big") + 1
        change = Change(
            version,
            at,
            changes.sources,
            changes.hosts,
            tuple(record.resource.ref for record in changes.puts),
            tuple(record.resource.ref for record in changes.deletes),
            changes.notes,
            tuple(claimed_hosts(r.resource) for r in (*changes.puts, *changes.deletes)),
        )
        txn.put(version.to_bytes(8, "big"), _encode(change), db=self._changes)
        if version > _MAX_CHANGES:
            txn.delete((version - _MAX_CHANGES).to_bytes(8, "big"), db=self._changes)
        txn.put(_VERSION, version.to_bytes(8, "big"), db=self._meta)
        return version

    def _unfile(self, txn: lmdb.Transaction, text: str, claims: ClaimWriter) -> None:
        key = store_key(text)
        old = txn.get(key, db=self._records)
        if old is None:
            return
        for name in claim_keys(_thaw(bytes(old))):
            claims.of(name).pop(key, None)
        txn.delete(key, db=self._records)

    def _file(self, txn: lmdb.Transaction, record: Record, rank: int, claims: ClaimWriter) -> None:
        key = store_key(record.key)
        txn.put(key, _freeze(record), db=self._records)
        for name in claim_keys(record):
            claims.of(name)[key] = rank << 40 | creation_order(record.resource)
