"""Groups of commands whose help fits the terminal, and which know what a misspelt command was to be."""

from __future__ import annotations

import shutil
from collections.abc import Iterable

import click

from egressd.api.nearest import nearest

_WIDEST = 80
_CUTOFF = 0.6  # commands are short: two letters that change places are much of one
_STACKED_BELOW = 60  # columns: options and their help stand below each other


class FittingFormatter(click.HelpFormatter):
    """Help whose two columns become one where the terminal is narrow."""

    def write_dl(
        self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2
    ) -> None:
        """A list of terms, each with its meaning beside it, or below it."""
        if self.width >= _STACKED_BELOW:
            super().write_dl(rows, col_max, col_spacing)
            return
        for term, meaning in rows:
            self.write(f"{' ' * self.current_indent}{term}\n")
            with self.indentation():
                self.write_text(meaning)


class FittingContext(click.Context):
    """A context whose help fits the terminal."""

    formatter_class = FittingFormatter

    def make_formatter(self) -> click.HelpFormatter:
        """For help, as wide as the terminal and no wider than can be read."""
        width = min(shutil.get_terminal_size().columns, _WIDEST)
        return self.formatter_class(width=max(width - 2, 20))


class CommandGroup(click.Group):
    """A group of commands."""

    context_class = FittingContext

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a name."""
        return fitting(super().get_command(ctx, cmd_name))

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is asked for. Raises `click.UsageError`."""
        name = args[0]
        if name[:1] != "-" and self.get_command(ctx, name) is None:
            near = nearest(name, self.list_commands(ctx), _CUTOFF)
            meant = f"; did you mean {near}?" if near else ""
            raise click.UsageError(f"no such command: {name}{meant}", ctx)
        if any(one.startswith("--ignore") for one in args):
            from egressd.cli.ignore_kinds import spelled_out  # not loaded for `--help`

            args = spelled_out(args)
        return super().resolve_command(ctx, args)


def fitting(command: click.Command | None) -> click.Command | None:
    """The command, with help that fits the terminal."""
    if command is not None and command.context_class is click.Context:
        command.context_class = FittingContext
    return command
