"""Which form a table takes in a width: columns, folded columns, groups, or a record a row. Pure."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

GAP = 2
"""Spaces between two columns."""
INDENT = 2
"""Of what belongs to a heading."""
_FOLDED_MOST = 4
"""Lines that a cell may become; a table of higher cells cannot be read across."""

Row = Sequence[str]


class Form(enum.Enum):
    """The forms, from the one that is wanted to the one that fits anywhere."""

    COLUMNS = "columns"  # every row a line
    FOLDED = "folded"  # cells broken at spaces
    GROUPED = "grouped"  # the first column as headings, the others as a table below each
    RECORDS = "records"  # a heading a row, and a line a cell


class Group(NamedTuple):
    """Rows that have the same first cell, without it."""

    heading: str
    rows: tuple[Row, ...]


def choose_form(head: Row, rows: Sequence[Row], width: int) -> Form:
    """The first form of which no word must be broken."""
    if _natural(head, rows) <= width:
        return Form.COLUMNS
    rest = [row[1:] for row in rows]
    has_groups = len(head) > 2 and len(grouped(rows)) < len(rows)
    if has_groups and _natural(head[1:], rest) <= width - INDENT:
        return Form.GROUPED
    if _folds(head, rows, width):
        return Form.FOLDED
    if len(head) > 2 and _folds(head[1:], rest, width - INDENT):
        return Form.GROUPED
    return Form.RECORDS


def grouped(rows: Sequence[Row]) -> list[Group]:
    """Neighbouring rows of one first cell together."""
    return [
        Group(heading, tuple(row[1:] for row in of_it))
        for heading, of_it in groupby(rows, key=lambda row: row[0])
    ]


def plain_lines(head: Row, rows: Sequence[Row]) -> list[str]:
    """The table as pipes have it: columns of even width, however long."""
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in (head, *rows)
    ]


def column_widths(head: Row, rows: Sequence[Row], width: int) -> list[int]:
    """The width of each column: what it wants, those with the most to fold giving way first."""
    columns = list(zip(head, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    floors = [_longest_word(column) for column in columns]
    excess = sum(widths) + GAP * (len(widths) - 1) - width
    while excess > 0:
        can = [at for at in range(len(widths)) if widths[at] > floors[at]]
        if not can:
            break
        widest = max(can, key=lambda at: widths[at] - floors[at])
        widths[widest] -= 1
        excess -= 1
    return widths


def _natural(head: Row, rows: Sequence[Row]) -> int:
    columns = list(zip(head, *rows, strict=True))
    return sum(max(map(len, column)) for column in columns) + GAP * (len(columns) - 1)


def _folds(head: Row, rows: Sequence[Row], width: int) -> bool:
    """Whether it fits with cells broken at spaces, none into more lines than can be read across."""
    widths = column_widths(head, rows, width)
    if sum(widths) + GAP * (len(widths) - 1) > width:
        return False
    return all(
        len(cell) <= _FOLDED_MOST * wide
        for row in rows
        for cell, wide in zip(row, widths, strict=True)
    )


def _longest_word(cells: Sequence[str]) -> int:
    return max((len(word) for cell in cells for word in cell.split()), default=1)
