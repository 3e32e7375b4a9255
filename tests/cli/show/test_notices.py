"""Errors and findings on terminals of any width, and on pipes."""

from __future__ import annotations

import io
import sys

import pytest

from egressd.analysis.finding import CODES, Finding
from egressd.api.counted import counted
from egressd.api.resource import Place, Problem, Severity
from egressd.cli import output
from egressd.cli.screen import Screen, draw, is_coloured
from egressd.cli.show.notice import most_urgent_first, of_finding, of_problem
from egressd.cli.show.notices import notices

PROBLEM = Problem(
    place=Place("resources/reviews.yaml", 12, 3),
    resource="VirtualService/default/reviews",
    field="spec.http[0].match[0].uri",
    found='string "/foo"',
    expected='a mapping such as uri: {prefix: "/foo"}',
)
WARNING = Problem(severity=Severity.WARNING, place=Place("a.yaml", 1), found="x")
FINDING = Finding(
    code="EG0101",
    severity=Severity.ERROR,
    place=Place("a.yaml", 4),
    resource="VirtualService/default/reviews",
    field="spec.http[0].route[0].destination.host",
    found="nowhere.example",
    fix=CODES["EG0101"].fix,
)
FOUND = [of_problem(PROBLEM), of_finding(FINDING)]


@pytest.mark.parametrize("has_colour", [True, False])
@pytest.mark.parametrize("width", [40, 80, 200])
def test_place_what_and_what_to_do_stand_below_each_other(width: int, has_colour: bool) -> None:
    drawn = draw(notices(FOUND), Screen(width, 24, has_colour))
    assert ("\x1b[" in drawn) == has_colour
    plain = draw(notices(FOUND), Screen(width, 24, False))
    assert all(len(line) <= width for line in plain.splitlines())
    places = [plain.index(part) for part in ("reviews.yaml:12:3", 'found string "/foo"', "->")]
    assert places == sorted(places)
    assert "EG0101 destination without" in plain


def test_errors_come_before_warnings() -> None:
    found = most_urgent_first([of_problem(WARNING), of_problem(PROBLEM), of_problem(WARNING)])
    assert [one.severity for one in found] == ["error", "warning", "warning"]


def test_a_pipe_has_each_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_problems([WARNING, PROBLEM])
    assert capsys.readouterr().out == f"{PROBLEM}\n{WARNING}\n"


def test_rich_is_not_imported_for_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    """`None` in `sys.modules` makes an import of it fail."""
    for name in ("rich", "rich.console", "rich.table", "rich.text"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    output.print_problems([PROBLEM])
    output.print_findings([FINDING])
    output.print_table(["A", "B"], [["1", "2"]])
    output.print_report("ALARM")
    output.print_diff("+a")
    output.print_explanation(lambda width: "x")
    output.echo("x" * 300)
    assert max(map(len, sys.stdout.getvalue().splitlines())) == 300  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("environ", "expected"),
    [
        ({"TERM": "xterm-256color"}, True),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "dumb"}, False),
        ({}, False),
    ],
)
def test_when_there_is_colour(environ: dict[str, str], expected: bool) -> None:
    assert is_coloured(environ) is expected


@pytest.mark.parametrize(
    ("number", "noun", "shown"),
    [
        (0, "error", "0 errors"),
        (1, "error", "1 error"),
        (2, "warning", "2 warnings"),
        (1, "entry", "1 entry"),
        (3, "entry", "3 entries"),
    ],
)
def test_numbers_agree_with_their_nouns(number: int, noun: str, shown: str) -> None:
    assert counted(number, noun) == shown
