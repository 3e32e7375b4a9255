"""What commands print: the one way out, on which the secrets of URLs and headers stay behind.

Only what is written to be applied again (`egressd get -o yaml`, `-o json`) is printed as it is.
"""

from __future__ import annotations

import click
import msgspec

from egressd.api.secret import redact, redact_within


def echo(text: str = "", *, err: bool = False, nl: bool = True) -> None:
    """A text for people."""
    click.echo(redact(text), err=err, nl=nl)


def print_json(value: object) -> None:
    """For programs."""
    plain = redact_within(msgspec.to_builtins(value, str_keys=True))
    click.echo(msgspec.json.format(msgspec.json.encode(plain)))


def print_table(head: list[str], rows: list[list[str]]) -> None:
    """For people."""
    rows = [[redact(cell) for cell in row] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(head, *rows, strict=True)]
    for row in (head, *rows):
        line = "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo(line.rstrip())
