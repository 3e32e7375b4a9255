"""What a refused resource means for traffic."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest

from egressd.api.resource import Place, Problem, Severity
from egressd.node.standing import with_standing
from egressd.registry.records import Record
from tests.registry.test_merge import records, service

KNOWN = records("one", service("a"), origin="/r/a.yaml")
REF = "ServiceEntry/default/a"


@pytest.mark.parametrize(
    ("place", "ref", "severity", "said"),
    [
        ("/r/a.yaml", REF, Severity.ERROR, "x; the version before stays in force"),
        ("/r/other.yaml", REF, Severity.ERROR, "x; the version before stays in force"),
        (
            "/r/a.yaml",
            "ServiceEntry/default/new",
            Severity.ERROR,
            "x; it is not in force, and what /r/a.yaml held before stays",
        ),
        (
            "/r/a.yaml",
            "",
            Severity.ERROR,
            "x; it is not in force, and what /r/a.yaml held before stays",
        ),
        (
            "/r/b.yaml",
            "ServiceEntry/default/b",
            Severity.ERROR,
            "x; it is not in force, nor was it before",
        ),
        ("/r/b.yaml", "", Severity.ERROR, "x"),
        ("/r/a.yaml", REF, Severity.WARNING, "x"),
    ],
)
def test_what_is_in_force_instead(place: str, ref: str, severity: Severity, said: str) -> None:
    problem = Problem(severity=severity, place=Place(place), resource=ref, found="y", expected="x")
    (found,) = with_standing([problem], lambda: KNOWN)
    assert found == msgspec.structs.replace(problem, expected=said)


def test_what_is_in_force_is_asked_for_only_where_something_is_refused() -> None:
    def known() -> Iterable[Record]:
        raise AssertionError

    warning = Problem(severity=Severity.WARNING, found="y")
    assert with_standing([warning], known) == (warning,)
