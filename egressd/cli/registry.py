"""`egressd registry`: what the shared registry holds."""

from __future__ import annotations

import time
from pathlib import Path
from urllib.parse import urlencode

import click

from egressd.admin.views import CONFIRM, record_view, timestamp
from egressd.api.counted import counted
from egressd.api.render import shown_resource, yaml_of
from egressd.api.resource import Kind
from egressd.api.service_entry import ServiceEntry
from egressd.cli.command_group import CommandGroup
from egressd.cli.near_host import meant
from egressd.cli.node_access import ask_admin, load_node, open_registry
from egressd.cli.options import node_options, output_option
from egressd.cli.output import echo, print_json, print_table, print_text
from egressd.registry.claims import claimed_hosts, named_hosts
from egressd.registry.join import Service, joining
from egressd.registry.lookup import candidates, find_service
from egressd.registry.records import Record
from egressd.registry.store import Change, StoreReader

_WATCH_S = 0.2
_MEANWHILE = 100  # changes that may be published between two looks at the store
_SHOWN = 20  # resources named of a change


@click.group(cls=CommandGroup)
def registry() -> None:
    """Look into the shared registry. Reads the node's store: works with the daemon down, too."""


@registry.command("list")
@click.option("--kind", type=click.Choice([kind.value for kind in Kind]), help="One kind only.")
@node_options
@output_option
def list_records(kind: str | None, bootstrap_path: Path | None, output: str) -> None:
    """List all resources with their source."""
    with open_registry(bootstrap_path) as reader:
        records = reader.all_records() if kind is None else reader.records(Kind(kind))
        version = reader.version()
        states = reader.source_states()
    if output == "json":
        views = [record_view(record, states.get(record.source)) for record in records]
        print_json({"version": version, "records": views})
        return
    rows = [
        [
            record.resource.ref,
            _hosts(record),
            _endpoints(record),
            record.source,
            record.origin or "-",
        ]
        for record in records
    ]
    print_table(["RESOURCE", "HOSTS", "ENDPOINTS", "SOURCE", "ORIGIN"], rows)
    echo(f"version {version}, {counted(len(rows), 'resource')}")


def _hosts(record: Record) -> str:
    hosts = named_hosts(record.resource)
    return ",".join(hosts) or "-"


def _endpoints(record: Record) -> str:
    spec = record.resource.spec
    return str(len(spec.endpoints)) if isinstance(spec, ServiceEntry) else "-"


@registry.command()
@click.argument("host")
@node_options
@output_option
def get(host: str, bootstrap_path: Path | None, output: str) -> None:
    """Show every resource that claims HOST, the most specific first, with its source, and which of
    several sources' endpoints are used. Exit 1 when none does."""
    with open_registry(bootstrap_path) as reader:
        found = [r for key in candidates(host) for kind in Kind for r in reader.claims(kind, key)]
        states = reader.source_states()
        service = find_service(reader, host)
        if not found:
            near = meant(reader, host)
            raise click.ClickException(f"{host}: no resource claims this host{near}")
    views = [record_view(record, states.get(record.source)) for record in found]
    uses = [_use(record, service) for record in found]
    if output == "json":
        print_json([{**view, "use": use} for view, use in zip(views, uses, strict=True)])
        return
    for record, view, use in zip(found, views, uses, strict=True):
        version = f", version {record.source_version}" if record.source_version else ""
        print_text(f"# source {record.source}, origin {record.origin or '-'}{version}")
        print_text(f"# first seen {view['firstSeen']}, last seen {view['lastSeen']}")
        if view["isRetained"]:
            print_text(f"# no longer in the answer of {record.source}: kept, see `egressd status`")
        if use:
            print_text(f"# {use}")
        print_text(yaml_of(shown_resource(record.resource)).rstrip())
        print_text("---")


def _use(record: Record, service: Service | None) -> str:
    """What becomes of a ServiceEntry beside others for its host; "" where it is what the host is."""
    entry = record.resource.spec
    if service is None or not isinstance(entry, ServiceEntry):
        return ""
    if service.host not in claimed_hosts(record.resource):
        return ""
    if record.source == service.source:
        if record.resource.ref in service.refs:
            return ""
        return f"not used: namespace {service.namespace} has {service.host}, too, and comes first"
    if not record.is_merged:
        return (
            f"conflict: source {service.source} has {service.host}, too, and precedence: these "
            "endpoints are not used"
        )
    left_out = len(entry.endpoints) - len(joining(service, record))
    but = f", but for {left_out} that resolution {service.resolution} does not take"
    return (
        f"its endpoints are merged into those of source {service.source}{but if left_out else ''}"
    )


@registry.command()
@click.argument("source")
@node_options
def confirm(source: str, bootstrap_path: Path | None) -> None:
    """Believe the mass loss of SOURCE that the running node holds: what is missing is dropped."""
    target = f"{CONFIRM}?{urlencode({'source': source})}"
    answer = ask_admin(load_node(bootstrap_path), target, dict[str, object], method="POST")
    if not answer["confirmed"]:
        raise click.ClickException(
            f"{source}: no loss of it is held, or it has not answered since the registry process "
            "started; see `egressd status`"
        )
    echo(f"{source}: confirmed, what it no longer states is dropped")


@registry.command()
@click.argument("host", required=False)
@click.option(
    "-n", "--limit", type=click.IntRange(1), default=20, show_default=True, help="Changes shown."
)
@node_options
@output_option
def history(host: str | None, limit: int, bootstrap_path: Path | None, output: str) -> None:
    """What changed, when, from which source; the newest first: + new, ~ changed (with the endpoints
    that came and went), - gone. With HOST only the changes that concern it or a wildcard of it."""
    with open_registry(bootstrap_path) as reader:
        if host is None:
            changes = list(reader.history(limit))
        else:
            keys = set(candidates(host))
            changes = [c.of(keys) for c in reader.history(10_000) if keys & set(c.hosts)][:limit]
    if output == "json":
        print_json(changes)
        return
    for change in changes:
        echo(_line(change))


@registry.command()
@click.option("--once", is_flag=True, help="Stop after the first change.")
@node_options
@output_option
def watch(once: bool, bootstrap_path: Path | None, output: str) -> None:
    """Print changes as they are published, until Ctrl-C."""
    with open_registry(bootstrap_path) as reader:
        version = reader.version()
        while True:
            time.sleep(_WATCH_S)
            reader.refresh()
            for change in newer(reader, version):
                version = change.version
                if output == "json":
                    print_json(change)
                else:
                    echo(_line(change))
                if once:
                    return


def newer(reader: StoreReader, version: int) -> list[Change]:
    """The changes after a version, the oldest first."""
    newest = reader.version()
    if newest <= version:  # it goes back where the store was lost and begins anew
        return list(reader.history(1)) if newest < version else []
    found = reader.history(newest - version + _MEANWHILE)
    return [change for change in reversed(found) if change.version > version]


def _line(change: Change) -> str:
    notes = change.notes or ("",) * len(change.put)
    parts = [_put(ref, note) for ref, note in zip(change.put, notes, strict=True)]
    parts += [f"-{ref}" for ref in change.deleted]
    parts = parts or [f"other order of sources of {', '.join(change.hosts[:_SHOWN])}"]
    if len(parts) > _SHOWN:
        parts[_SHOWN:] = [f"and {len(parts) - _SHOWN} more (-o json shows all)"]
    sources = ",".join(change.sources) or "-"
    return f"{change.version}  {timestamp(change.at)}  {sources}  {' '.join(parts)}"


def _put(ref: str, note: str) -> str:
    return f"+{ref}" if note in ("", "new") else f"~{ref} ({note})"
