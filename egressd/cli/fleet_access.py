"""How the commands reach the fleet's resources: which store, which files, which resources."""

from __future__ import annotations

import functools
import getpass
import os
import socket
import sys
import time
from collections.abc import Awaitable, Callable, Iterator
from importlib.metadata import entry_points
from pathlib import Path
from typing import TypeVar

import click
import trio

from egressd.api.nearest import nearest
from egressd.api.parse import parse_text
from egressd.api.resource import Kind, Problem, Resource, Severity
from egressd.cli.ignore_kinds import ignore_kinds_option, ignored_kinds
from egressd.cli.node_access import given_options, load_node, parse_files, resource_files
from egressd.cli.options import node_options
from egressd.cli.output import echo, print_json, print_problems
from egressd.cli.registry_access import find_surroundings
from egressd.fleet.change import Action, Change
from egressd.fleet.client import FleetClient, Outcome
from egressd.fleet.commit import Note
from egressd.fleet.config import FleetConfig, read_config
from egressd.fleet.errors import FleetError, Refused
from egressd.node.bootstrap_model import AdapterConfig
from egressd.registry.adapter import AdapterConfigError
from egressd.registry.keyvalue import ENTRY_POINT_GROUP, KeyValueError

T = TypeVar("T")
Decorator = Callable[[Callable[..., None]], Callable[..., None]]
ADAPTER_TYPE = "fleet"
_SHORT = {
    "vs": Kind.VIRTUAL_SERVICE,
    "dr": Kind.DESTINATION_RULE,
    "se": Kind.SERVICE_ENTRY,
    "we": Kind.WORKLOAD_ENTRY,
    "gw": Kind.GATEWAY,
    "ap": Kind.AUTHORIZATION_POLICY,
}


def fleet_options(function: Callable[..., None]) -> Callable[..., None]:
    """Which store is meant: that of the node's `fleet` adapter, or a named one. The command gets it as
    `fleet`, a `FleetConfig`."""

    @functools.wraps(function)
    def with_fleet(
        *,
        bootstrap_path: Path | None,
        store: str | None,
        prefix: str | None,
        store_options: tuple[str, ...],
        **arguments: object,
    ) -> None:
        fleet = _find_fleet(bootstrap_path, store, prefix, store_options)
        function(fleet=fleet, **arguments)

    options: tuple[Decorator, ...] = (
        click.option(
            "--store-option",
            "store_options",
            multiple=True,
            metavar="NAME=VALUE",
            help="An option of the store; VALUE is YAML.",
        ),
        click.option(
            "--prefix",
            envvar="EGRESSD_FLEET_PREFIX",
            show_envvar=True,
            help="Where in the store.",
        ),
        click.option(
            "--store",
            envvar="EGRESSD_FLEET_STORE",
            show_envvar=True,
            help="A fleet adapter of the bootstrap by name, where it has several; or etcd, consul.",
        ),
        node_options,
    )
    command: Callable[..., None] = with_fleet
    for option in options:
        command = option(command)
    return command


_file_option = click.option(
    "-f",
    "--filename",
    "paths",
    multiple=True,
    metavar="FILE|DIR|-",
    help="Resources; - is standard input. May be repeated.",
)


def file_option(function: Callable[..., None]) -> Callable[..., None]:
    """`-f`, and what to skip of what it names."""
    return _file_option(ignore_kinds_option(function))


namespace_option = click.option("-n", "--namespace", help="Of the resources.")
message_option = click.option("-m", "--message", default="", help="Why, for the history.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Check only, write nothing.")


def _find_fleet(
    bootstrap_path: Path | None, store: str | None, prefix: str | None, given: tuple[str, ...]
) -> FleetConfig:
    """The store that the options name, else that of the bootstrap's fleet adapter."""
    if store in {point.name for point in entry_points(group=ENTRY_POINT_GROUP)}:
        options: dict[str, object] = {"store": store}
    else:
        adapters = [a for a in load_node(bootstrap_path).adapters if a.type == ADAPTER_TYPE]
        options = dict(_named(adapters, store).options)
    if prefix is not None:
        options["prefix"] = prefix
    inner = {**_mapping(options.get("options")), **given_options("--store-option", given)}
    try:
        return read_config({**options, "options": inner})
    except AdapterConfigError as error:
        raise click.ClickException(str(error)) from None


def _named(adapters: list[AdapterConfig], name: str | None) -> AdapterConfig:
    """The fleet adapter of a name; without a name the only one."""
    chosen = [a for a in adapters if name in (None, a.source)]
    if len(chosen) == 1:
        return chosen[0]
    if not adapters:
        found = "no fleet adapter"
    else:
        found = f"the fleet adapters {', '.join(a.source for a in adapters)}"
    raise click.UsageError(
        f"found {found} in the node's bootstrap, expected one{f' named {name}' if name else ''}: "
        "name it with --store, or another store with --store etcd|consul and --store-option"
    )


def _mapping(value: object) -> dict[str, object]:
    return {str(k): v for k, v in value.items()} if isinstance(value, dict) else {}


def ask_fleet(config: FleetConfig, question: Callable[[FleetClient], Awaitable[T]]) -> T:
    """The answer of the store; whatever goes wrong ends the command with its message."""

    async def ask() -> T:
        store = config.open()
        try:
            return await question(FleetClient(store, config.layout, beside))
        finally:
            with trio.CancelScope(shield=True):
                await store.aclose()

    try:
        return trio.run(ask)
    except Refused as error:
        print_problems(error.problems, err=True)
        raise click.ClickException(_noted("refused", error, "nothing was written")) from None
    except (AdapterConfigError, FleetError, KeyValueError) as error:
        raise click.ClickException(_noted(str(error), error)) from None


def beside() -> Iterator[Resource]:
    """What the command's node has beside the fleet's resources."""
    named = click.get_current_context().params.get("bootstrap_path")
    return find_surroundings(named).resources()


def _noted(said: str, error: Exception, otherwise: str = "") -> str:
    notes = getattr(error, "__notes__", None) or ([otherwise] if otherwise else [])
    return "; ".join((said, *notes))


def read_resources(paths: tuple[str, ...]) -> list[Resource]:
    """The resources of files, directories and standard input. Refuses all when one is not valid, or when
    a file is blank: it is being written, and what it should say is not known."""
    if not paths:
        raise click.UsageError("name resources with -f FILE")
    resources: list[Resource] = []
    problems: list[Problem] = []
    files = [Path(path) for path in paths if path != "-"]
    for file in files:
        if not file.exists():
            raise click.UsageError(f"-f {file}: no such file")
    _refuse_blank(files)
    if "-" in paths:
        parsed = parse_text(sys.stdin.read(), "stdin", ignored_kinds())
        resources += parsed.resources
        problems += parsed.problems
    found, faults = parse_files(files)
    resources += found
    problems += faults
    print_problems(problems, err=True)
    if any(problem.severity is Severity.ERROR for problem in problems):
        raise click.ClickException("refused; nothing was written")
    if not resources:
        raise click.ClickException("no resources in what was given")
    return resources


def _refuse_blank(paths: list[Path]) -> None:
    for file in resource_files(paths):
        try:
            is_blank = file.is_file() and not file.read_bytes().strip()
        except OSError:
            continue  # who parses it says why
        if is_blank:
            raise click.ClickException(
                f"{file}: found an empty file, expected resources; nothing was written"
            )


def read_kind(text: str) -> Kind:
    """A kind as kubectl takes it: any case, plural or short. Raises `click.UsageError`."""
    plain = text.lower()
    names = {**_SHORT, **{kind.lower(): kind for kind in Kind}}
    for singular in (plain, plain.removesuffix("s"), f"{plain.removesuffix('ies')}y"):
        if singular in names:
            return names[singular]
    near = nearest(plain, list(Kind))
    expected = f"did you mean {near}?" if near else f"there are {', '.join(Kind)}"
    raise click.UsageError(f"{text}: no such kind; {expected}")


def note(message: str) -> Note:
    """Who changes, and when: now."""
    user = os.environ.get("SUDO_USER") or getpass.getuser()
    return Note(f"{user}@{socket.gethostname()}", time.time(), message)


def print_outcome(outcome: Outcome, output: str, *, dry_run: bool) -> None:
    """What a change came to, a line a resource."""
    if output == "json":
        print_json(
            {
                "version": outcome.version,
                "dryRun": dry_run,
                "changes": [{"resource": c.ref, "action": c.action} for c in outcome.changes],
                "warnings": outcome.warnings,
            }
        )
        return
    print_problems(outcome.warnings, err=True)
    mark = " (dry run)" if dry_run else ""
    for change in outcome.changes:
        echo(f"{shown_ref(change)} {change.action}{mark}")
    if not dry_run and any(c.action is not Action.UNCHANGED for c in outcome.changes):
        echo(f"fleet version {outcome.version}")


def shown_ref(change: Change) -> str:
    """A resource as kubectl prints it: the kind in lower case."""
    kind, _, rest = change.ref.partition("/")
    return f"{kind.lower()}/{rest}"
