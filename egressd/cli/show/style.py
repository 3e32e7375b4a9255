"""Which words are coloured, and how."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from egressd.api.resource import Severity

StyleOf = Callable[[str], str]
"""A line's style, by how it begins."""
HEAD: Final = "dim"
OF_SEVERITY: Final = {Severity.ERROR: "bold red", Severity.WARNING: "yellow"}
_BAD: Final = ("ejected", "rejects", "failed", "ALARM", "not ready", "dead")
_DOUBTFUL: Final = ("mass loss", "first sync", "behind", "not yet", "starting", "draining")
_GOOD: Final = ("healthy", "ok", "ready", "serving", "current", "in sync")


def cell_style(cell: str) -> str:
    """The style of a table's cell: states are coloured, all else is not."""
    if cell.startswith(_BAD):
        return "red"
    if cell.startswith(_DOUBTFUL):
        return "yellow"
    return "green" if cell in _GOOD else ""


def line_style(line: str) -> str:
    """The style of a line of a report."""
    if line.startswith(("ALARM", "error", "Error")):
        return "bold red"
    if line.startswith(("warning", "Warning", "last reload refused")):
        return "yellow"
    return ""


def diff_style(line: str) -> str:
    """The style of a line of a unified diff."""
    if line.startswith(("---", "+++")):
        return "bold"
    return {"+": "green", "-": "red", "@": "cyan"}.get(line[:1], "")


def step_style(line: str) -> str:
    """The style of a line of an explanation."""
    bare = line.lstrip()
    if bare.startswith("=>"):
        refused = any(word in bare for word in ("flag ", "closed"))
        return "bold red" if refused else "bold green"
    if bare.startswith("yes  "):
        return "green"
    if bare.startswith("no   "):
        return "dim"
    return "bold" if line[:1].isdigit() else ""
