"""`egressd get`: the fleet's resources."""

from __future__ import annotations

import click
import msgspec

from egressd.api.counted import counted
from egressd.api.render import to_mapping, to_yaml
from egressd.cli.fleet_access import (
    ask_fleet,
    fleet_options,
    namespace_option,
    read_kind,
)
from egressd.cli.output import echo, print_problems, print_table
from egressd.fleet.client import FleetClient
from egressd.fleet.config import FleetConfig
from egressd.fleet.resource_set import ResourceSet, Stored
from egressd.registry.claims import named_hosts


@click.command()
@click.argument("kind", required=False)
@click.argument("name", required=False)
@namespace_option
@fleet_options
@click.option(
    "-o",
    "--output",
    type=click.Choice(["table", "yaml", "json"]),
    default="table",
    help="YAML and JSON can be applied again; they carry the revision that they were read at.",
)
def get(
    kind: str | None,
    name: str | None,
    namespace: str | None,
    fleet: FleetConfig,
    output: str,
) -> None:
    """Show the fleet's resources: all, those of a KIND, or one.

    \b
    egressd get
    egressd get vs -n shop
    egressd get virtualservice reviews -n shop -o yaml
    """
    wanted = read_kind(kind) if kind else None
    if name:
        namespace = namespace or "default"

    async def read(client: FleetClient) -> ResourceSet:
        return await client.read()

    found = ask_fleet(fleet, read)
    asked = (wanted, namespace, name)
    chosen = [
        stored
        for stored in found.stored.values()
        if all(one in (None, part) for one, part in zip(asked, stored.ref.split("/"), strict=True))
    ]
    if name and not chosen:
        raise click.ClickException(f"{wanted}/{namespace}/{name}: not in the fleet's resources")
    if output == "table":
        rows = [_row(stored) for stored in chosen]
        print_table(["RESOURCE", "HOSTS", "REVISION"], rows)
        echo(f"fleet version {found.version.version}, {counted(len(rows), 'resource')}")
        return
    resources = [stored.resource for stored in chosen if stored.resource is not None]
    unread = [one for stored in chosen if stored.resource is None for one in stored.problems]
    print_problems(unread, err=True)
    if output == "yaml":
        click.echo("---\n".join(map(to_yaml, resources)), nl=False)
    elif name and resources:
        _print_as_is(to_mapping(resources[0]))
    else:
        items = list(map(to_mapping, resources))
        _print_as_is({"apiVersion": "v1", "kind": "List", "items": items})


def _print_as_is(value: object) -> None:
    """To be applied again: nothing is taken out."""
    click.echo(msgspec.json.format(msgspec.json.encode(value)))


def _row(stored: Stored) -> list[str]:
    if stored.resource is None:
        return [stored.ref, "(cannot be read)", str(stored.revision)]
    return [stored.ref, ", ".join(named_hosts(stored.resource)) or "-", str(stored.revision)]
