"""`egressd fleet` and `egressd rollback`: what nodes run, and the way back."""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime

import click

from egressd.cli.command_group import CommandGroup
from egressd.cli.fleet_access import (
    ask_fleet,
    dry_run_option,
    fleet_options,
    message_option,
    note,
    print_outcome,
)
from egressd.cli.options import output_option
from egressd.cli.output import echo, print_json, print_table
from egressd.fleet.change import Change, plan_restore
from egressd.fleet.client import FleetClient, Outcome
from egressd.fleet.config import FleetConfig
from egressd.fleet.errors import FleetError
from egressd.fleet.history import HistoryEntry, texts_of
from egressd.fleet.node_status import NodeState, NodeStatus, Rejection, state_of
from egressd.fleet.resource_set import ResourceSet, Version

_URGENT = {
    state: rank
    for rank, state in enumerate(
        (NodeState.REJECTS, NodeState.HOLDS, NodeState.STALE, NodeState.BEHIND)
    )
}


@click.group("fleet", cls=CommandGroup)
def fleet_group() -> None:
    """The nodes that share resources."""


@fleet_group.command()
@fleet_options
@output_option
def status(
    fleet: FleetConfig,
    output: str,
) -> None:
    """Which nodes run which version, and what they reject. Exit status 1 when a node rejects."""

    async def read(client: FleetClient) -> tuple[Version, list[NodeStatus], list[str]]:
        version = (await client.read()).version
        return version, *await client.statuses()

    version, statuses, unread = ask_fleet(fleet, read)
    now = time.time()
    statuses.sort(key=lambda one: _URGENT.get(state_of(one, version.version, now), len(_URGENT)))
    states = [state_of(one, version.version, now) for one in statuses]
    if output == "json":
        nodes = [
            {**_plain(one), "state": state, "heardSecondsAgo": round(now - one.at, 1)}
            for one, state in zip(statuses, states, strict=True)
        ]
        print_json({"version": version.version, "nodes": nodes})
    else:
        _print(version, statuses, states, now)
    for key in unread:
        echo(f"{key}: not a status", err=True)
    sys.exit(NodeState.REJECTS in states)


def _print(
    version: Version, statuses: list[NodeStatus], states: list[NodeState], now: float
) -> None:
    made = f", by {version.author}, {_when(version.at)}" if version.version else ""
    echo(f"fleet version {version.version}{made}")
    echo()
    rows = [
        [one.node, str(one.version), str(state), f"{now - one.at:.0f} s ago", str(one.rejections)]
        for one, state in zip(statuses, states, strict=True)
    ]
    print_table(["NODE", "VERSION", "STATE", "HEARD", "REJECTED"], rows)
    for one in statuses:
        for rejection in one.rejected:
            echo(f"{one.node}: {_line(rejection)}")


def _line(rejection: Rejection) -> str:
    runs = f"runs revision {rejection.in_force}" if rejection.in_force else "not in force"
    return f"{rejection.resource}, revision {rejection.revision}, {runs}: {rejection.reason}"


def _plain(one: NodeStatus) -> dict[str, object]:
    return {
        "node": one.node,
        "version": one.version,
        "rejections": one.rejections,
        "rejected": one.rejected,
        "held": one.held,
    }


def _when(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


@click.command()
@click.argument("version", required=False, type=int)
@click.option("--list", "is_list", is_flag=True, help="Show the versions to go back to.")
@click.option("--resource", metavar="KIND/NAMESPACE/NAME", help="Restore this one only.")
@message_option
@dry_run_option
@fleet_options
@output_option
def rollback(
    version: int | None,
    is_list: bool,
    resource: str | None,
    message: str,
    dry_run: bool,
    fleet: FleetConfig,
    output: str,
) -> None:
    """Restore the fleet's resources as of VERSION, as a new version; without it, undo the last one.

    \b
    egressd rollback --list
    egressd rollback 12
    egressd rollback 12 --resource VirtualService/shop/reviews
    """
    if is_list:
        _print_history(ask_fleet(fleet, FleetClient.history), output)
        return

    async def change(client: FleetClient) -> Outcome:
        now = (await client.read()).version.version
        if not now:
            raise FleetError("nothing was applied yet, there is no version to go back to")
        target = now - 1 if version is None else version
        texts = texts_of(target, now, await client.history())
        if resource is not None:
            if resource not in texts:
                raise FleetError(f"{resource}: the same since version {target}, nothing to do")
            texts = {resource: texts[resource]}

        def plan(base: ResourceSet) -> tuple[Change, ...]:
            if base.version.version != now:
                raise FleetError(
                    f"somebody made version {base.version.version} meanwhile: look with "
                    "`egressd rollback --list`, then roll back again"
                )
            return plan_restore(base, texts)

        why = message or f"rollback to version {target}"
        return await client.change(plan, note(why), dry_run=dry_run)

    print_outcome(ask_fleet(fleet, change), output, dry_run=dry_run)


def _print_history(history: tuple[HistoryEntry, ...], output: str) -> None:
    if output == "json":
        print_json(
            [
                {
                    "version": entry.version,
                    "at": _when(entry.at),
                    "author": entry.author,
                    "message": entry.message,
                    "changes": [{"resource": r.ref, "action": r.action} for r in entry.replaced],
                }
                for entry in history
            ]
        )
        return
    rows = [
        [
            str(entry.version),
            _when(entry.at),
            entry.author,
            ", ".join(f"{one.ref} {one.action}" for one in entry.replaced),
            entry.message,
        ]
        for entry in history
    ]
    print_table(["VERSION", "WHEN", "WHO", "CHANGES", "WHY"], rows)
