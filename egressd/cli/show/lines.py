"""Lines of text for a terminal, each with the style that its beginning asks for."""

from __future__ import annotations

from rich.text import Text

from egressd.cli.show.style import StyleOf, line_style


def lines(text: str, style_of: StyleOf = line_style) -> Text:
    """A text whose lines fit already."""
    drawn = Text(no_wrap=True, overflow="ignore")
    for number, line in enumerate(text.split("\n")):
        if number:
            drawn.append("\n")
        drawn.append(line, style=style_of(line))
    return drawn
