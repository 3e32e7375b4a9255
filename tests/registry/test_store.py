"""The store: versions, change log, claims, and what a crash of its writer leaves."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from egressd.api.resource import Kind
from egressd.registry import store, store_claims
from egressd.registry.claims import port_key
from egressd.registry.memory import MemoryView
from egressd.registry.merge import ChangeSet, Merger
from egressd.registry.records import Hold, SourceState
from egressd.registry.store import StoreError, StoreReader, StoreWriter
from tests.registry.test_merge import records, service, snapshot, virtual

RANKS = {"one": 0, "two": 1}


def put(*documents: str, source: str = "one") -> ChangeSet:
    merger = Merger([source])
    merger.apply(source, snapshot(source, *documents))
    return merger.changes()


def test_what_is_published_is_read_back(tmp_path: Path) -> None:
    writer = StoreWriter.open(tmp_path / "r")
    assert writer.version() == 0
    assert writer.publish(put(service("a"), virtual("v", "'*.example'")), RANKS, 1.0) == 1
    (found,) = writer.claims(Kind.SERVICE_ENTRY, "a.example")
    assert found.resource == records("one", service("a"))[0].resource
    (wild,) = writer.claims(Kind.VIRTUAL_SERVICE, "*.example")
    assert wild.resource.metadata.name == "v"
    assert writer.claims(Kind.VIRTUAL_SERVICE, "a.example") == ()
    assert [r.resource.metadata.name for r in writer.records(Kind.SERVICE_ENTRY)] == ["a"]
    writer.close()


def test_a_changed_host_leaves_no_old_claim(tmp_path: Path) -> None:
    writer = StoreWriter.open(tmp_path / "r")
    writer.publish(put(virtual("v", "a.example")), RANKS, 1.0)
    writer.publish(put(virtual("v", "b.example")), RANKS, 2.0)
    assert writer.claims(Kind.VIRTUAL_SERVICE, "a.example") == ()
    assert writer.claims(Kind.VIRTUAL_SERVICE, "b.example")
    deleted = put(virtual("v", "b.example")).puts
    writer.publish(ChangeSet(deletes=deleted, hosts=("b.example",)), RANKS, 3.0)
    assert writer.all_records() == ()
    writer.close()


def test_the_change_log_tells_what_to_look_at_again(tmp_path: Path) -> None:
    writer = StoreWriter.open(tmp_path / "r")
    for name in ("a", "b", "c"):
        writer.publish(put(service(name)), RANKS, 5.0)
    since = writer.changes_since(1)
    assert since is not None
    assert (since.version, since.hosts) == (3, {"b.example", "c.example"})
    nothing = writer.changes_since(3)
    assert nothing is not None
    assert not nothing.hosts
    assert writer.changes_since(7) is None  # a version from another life: drop everything
    newest = writer.history(2)
    assert [change.version for change in newest] == [3, 2]
    assert newest[0].put == ("ServiceEntry/default/c",)
    writer.close()


def test_claims_stand_in_order_of_the_sources(tmp_path: Path) -> None:
    writer = StoreWriter.open(tmp_path / "r")
    second = service("s2").replace("s2.example", "h.example")
    first = service("s1").replace("s1.example", "h.example")
    writer.publish(put(second, source="two"), RANKS, 1.0)
    writer.publish(put(first, source="one"), RANKS, 2.0)
    found = writer.claims(Kind.SERVICE_ENTRY, "h.example")
    assert [record.source for record in found] == ["one", "two"]
    writer.close()


def test_of_one_source_the_older_claim_stands_first(tmp_path: Path) -> None:
    """In the registry process and in every other: one host in two foreign namespaces is the older's."""
    writer = StoreWriter.open(tmp_path / "r")
    stamps = {"a": "2026-03-01T00:00:00Z", "b": "2026-01-01T02:00:00+03:00", "c": "", "d": "soon"}
    for name, stamp in stamps.items():
        text = service(name).replace(f"{name}.example", "h.example")
        stamped = text.replace("}", f", creationTimestamp: '{stamp}'}}", 1)
        writer.publish(put(stamped), RANKS, 1.0)
    found = writer.claims(Kind.SERVICE_ENTRY, "h.example")
    assert [record.resource.metadata.name for record in found] == ["b", "a", "c", "d"]
    memory = MemoryView(reversed(found))
    assert memory.claims(Kind.SERVICE_ENTRY, "h.example") == found
    writer.close()


def test_another_order_of_sources_files_the_claims_anew(tmp_path: Path) -> None:
    writer = StoreWriter.open(tmp_path / "r")
    writer.arrange(["one", "two"], 0.5)
    for source in ("one", "two"):
        writer.publish(put(service("a"), service(source), source=source), RANKS, 1.0)
    writer.arrange(["one", "two"], 2.0)
    assert writer.version() == 2
    writer.arrange(["two", "one"], 3.0)
    found = writer.claims(Kind.SERVICE_ENTRY, "a.example")
    assert [record.source for record in found] == ["two", "one"]
    since = writer.changes_since(2)
    assert since is not None
    assert since.hosts == {"a.example"}  # only there another one may win now
    writer.close()


def test_source_states_are_written_down_and_forgotten_with_their_source(tmp_path: Path) -> None:
    writer = StoreWriter.open(tmp_path / "r")
    state = SourceState(
        5.0, "away", Hold(1.0, 601.0, 60, 100, "why"), frozenset({"ServiceEntry/default/a\0one"})
    )
    writer.note_sources({"one": state, "two": SourceState()})
    assert writer.source_states() == {"one": state, "two": SourceState()}
    writer.note_sources({"one": state})
    assert list(writer.source_states()) == ["one"]
    writer.close()


def test_a_reader_without_a_store_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="egressd run"):
        StoreReader.open(tmp_path / "nothing")


def test_a_corrupt_store_is_moved_aside(tmp_path: Path) -> None:
    StoreWriter.open(tmp_path / "r").close()
    (tmp_path / "r" / "data.mdb").write_bytes(b"\x00" * 8192)
    writer = StoreWriter.open(tmp_path / "r")
    assert "corrupt" in writer.moved_aside
    assert writer.publish(put(service("a")), RANKS, 1.0) == 1
    writer.close()


def test_a_reader_in_another_process_sees_whole_versions_of_a_writer_that_is_killed(
    tmp_path: Path,
) -> None:
    """Every version holds as many records as its number says; the writer dies again and again."""
    path = tmp_path / "r"
    StoreWriter.open(path).close()
    for _ in range(4):
        pid = os.fork()
        if pid == 0:
            _publish_forever(path)
        time.sleep(0.15)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        reader = StoreReader.open(path)
        version = reader.version()
        assert len(reader.records(Kind.SERVICE_ENTRY)) == 2 * version
        reader.close()
    assert version > 3


def _publish_forever(path: Path) -> None:
    try:
        writer = StoreWriter.open(path)
        while True:
            number = writer.version()
            names = [service(f"s{number}-{part}") for part in "ab"]
            writer.publish(put(*names), RANKS, 1.0)
    finally:
        os._exit(1)


def test_a_list_of_claims_is_read_and_written_once_a_publication(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Thousands of TCP services share the key of their port: rewriting it for each is quadratic."""
    tcp = [service(f"s{n}").replace("HTTP", "TCP") for n in range(20)]
    moved = [text.replace("10.0.0.1", "10.0.0.2") for text in tcp]
    merger = Merger(["one"])
    writer = StoreWriter.open(tmp_path / "r")
    merger.apply("one", snapshot("one", *tcp))
    writer.publish(merger.changes(), RANKS, 1.0)
    assert len(writer.claims(Kind.SERVICE_ENTRY, port_key(80))) == 20
    read: list[bytes] = []
    decode = store_claims.decode_claims
    monkeypatch.setattr(
        store_claims, "decode_claims", lambda data: read.append(data) or decode(data)
    )
    merger.apply("one", snapshot("one", *moved))
    writer.publish(merger.changes(), RANKS, 2.0)
    assert len(read) == 21  # each host's, and the port's
    assert len(writer.claims(Kind.SERVICE_ENTRY, port_key(80))) == 20
    writer.close()


def test_what_cannot_be_written_now_leaves_the_store_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "_MAP_SIZE", 128 * 1024)
    writer = StoreWriter.open(tmp_path / "r")
    writer.publish(put(service("a")), RANKS, 1.0)
    with pytest.raises(StoreError, match="cannot be written: mdb_put: MDB_MAP_FULL"):
        writer.publish(put(*(service(f"s{n}") for n in range(300))), RANKS, 2.0)
    assert writer.version() == 1
    assert writer.publish(put(service("b")), RANKS, 3.0) == 2
    writer.close()
