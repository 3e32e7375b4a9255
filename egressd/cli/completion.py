"""`egressd completion`: what a shell reads to complete commands and options."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

PROGRAM: Final = "egressd"
PLACES: Final = {
    "bash": "usr/share/bash-completion/completions/egressd",
    "zsh": "usr/share/zsh/vendor-completions/_egressd",
    "fish": "usr/share/fish/vendor_completions.d/egressd.fish",
}
"""Where each shell looks for files that came with a program (Debian's path for zsh)."""


def completion_text(shell: str, command: click.Command) -> str:
    """The script of one of the shells of `PLACES`; no shell is started for it."""
    kind = get_completion_class(shell)
    assert kind is not None, shell
    complete = kind(command, {}, PROGRAM, f"_{PROGRAM.upper()}_COMPLETE")
    return f"{(complete.source_template % complete.source_vars()).strip()}\n"


@click.command()
@click.argument("shell", type=click.Choice(list(PLACES)))
@click.pass_context
def completion(ctx: click.Context, shell: str) -> None:
    """Print the completion script of a shell. `egressd install` lays it for all users.

    \b
    eval "$(egressd completion bash)"        # in ~/.bashrc
    source <(egressd completion zsh)         # in ~/.zshrc
    egressd completion fish | source         # in config.fish
    """
    click.echo(completion_text(shell, ctx.find_root().command), nl=False)
