"""Options that several commands take. Light: `egressd run` imports this, and what it forks keeps it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from egressd.cli.ignore_kinds import ignore_kinds_option
from egressd.node.bootstrap import DEFAULT_PATH

F = TypeVar("F", bound=Callable[..., object])
BOOTSTRAP_VARIABLE = "EGRESSD_CONFIG"


def node_options(function: F) -> F:
    """`--bootstrap`: which node is meant."""
    return click.option(
        "--bootstrap",
        "bootstrap_path",
        type=click.Path(path_type=Path),
        envvar=BOOTSTRAP_VARIABLE,
        show_envvar=True,
        help=f"The node's bootstrap file.  [default: {DEFAULT_PATH}]",
    )(function)


def config_option(function: F) -> F:
    """`--config`: resources in files, in place of those of the running node."""
    option = click.option(
        "--config",
        type=click.Path(exists=True, path_type=Path),
        help="Resources: a file or directory, read offline.",
    )
    return option(ignore_kinds_option(function))


def output_option(function: F) -> F:
    """`-o json`."""
    return click.option(
        "-o",
        "--output",
        type=click.Choice(["table", "json"]),
        default="table",
        help="A table for people, JSON for programs.",
    )(function)
