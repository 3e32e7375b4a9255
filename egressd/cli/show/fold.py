"""Lines folded at spaces to a width. Pure, without `rich`."""

from __future__ import annotations

import textwrap

_LEAST = 20
_MORE = 2  # columns that a continuation stands further in


def fold(text: str, width: int) -> str:
    """Each line broken at spaces where it is longer than `width`, what is broken off a little further in
    than the line began. A word that is longer than the width stays whole: it may be a path to copy."""
    return "\n".join(_folded(line, max(width, _LEAST)) for line in text.split("\n"))


def _folded(line: str, width: int) -> str:
    if len(line) <= width:
        return line
    start = len(line) - len(line.lstrip())
    return "\n".join(
        textwrap.wrap(
            line,
            width,
            subsequent_indent=" " * min(start + _MORE, width // 2),
            break_long_words=False,
            break_on_hyphens=False,
        )
    )
