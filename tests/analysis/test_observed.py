"""What the node has seen, as findings."""

from __future__ import annotations

import pytest

from egressd.analysis.analyze import analyze
from egressd.analysis.observed import Seen
from egressd.analysis.surroundings import alone
from egressd.api.parse import parse_text
from egressd.routing.table import ClusterKey
from tests.analysis.texts import NODE, NOW, entry, rule

KEY = ClusterKey("a.example", "", 80)


def found(documents: list[str], *seen: Seen) -> list[tuple[str, str, str]]:
    records = alone(parse_text("---\n".join(documents), "test.yaml").resources)
    listed = analyze(records, NOW, NODE, seen=seen)
    return [(one.code, one.resource, one.field) for one in listed]


@pytest.mark.parametrize(
    ("tls_answers", "unanswered", "requests", "failures", "is_found"),
    [
        (1, 0, 9, 1, True),
        (0, 3, 3, 3, True),
        (0, 3, 4, 3, False),  # it answers, at times
        (0, 0, 3, 3, False),  # refused connections say nothing of TLS
        (0, 0, 0, 0, False),
    ],
)
def test_a_plain_port_that_answers_as_tls_does_is_found(
    tls_answers: int, unanswered: int, requests: int, failures: int, is_found: bool
) -> None:
    seen = Seen(KEY, tls_answers, unanswered, requests, failures)
    expected = [("EG0508", "ServiceEntry/default/a", "spec.ports[0]")] if is_found else []
    assert found([entry("a")], seen) == expected


def test_it_is_found_only_of_what_the_resources_still_call_in_plain() -> None:
    seen = Seen(KEY, 1, 0, 1, 1)
    assert found([entry("b")], seen) == []
    assert found([entry("a"), rule("a", "trafficPolicy: {tls: {mode: SIMPLE}}")], seen) == []
    other = Seen(ClusterKey("a.example", "v1", 80), 1, 0, 1, 1)
    assert len(found([entry("a")], seen, other)) == 1  # once a port, however many clusters
