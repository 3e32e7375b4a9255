"""The store as who may not write there reads it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from egressd.api.resource import Kind
from egressd.registry import store_copy
from egressd.registry.store import StoreError, StoreReader, StoreWriter
from egressd.registry.store_copy import StoreCopy, may_lock
from tests.registry.test_merge import service
from tests.registry.test_store import RANKS, put


def publish(writer: StoreWriter, name: str) -> None:
    writer.publish(put(service(name)), RANKS, 1.0)


def test_a_copy_says_what_the_store_says_and_follows_it(tmp_path: Path) -> None:
    writer = StoreWriter.open(tmp_path)
    for number in range(300):
        publish(writer, f"n{number}")
    copy = StoreCopy.open(tmp_path)
    assert copy.all_records() == writer.all_records()
    assert copy.history(5) == writer.history(5)
    publish(writer, "later")
    assert copy.version() == 300
    copy.refresh()
    assert copy.version() == writer.version() == 301
    assert copy.claims(Kind.SERVICE_ENTRY, "later.example")
    copy.refresh()
    copy.close()
    writer.close()


def test_what_is_published_while_it_is_copied_makes_another_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    writer = StoreWriter.open(tmp_path)
    publish(writer, "first")
    asked: list[int] = []
    found = store_copy._metas

    def changing(fd: int) -> bytes:
        asked.append(fd)
        if len(asked) in (2, 3, 4):  # at the end of a copy, at the beginning of the next
            publish(writer, f"meanwhile{len(asked)}")
        return found(fd)

    monkeypatch.setattr(store_copy, "_metas", changing)
    copy = StoreCopy.open(tmp_path)
    assert copy.version() == writer.version() == 4
    assert copy.all_records() == writer.all_records()
    copy.close()
    writer.close()


def test_what_is_not_there_or_no_store_is_said(tmp_path: Path) -> None:
    assert not may_lock(tmp_path)
    with pytest.raises(StoreError, match="has `egressd run` been started"):
        StoreCopy.open(tmp_path)
    (tmp_path / store_copy.DATA_FILE).write_bytes(b"garbage" * 4000)
    with pytest.raises(StoreError, match="no registry to read"):
        StoreCopy.open(tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_who_may_not_read_it_is_told_who_may(tmp_path: Path) -> None:
    StoreWriter.open(tmp_path).close()
    (tmp_path / store_copy.DATA_FILE).chmod(0)
    with pytest.raises(StoreError, match="members of the group"):
        StoreCopy.open(tmp_path)


def test_who_may_lock_reads_in_place(tmp_path: Path) -> None:
    StoreWriter.open(tmp_path).close()
    assert may_lock(tmp_path)
    StoreReader.open(tmp_path).close()
