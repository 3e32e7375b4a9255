"""`egressd apply`, `diff` and `delete`: the fleet's resources as files say."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

import click

from egressd.analysis.removal import broken_without
from egressd.analysis.surroundings import alone
from egressd.cli.fleet_access import (
    ask_fleet,
    beside,
    dry_run_option,
    file_option,
    fleet_options,
    message_option,
    namespace_option,
    note,
    print_outcome,
    read_kind,
    read_resources,
)
from egressd.cli.options import output_option
from egressd.cli.output import print_diff
from egressd.fleet.change import Action, Change, plan_apply, plan_delete
from egressd.fleet.client import FleetClient, Outcome
from egressd.fleet.config import FleetConfig
from egressd.fleet.errors import Refused
from egressd.fleet.resource_set import ResourceSet


@click.command()
@file_option
@click.option("--prune", is_flag=True, help="Delete all other resources of the fleet.")
@message_option
@dry_run_option
@fleet_options
@output_option
def apply(
    paths: tuple[str, ...],
    prune: bool,
    message: str,
    dry_run: bool,
    fleet: FleetConfig,
    output: str,
) -> None:
    """Write resources for all nodes of the fleet.

    The whole set is checked as it would be; what is not valid is refused and nothing is written. A
    resource that states metadata.resourceVersion (`egressd get -o yaml`) overwrites that one only.

    \b
    egressd apply -f resources/
    egressd get vs reviews -n shop -o yaml | sed s/v1/v2/ | egressd apply -f -
    """
    resources = read_resources(paths)
    now = datetime.now(UTC)

    async def change(client: FleetClient) -> Outcome:
        def plan(base: ResourceSet) -> tuple[Change, ...]:
            return plan_apply(base, resources, now, prune=prune)

        return await client.change(plan, note(message), dry_run=dry_run)

    print_outcome(ask_fleet(fleet, change), output, dry_run=dry_run)


@click.command()
@file_option
@click.option("--prune", is_flag=True, help="As apply --prune would.")
@fleet_options
def diff(
    paths: tuple[str, ...],
    prune: bool,
    fleet: FleetConfig,
) -> None:
    """Show what `egressd apply` would change. Exit status 1 when there is a difference."""
    resources = read_resources(paths)

    async def plan(client: FleetClient) -> tuple[Change, ...]:
        return plan_apply(await client.read(), resources, datetime.now(UTC), prune=prune)

    changes = [c for c in ask_fleet(fleet, plan) if c.action is not Action.UNCHANGED]
    for change in changes:
        print_diff("\n".join(unified(change)))
    sys.exit(1 if changes else 0)


def unified(change: Change) -> Iterator[str]:
    """The lines of a unified diff of one resource."""
    place = change.resource.place.file if change.resource is not None else "/dev/null"
    return difflib.unified_diff(
        change.before.splitlines(),
        change.after.splitlines(),
        f"fleet/{change.ref}" if change.before else "/dev/null",
        place,
        lineterm="",
    )


@click.command()
@click.argument("kind", required=False)
@click.argument("name", required=False)
@namespace_option
@file_option
@click.option("--ignore-not-found", is_flag=True, help="One that is not there is fine.")
@click.option("--force", is_flag=True, help="Delete what resources in force need, too.")
@message_option
@dry_run_option
@fleet_options
@output_option
def delete(
    kind: str | None,
    name: str | None,
    namespace: str | None,
    paths: tuple[str, ...],
    ignore_not_found: bool,
    force: bool,
    message: str,
    dry_run: bool,
    fleet: FleetConfig,
    output: str,
) -> None:
    """Delete resources from the fleet: KIND NAME, or those that files name.

    What a resource in force needs (the service, subset or delegate of a route, its Gateway) is refused
    and nothing is deleted, as apply refuses what is not valid; --force deletes it all the same.

    \b
    egressd delete virtualservice reviews -n shop
    egressd delete -f resources/
    """
    if bool(paths) == bool(kind) or (kind and not name):
        raise click.UsageError("name what to delete with KIND NAME or -f FILE")
    if kind:
        refs = [f"{read_kind(kind)}/{namespace or 'default'}/{name}"]
    else:
        refs = [resource.ref for resource in read_resources(paths)]

    async def change(client: FleetClient) -> Outcome:
        def plan(base: ResourceSet) -> tuple[Change, ...]:
            changes = plan_delete(base, refs)
            if not force:
                _refuse_breaking(base, changes)
            return changes

        return await client.change(plan, note(message), dry_run=dry_run)

    outcome = ask_fleet(fleet, change)
    print_outcome(outcome, output, dry_run=dry_run)
    missing = set(refs) - {deleted.ref for deleted in outcome.changes}
    if missing and not ignore_not_found:
        raise click.ClickException(f"not there: {', '.join(sorted(missing))}")


def _refuse_breaking(base: ResourceSet, changes: tuple[Change, ...]) -> None:
    """Raises `Refused` with what resources in force would lose."""
    records = alone([*base.resources.values(), *beside()])
    removed = frozenset(change.ref for change in changes)
    problems = broken_without(records, removed, datetime.now(UTC))
    if problems:
        error = Refused(problems)
        error.add_note("nothing was deleted; --force deletes it all the same")
        raise error
