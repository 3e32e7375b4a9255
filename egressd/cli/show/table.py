"""Tables for a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from egressd.cli.show.layout import GAP, INDENT, Form, Row, choose_form, column_widths, grouped
from egressd.cli.show.style import HEAD, cell_style


def table(head: Row, rows: Sequence[Row], width: int) -> RenderableType:
    """The rows under their heads, in the form that the width allows."""
    form = choose_form(head, rows, width)
    if form is Form.RECORDS:
        return Group(*(_record(head, row) for row in rows)) if rows else Text(" ".join(head))
    if form is not Form.GROUPED:
        return _columns(head, rows, width)
    rest = [row[1:] for row in rows]
    widths = column_widths(head[1:], rest, width - INDENT)
    parts: list[RenderableType] = [
        Text(head[0], style=HEAD),
        Padding(_grid(widths, [head[1:]], HEAD), (0, 0, 0, INDENT)),
    ]
    for group in grouped(rows):
        parts.append(Text(group.heading, style="bold", overflow="fold"))
        parts.append(Padding(_grid(widths, group.rows), (0, 0, 0, INDENT)))
    return Group(*parts)


def _columns(head: Row, rows: Sequence[Row], width: int) -> RenderableType:
    widths = column_widths(head, rows, width)
    return Group(_grid(widths, [head], HEAD), _grid(widths, rows))


def _grid(widths: Sequence[int], rows: Sequence[Row], style: str = "") -> Table:
    """Cells at given widths, without lines between them."""
    grid = Table.grid(padding=(0, GAP, 0, 0))
    for width in widths:
        grid.add_column(width=width, overflow="fold")
    for row in rows:
        grid.add_row(*(Text(cell, style=style or cell_style(cell)) for cell in row))
    return grid


def _record(head: Row, row: Row) -> RenderableType:
    """A row that no line holds: its first cell, and the others by their heads below it."""
    lines: list[RenderableType] = [Text(row[0] or "-", style="bold", overflow="fold")]
    for name, cell in zip(head[1:], row[1:], strict=True):
        if cell in ("", "-"):
            continue
        line = Text(overflow="fold")
        line.append(f"{name.lower()} ", style=HEAD)
        line.append(cell, style=cell_style(cell))
        lines.append(Padding(line, (0, 0, 0, INDENT)))
    return Group(*lines)
