"""`--ignore-kinds`: kinds that are none of egressd's, in directories shared with Kubernetes."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import click

from egressd.api.other_kinds import ALL, NOTHING, OtherKinds, kinds_named

F = TypeVar("F", bound=Callable[..., object])
FLAG = "--ignore-kinds"
_META = "egressd.ignore_kinds"
_KINDS = re.compile(r"\*|[A-Z][A-Za-z0-9]*(,[A-Z][A-Za-z0-9]*)*")


def ignore_kinds_option(function: F) -> F:
    """The option; `ignored_kinds` has what it says."""
    return click.option(
        FLAG,
        multiple=True,
        metavar="[KIND,...]",
        expose_value=False,
        callback=_keep,
        help="Skip resources of these kinds; without KIND those of all API groups but Istio's.",
    )(function)


def _keep(context: click.Context, parameter: click.Parameter, given: Sequence[str]) -> None:
    context.meta[_META] = kinds_named(given)


def ignored_kinds() -> OtherKinds:
    """What the running command was told to skip."""
    context = click.get_current_context(silent=True)
    found = context.meta.get(_META) if context is not None else None
    return found if isinstance(found, OtherKinds) else NOTHING


def spelled_out(args: Sequence[str]) -> list[str]:
    """Arguments in which the option always has its value: what follows it may be a path."""
    found = list(args)
    for at, (one, following) in enumerate(zip(args, [*args[1:], ""], strict=True)):
        is_kinds = _KINDS.fullmatch(following) and not Path(following).exists()
        if one == FLAG and not is_kinds:
            found[at] = f"{FLAG}={ALL}"
    return found
