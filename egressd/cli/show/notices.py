"""Errors, findings and warnings for a terminal: where, what, what to do, below each other."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from egressd.cli.show.layout import INDENT
from egressd.cli.show.notice import Notice
from egressd.cli.show.style import OF_SEVERITY


def notices(found: Iterable[Notice]) -> RenderableType:
    """All of them, one after the other."""
    return Group(*(_one(notice) for notice in found))


def _one(notice: Notice) -> RenderableType:
    style = OF_SEVERITY.get(notice.severity, "bold")
    first = Text(overflow="fold")
    first.append(str(notice.severity), style=style)
    if notice.title:
        first.append(f" {notice.title}", style="bold")
    where = [part for part in (notice.place, notice.subject, notice.field) if part]
    if where and not notice.title:
        first.append(f" {where.pop(0)}", style="bold")
    lines = [Text(part, style="cyan", overflow="fold") for part in where]
    lines += [Text(notice.what, overflow="fold")] if notice.what else []
    lines += [Text(f"-> {notice.fix}", style="green", overflow="fold")] if notice.fix else []
    return Group(first, *(Padding(line, (0, 0, 0, INDENT)) for line in lines))
