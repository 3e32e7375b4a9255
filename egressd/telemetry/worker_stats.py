"""The counters of one worker: series by labels, bounded.

A label set costs some hundred bytes, and clients can invent names. Past the cap the series that has been
idle for longest is folded into one with the labels "other", so that sums over all series stay what they
were; where none is idle, new label sets are counted as "other". A label set that comes back begins at 0,
which Prometheus takes for a restart. (What the node shows never goes backwards, see `evicted_since`.)
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

import msgspec

from egressd.telemetry.stats import (
    OTHER,
    OTHER_LABELS,
    OTHER_TCP,
    ClusterStats,
    ProcessStats,
    Series,
    SeriesLabels,
    StatsSnapshot,
    TcpLabels,
    TcpSeries,
    new_series,
)

DEFAULT_MAX_SERIES = 5_000
"""Series of requests, of tunnels and of clusters, each."""
_LOOKS = 16
"""Series looked at for an idle one before a new label set is "other"."""

_encoder = msgspec.msgpack.Encoder()


class _Kept:
    """A series of requests, where it is cached by its user, and its count when it was looked at."""

    __slots__ = ("cache", "key", "seen", "series")

    def __init__(self, series: Series, cache: dict[Any, Series], key: Hashable) -> None:
        self.series = series
        self.cache = cache
        self.key = key
        self.seen = 1  # a name that was asked for once is not worth a second look


class WorkerStats:
    """All series of one worker. One owner, one thread; asking for a series makes it."""

    __slots__ = (
        "_clusters",
        "_max_series",
        "_other",
        "_other_cluster",
        "_other_tcp",
        "_requests",
        "_retired",
        "_tcp",
        "process",
    )

    def __init__(self, max_series: int = DEFAULT_MAX_SERIES) -> None:
        self.process = ProcessStats()
        self._max_series = max_series
        self._requests: OrderedDict[SeriesLabels, _Kept] = OrderedDict()
        self._tcp: OrderedDict[TcpLabels, tuple[TcpSeries, int]] = OrderedDict()
        self._clusters: dict[str, ClusterStats] = {}
        self._retired: OrderedDict[str, ClusterStats] = OrderedDict()
        self._other = new_series(OTHER_LABELS)
        self._other_tcp = TcpSeries(OTHER_TCP)
        self._other_cluster = ClusterStats(OTHER)

    def series(
        self,
        labels: SeriesLabels,
        cache: dict[Any, Series] | None = None,
        key: Hashable = None,
    ) -> Series:
        """The series of these labels, put into the caller's `cache` under `key`, and taken out when it
        is evicted. Past the cap without an idle one: the series "other", which is not cached."""
        kept = self._requests.get(labels)
        if kept is None:
            if len(self._requests) >= self._max_series and not self._evict_request_series():
                self.process.series_overflows += 1
                return self._other
            kept = self._requests[labels] = _Kept(new_series(labels), {}, None)
        if cache is not None:
            kept.cache.pop(kept.key, None)  # of a cluster that was dropped
            kept.cache, kept.key = cache, key
            cache[key] = kept.series
        return kept.series

    def _evict_request_series(self) -> bool:
        for _ in range(_LOOKS):
            labels, kept = next(iter(self._requests.items()))
            count = kept.series.count
            if count <= kept.seen:
                del self._requests[labels]
                kept.cache.pop(kept.key, None)
                self._other.add(kept.series)
                self.process.series_overflows += 1
                return True
            kept.seen = count
            self._requests.move_to_end(labels)
        return False

    def tcp_series(self, labels: TcpLabels) -> TcpSeries:
        """The tunnel series of these labels; one that has open tunnels is not evicted."""
        found = self._tcp.get(labels)
        if found is not None:
            return found[0]
        if len(self._tcp) >= self._max_series and not self._evict_tcp_series():
            self.process.series_overflows += 1
            return self._other_tcp
        series = TcpSeries(labels)
        self._tcp[labels] = (series, 1)
        return series

    def _evict_tcp_series(self) -> bool:
        for _ in range(_LOOKS):
            labels, (series, seen) = next(iter(self._tcp.items()))
            if series.opened == series.closed and series.opened <= seen:
                del self._tcp[labels]
                self._other_tcp.add(series)
                self.process.series_overflows += 1
                return True
            self._tcp[labels] = (series, series.opened)
            self._tcp.move_to_end(labels)
        return False

    def cluster(self, name: str) -> ClusterStats:
        """The counters of one cluster, to keep beside the cluster until `retire_cluster`."""
        found = self._clusters.get(name)
        if found is not None:
            return found
        found = self._retired.pop(name, None)
        if found is None:
            if len(self._clusters) >= self._max_series:
                self.process.series_overflows += 1
                return self._other_cluster
            found = ClusterStats(name)
        self._clusters[name] = found
        self._bound_retired()
        return found

    def retire_cluster(self, name: str) -> None:
        """The cluster was dropped. Its counters stand until there are too many."""
        found = self._clusters.pop(name, None)
        if found is not None:
            self._retired[name] = found
            self._bound_retired()

    def _bound_retired(self) -> None:
        retired = self._retired
        for _ in range(len(self._clusters) + len(retired) - self._max_series):
            name = next((name for name, one in retired.items() if not one.requests_active), None)
            if name is None:
                return
            found = retired.pop(name)
            found.connections_active = 0
            self._other_cluster.add(found)
            self.process.series_overflows += 1

    def snapshot(self) -> bytes:
        """Everything counted so far, msgpack."""
        requests = [kept.series for kept in self._requests.values()]
        if any(self._other.durations):
            requests.append(self._other)
        tcp = [series for series, _ in self._tcp.values()]
        if self._other_tcp.opened:
            tcp.append(self._other_tcp)
        clusters = [*self._clusters.values(), *self._retired.values()]
        if self.process.series_overflows:
            clusters.append(self._other_cluster)
        return _encoder.encode(StatsSnapshot(requests, tcp, clusters, self.process))
