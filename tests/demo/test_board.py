"""What the demo shows, and when it may clear the screen."""

from __future__ import annotations

from collections import Counter

from egressd.admin.state import ClusterView, EndpointView
from egressd.demo.board import INTRODUCTION, board, fits, things_to_try
from egressd.demo.traffic import Seen


def _endpoint(name: str, *, healthy: bool) -> EndpointView:
    return EndpointView(name, "", 1, healthy, 0.0 if healthy else 1.5, 2, 0, 0, 100000, 5000, 1)


def _cluster(name: str, *endpoints: EndpointView) -> ClusterView:
    return ClusterView(name, "", "", 80, "", "", "", (), "", endpoints)


SEEN = Seen(
    Counter(
        {
            ("shop.demo", "v1"): 90000,
            ("shop.demo", "v2"): 10000,
            ("shop.demo x-tester", "v2"): 100000,
            ("secure.demo", "tls"): 100000,
            ("flaky.demo", "v1"): 100000,
            ("flaky.demo", "flaky"): 1000,
            ("flaky.demo", "500"): 1000,
        }
    )
)
CLUSTERS = [
    _cluster("outbound|80||flaky.demo", _endpoint("127.0.0.1:40001", healthy=True),
             _endpoint("127.0.0.1:40002", healthy=False)),
    _cluster("outbound|80||secure.demo", _endpoint("127.0.0.1:40003", healthy=True)),
    _cluster("outbound|80|v1|shop.demo", _endpoint("127.0.0.1:40004", healthy=True)),
    _cluster("outbound|80|v2|shop.demo", _endpoint("127.0.0.1:40005", healthy=True)),
]  # fmt: skip


def test_all_of_it_fits_the_smallest_usual_terminal() -> None:
    whole = [
        *board(SEEN, CLUSTERS),
        "",
        *things_to_try(40000, "/tmp/egressd-demo-12345678/egressd"),
    ]
    assert fits(whole, 80, 24)
    assert not fits(whole, 40, 12)
    assert not fits(whole, 80, len(whole))
    assert all(len(line) <= 90 for line in INTRODUCTION.splitlines())


def test_what_to_try_is_quoted_for_a_shell() -> None:
    lines = things_to_try(1, "/tmp/a b/egressd")
    assert "  sh '/tmp/a b/egressd' status" in lines
