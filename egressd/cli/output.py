"""What commands print: the one way out, on which the secrets of URLs and headers stay behind.

A terminal gets what fits it, a pipe plain lines that stay the same whatever the width. Only what is
written to be applied again (`egressd get -o yaml`, `-o json`) is printed as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

import click
import msgspec

from egressd.api.resource import Problem
from egressd.api.secret import redact, redact_within
from egressd.cli.screen import Screen, draw, find_screen
from egressd.cli.show.fold import fold
from egressd.cli.show.layout import plain_lines
from egressd.cli.show.notice import Notice, most_urgent_first, of_finding, of_problem
from egressd.cli.show.style import StyleOf, diff_style, line_style, step_style

if TYPE_CHECKING:
    from rich.console import RenderableType

    from egressd.analysis.finding import Finding


def echo(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """A text for people, folded at spaces where a terminal is too narrow for it."""
    click.echo(folded(redact(text), err=err), err=err, nl=nl)


def folded(text: str, *, err: bool = False) -> str:
    """A text as `echo` folds it."""
    screen = find_screen(err=err)
    return text if screen is None else fold(text, screen.width)


def print_text(text: str) -> None:
    """A text whose line ends mean something, such as YAML: never folded."""
    click.echo(redact(text))


def print_report(text: str) -> None:
    """Lines of which some must not be overlooked."""
    _print_lines(text, line_style)


def print_diff(text: str) -> None:
    """A unified diff: never folded, it may be applied."""
    _print_lines(text, diff_style, is_folded=False)


def print_explanation(render: Callable[[int], str]) -> None:
    """An explanation, by what renders it for a width; 0: lines as long as they are."""
    screen = find_screen()
    _print_lines(render(screen.width if screen else 0).rstrip("\n"), step_style, is_folded=False)


def _print_lines(text: str, style_of: StyleOf, *, is_folded: bool = True) -> None:
    text = redact(text)
    screen = find_screen()
    if screen is None:
        click.echo(text)
        return
    from egressd.cli.show.lines import lines

    _draw(lines(fold(text, screen.width) if is_folded else text, style_of), screen)


def print_notices(notices: Iterable[Notice], *, err: bool = False) -> None:
    """Errors, findings, warnings: the most urgent first."""
    found = most_urgent_first(notices)
    screen = find_screen(err=err)
    if screen is None:
        for notice in found:
            click.echo(redact(notice.line), err=err)
    elif found:
        from egressd.cli.show.notices import notices as drawn

        _draw(drawn([_redacted(notice) for notice in found]), screen, err=err)


def print_problems(problems: Iterable[Problem], *, err: bool = False) -> None:
    """Problems of files and resources."""
    print_notices(map(of_problem, problems), err=err)


def print_findings(findings: Iterable[Finding]) -> None:
    """Findings of the analysis."""
    print_notices(map(of_finding, findings))


def print_json(value: object) -> None:
    """For programs."""
    plain = redact_within(msgspec.to_builtins(value, str_keys=True))
    click.echo(msgspec.json.format(msgspec.json.encode(plain)))


def print_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """For people; a pipe has every row in one line."""
    shown = [[redact(cell) for cell in row] for row in rows]
    screen = find_screen()
    if screen is None:
        click.echo("\n".join(plain_lines(head, shown)))
        return
    from egressd.cli.show.table import table

    _draw(table(head, shown, screen.width), screen)


def _draw(drawn: RenderableType, screen: Screen, *, err: bool = False) -> None:
    click.echo(draw(drawn, screen), err=err, color=True)


def _redacted(notice: Notice) -> Notice:
    return notice._replace(what=redact(notice.what), fix=redact(notice.fix))
