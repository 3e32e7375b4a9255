"""The form that a table takes in a width."""

from __future__ import annotations

import pytest

from egressd.cli.screen import Screen, draw
from egressd.cli.show.layout import Form, choose_form, column_widths, plain_lines
from egressd.cli.show.table import table

HEAD = ["CLUSTER IN USE", "ENDPOINT", "HEALTH", "REQUESTS", "FAILED", "ACTIVE", "EJECTIONS"]
CLUSTER = "outbound|80|v1|reviews.example"
ROWS = [
    [CLUSTER, "192.168.100.11:8080", "ejected, 12.5 s left", "10000", "12", "3", "2"],
    [CLUSTER, "192.168.100.12:8080", "healthy", "10000", "0", "3", "0"],
]
PROSE = [["consul", "no answer from http://10.0.0.1:8500 within 5 s, asked again in a while"]]


@pytest.mark.parametrize(
    ("head", "rows", "width", "form"),
    [
        (HEAD, ROWS, 200, Form.COLUMNS),
        (HEAD, ROWS, 80, Form.GROUPED),
        (HEAD, ROWS, 40, Form.RECORDS),
        (["SOURCE", "STATE"], PROSE, 200, Form.COLUMNS),
        (["SOURCE", "STATE"], PROSE, 40, Form.FOLDED),
        (["SOURCE", "STATE"], [], 40, Form.COLUMNS),
    ],
)
def test_the_form_follows_the_width(
    head: list[str], rows: list[list[str]], width: int, form: Form
) -> None:
    assert choose_form(head, rows, width) is form


@pytest.mark.parametrize("has_colour", [True, False])
@pytest.mark.parametrize("width", [20, 40, 80, 200])
@pytest.mark.parametrize(("head", "rows"), [(HEAD, ROWS), (["SOURCE", "STATE"], PROSE), (HEAD, [])])
def test_a_table_fits_and_loses_nothing(
    head: list[str], rows: list[list[str]], width: int, has_colour: bool
) -> None:
    drawn = draw(table(head, rows, width), Screen(width, 24, has_colour))
    assert ("\x1b[" in drawn) == has_colour or not rows
    plain = draw(table(head, rows, width), Screen(width, 24, False))
    assert all(len(line) <= width for line in plain.splitlines())
    joined = "".join(plain.split())
    for row in rows:
        assert all("".join(cell.split()) in joined for cell in row)


def test_an_ejected_endpoint_is_seen() -> None:
    drawn = draw(table(HEAD, ROWS, 200), Screen(200, 24, True))
    assert "\x1b[31mejected" in drawn
    assert "\x1b[32mhealthy" in drawn


def test_columns_give_way_at_spaces_alone() -> None:
    widths = column_widths(["SOURCE", "STATE"], PROSE, 40)
    assert sum(widths) + 2 == 40
    assert widths[0] == len("consul")
    assert widths[1] >= len("http://10.0.0.1:8500")


def test_a_pipe_has_each_row_in_a_line() -> None:
    lines = plain_lines(HEAD, ROWS)
    assert len(lines) == 3
    assert lines[2].split() == ROWS[1]
