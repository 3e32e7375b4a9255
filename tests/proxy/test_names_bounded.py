"""What a worker holds for names that clients invent is bounded, and what is used stays."""

from __future__ import annotations

from time import monotonic

import pytest

from egressd.proxy.directory import Directory
from egressd.upstream.lease import Lease
from egressd.upstream.node_state import NodeState
from tests.proxy.test_client_addresses import (
    Answers,
    Make,
    by_name,
    directory,
    names,
    node,
    over_connect,
    over_http,
)
from tests.routing.test_decisions import API

__all__ = ["directory", "names", "node"]

LIMITED = (
    f"apiVersion: {API}\nkind: DestinationRule\nmetadata: {{name: r}}\n"
    "spec: {host: '*.w.x', trafficPolicy: {connectionPool: {http: {http2MaxRequests: 5}}}}\n"
)


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("egressd.proxy.directory.MOST_BY_NAME", 20)
    monkeypatch.setattr("egressd.proxy.scope.MOST_NAMES", 60)


def watched(names: Answers) -> int:
    return sum(map(len, names._watchers.values()))


def slots_in_use(directory: Directory) -> int:
    return sum(one.cluster.admission.slot >= 0 for one in directory.clusters.values())


@pytest.mark.parametrize("resolution", ["NONE", "DYNAMIC_DNS"])
def test_names_below_a_wildcard(
    directory: Make, names: Answers, node: NodeState, resolution: str
) -> None:
    made = directory(by_name("*.w.x", resolution), LIMITED)
    for number in range(3000):  # more than the node has slots for limited clusters
        assert not over_http(made, f"n{number}.w.x").failure
    assert len(made.clusters) <= 25
    assert watched(names) <= 25
    assert slots_in_use(made) == len(made.clusters)
    assert len(made.entries()) <= 60


def test_names_that_nothing_claims(directory: Make, names: Answers) -> None:
    made = directory(allow_any=True)
    for number in range(300):
        over_http(made, f"n{number}.y")
        over_connect(made, f"c{number}.y")
    assert len(made.clusters) <= 25
    assert watched(names) <= 25


def test_a_name_in_use_keeps_its_cluster(directory: Make) -> None:
    made = directory(by_name("*.w.x"))
    used, under_way = over_http(made, "used.w.x"), over_http(made, "under-way.w.x")
    lease = Lease(under_way.pool, under_way.stats)
    for number in range(300):
        over_http(made, f"n{number}.w.x")
        used.used = monotonic()
    assert over_http(made, "used.w.x") is used
    assert over_http(made, "under-way.w.x") is under_way
    lease.release()


@pytest.mark.parametrize("allow_any", [False, True])
def test_a_name_whose_cluster_was_dropped_has_a_new_one(directory: Make, allow_any: bool) -> None:
    made = directory(*([] if allow_any else [by_name("*.w.x")]), allow_any=allow_any)
    spellings = ["a.w.x", "A.w.x", "a.w.x."]
    first = {over_http(made, spelling) for spelling in spellings}
    assert len(first) == 1
    for number in range(40):
        over_http(made, f"n{number}.w.x")
    again = {over_http(made, spelling) for spelling in spellings}
    assert len(again) == 1 and not first & again
    (runtime,) = again
    assert not runtime.failure and runtime.cluster.spec.endpoints[0].address == "a.w.x"
