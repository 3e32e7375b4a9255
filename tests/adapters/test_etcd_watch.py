"""What the running etcd source makes of words that overtake each other. No network."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from adapters.etcd.client import EtcdClient
from adapters.etcd.istio import IstioLayout
from adapters.etcd.options import Options
from adapters.etcd.picture import Picture
from adapters.etcd.watch import Watch
from adapters.etcd.wire import Change, Heard, Page
from egressd.registry.keyvalue import Entry
from integration.recorder import Recorder
from tests.adapters.test_etcd_picture import value

CLUSTER = 7


class Listed(EtcdClient):
    """A cluster with two keys at revision 5, on one page each; nothing is sent."""

    async def pages(self, prefix: bytes, limit: int) -> AsyncIterator[Page]:
        yield Page(CLUSTER, 5, 2, (Entry("a", value("web"), 4),), b"b")
        yield Page(CLUSTER, 9, 2, (Entry("b", value("db"), 5),), b"")


@pytest.fixture
async def sink() -> Recorder:
    return Recorder()


@pytest.fixture
async def watch(sink: Recorder) -> Watch:
    found = Watch(Listed("corp", Options()), Picture(IstioLayout("corp")), sink, b"", 1)
    await found.list_all()
    return found


def put(revision: int) -> Heard:
    return Heard(CLUSTER, revision, (Change("a", value("web", "10.0.0.9"), revision),))


def probe(revision: int, expected: int, cluster: int = CLUSTER) -> Heard:
    return Heard(cluster, revision, is_probe=True, expected=expected)


async def test_a_list_is_of_the_revision_of_its_first_page(watch: Watch, sink: Recorder) -> None:
    assert [snapshot.source_version for snapshot in sink.snapshots] == ["5"]
    assert sink.origins == {"a", "b"} and sink.progressed == [(1, 2), (2, 2)]


async def test_a_probe_that_the_watch_overtook_is_no_lost_state(
    watch: Watch, sink: Recorder
) -> None:
    assert await watch.heard(put(6))
    assert await watch.heard(probe(5, expected=5))
    assert sink.failures == [] and sink.syncs == 1


@pytest.mark.parametrize(
    "word",
    [
        probe(4, expected=5),
        probe(9, expected=5, cluster=8),
        Heard(8, 9),  # the creation of a watch, in another cluster
    ],
)
async def test_a_store_that_counts_from_anew_is_listed_in_doubt(
    watch: Watch, sink: Recorder, word: Heard
) -> None:
    assert not await watch.heard(word)
    assert "lost its state" in sink.failures[0]
    await watch.list_all()
    assert "lost its state" in sink.snapshots[-1].doubt


async def test_a_watch_of_a_member_that_lags_is_no_lost_state(watch: Watch, sink: Recorder) -> None:
    assert await watch.heard(Heard(CLUSTER, 3))
    assert sink.failures == []
