"""The bound of a worker's series: idle ones go first, sums stay, nothing the node shows goes back."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from egressd.admin.worker_link import Counters
from egressd.telemetry.stats import (
    OTHER,
    Series,
    SeriesLabels,
    StatsSnapshot,
    TcpLabels,
    bounded,
    decode_snapshot,
    merge,
)
from egressd.telemetry.worker_stats import WorkerStats


def labels(name: str) -> SeriesLabels:
    return SeriesLabels(destination_service=name)


def ask(stats: WorkerStats, name: str, times: int = 1) -> None:
    for _ in range(times):
        stats.series(labels(name)).observe(1.0, 2, 3)


def counts(snapshot: StatsSnapshot) -> dict[str, int]:
    return {one.labels.destination_service: one.count for one in snapshot.requests}


def of(stats: WorkerStats) -> dict[str, int]:
    return counts(decode_snapshot(stats.snapshot()))


def test_names_asked_for_once_give_way_to_new_ones() -> None:
    stats = WorkerStats(max_series=10)
    for _ in range(3):
        ask(stats, "real", 5)
        for number in range(100):
            ask(stats, f"n{number}")
            ask(stats, "real")
    found = of(stats)
    assert found["real"] == 315
    assert len(found) <= 11
    assert sum(found.values()) == 615
    assert "n99" in found


def test_the_cap_is_not_for_life() -> None:
    stats = WorkerStats(max_series=4)
    for number in range(4):
        ask(stats, f"old{number}", 50)
    ask(stats, "new", 3)  # all looked at, none known to be idle
    ask(stats, "new", 3)
    ask(stats, "new", 3)
    assert of(stats)["new"] >= 3


def test_an_evicted_series_is_taken_out_of_its_cache() -> None:
    stats = WorkerStats(max_series=1)
    cache: dict[Any, Series] = {}
    first = stats.series(labels("a"), cache, "a")
    first.observe(1.0, 0, 0)
    assert cache == {"a": first}
    second = stats.series(labels("b"), cache, "b")
    assert cache == {"b": second}
    assert stats.series(labels("a"), cache, "a") is not first


def test_a_series_of_a_dropped_cluster_leaves_its_old_cache() -> None:
    stats = WorkerStats()
    old: dict[Any, Series] = {}
    new: dict[Any, Series] = {}
    series = stats.series(labels("a"), old, 1)
    assert stats.series(labels("a"), new, 2) is series
    assert old == {} and new == {2: series}


def test_a_series_with_open_tunnels_stays() -> None:
    stats = WorkerStats(max_series=2)
    open_ = stats.tcp_series(TcpLabels(destination_service="open"))
    open_.opened = 1
    for number in range(20):
        done = stats.tcp_series(TcpLabels(destination_service=f"n{number}"))
        done.opened += 1
        done.closed += 1
    assert stats.tcp_series(TcpLabels(destination_service="open")) is open_
    snapshot = decode_snapshot(stats.snapshot())
    assert sum(one.opened for one in snapshot.tcp) == 21
    assert len(snapshot.tcp) <= 3


def test_counters_of_dropped_clusters_are_kept_and_bounded() -> None:
    stats = WorkerStats(max_series=5)
    held = stats.cluster("real")
    for number in range(50):
        stats.cluster(f"n{number}").requests_total += 1
        stats.retire_cluster(f"n{number}")
    assert stats.cluster("real") is held
    again = stats.cluster("n49")
    assert again.requests_total == 1
    snapshot = decode_snapshot(stats.snapshot())
    assert sum(one.requests_total for one in snapshot.clusters) == 50
    assert len(snapshot.clusters) <= 6


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from("abcdefgh"), st.booleans(), st.integers(1, 3)),
        max_size=80,
    )
)
def test_what_the_node_shows_never_goes_backwards(
    steps: list[tuple[int, str, bool, int]],
) -> None:
    """Workers 0 and 1 count and evict; step 2 kills worker 0."""
    workers = {(index, 1): WorkerStats(max_series=2) for index in range(2)}
    counters = Counters()
    shown: dict[str, int] = {}
    total, pid = 0, 1
    for who, name, looks, times in steps:
        if who == 2:
            counters.take({worker: stats.snapshot() for worker, stats in workers.items()})
            del workers[0, pid]
            pid += 1
            workers[0, pid] = WorkerStats(max_series=2)
        else:
            stats = workers[who, pid if who == 0 else 1]
            ask(stats, name, times)
            total += times
        if looks:
            snapshots = {worker: stats.snapshot() for worker, stats in workers.items()}
            now = counts(counters.take(snapshots))
            for one, count in shown.items():
                assert now.get(one, 0) >= count, one
            assert sum(now.values()) == total
            shown = now


def test_series_that_no_worker_has_are_bounded_oldest_first() -> None:
    stats = WorkerStats()
    for number in range(20):
        ask(stats, f"n{number}")
    kept = decode_snapshot(stats.snapshot())
    living = WorkerStats()
    ask(living, "n0")
    found = counts(bounded(kept, merge([decode_snapshot(living.snapshot())]), 5))
    assert found.pop(OTHER) == 15
    assert set(found) == {"n0", "n16", "n17", "n18", "n19"}
