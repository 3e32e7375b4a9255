"""What standard output or standard error is: a terminal with a width and perhaps colours, or not one.

`rich` is imported where something is drawn for a terminal, and nowhere else: a pipe does without it.
"""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple, TextIO

if TYPE_CHECKING:
    from rich.console import RenderableType

_LEAST = 20


class Screen(NamedTuple):
    """A terminal. `width` in columns."""

    width: int
    height: int
    has_colour: bool


def find_screen(*, err: bool = False) -> Screen | None:
    """The terminal that standard output (or error) is; None: a file or a pipe."""
    stream = sys.stderr if err else sys.stdout
    try:
        is_terminal = stream.isatty()
    except (AttributeError, ValueError):
        return None
    return _screen_of(stream, os.environ) if is_terminal else None


def _screen_of(stream: TextIO, environ: Mapping[str, str]) -> Screen:
    try:
        columns, height = os.get_terminal_size(stream.fileno())
    except (OSError, ValueError):
        columns, height = 0, 0
    named = environ.get("COLUMNS", "")
    width = int(named) if named.isdecimal() and int(named) else columns or 80
    return Screen(max(width, _LEAST), height or 24, is_coloured(environ))


def is_coloured(environ: Mapping[str, str]) -> bool:
    """Whether a terminal is drawn in colour (https://no-color.org, and terminals that cannot)."""
    return not environ.get("NO_COLOR") and environ.get("TERM", "") not in ("", "dumb", "unknown")


def draw(drawn: RenderableType, screen: Screen) -> str:
    """The text with which a renderable appears on a terminal of this kind."""
    from rich.console import Console

    console = Console(
        file=io.StringIO(),
        width=screen.width,
        height=screen.height,
        force_terminal=True,
        color_system="standard" if screen.has_colour else None,
        highlight=False,
        markup=False,
        emoji=False,
        legacy_windows=False,
    )
    with console.capture() as captured:
        console.print(drawn)
    return "\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n"))
