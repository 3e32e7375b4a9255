"""`egressd routes HOST`."""

from __future__ import annotations

from pathlib import Path

import click
import msgspec

from egressd.cli.near_host import meant
from egressd.cli.node_access import load_node, open_view
from egressd.cli.options import config_option, node_options, output_option
from egressd.cli.output import echo, print_json
from egressd.node.profile import node_profile
from egressd.registry.sidecar import mesh_scope
from egressd.routing.authority import InvalidName, parse_authority
from egressd.routing.table import Route
from egressd.routing.virtual_host import compile_routes
from egressd.routing.words import render_table


@click.command()
@click.argument("host")
@config_option
@node_options
@output_option
def routes(host: str, config: Path | None, bootstrap_path: Path | None, output: str) -> None:
    """Print the compiled route table of HOST (or HOST:PORT), as the node's own clients see it. Exit 1
    when nothing claims it."""
    try:
        name, port, _ = parse_authority(host.encode())
    except InvalidName as error:
        raise click.ClickException(str(error)) from None
    profile = node_profile(load_node(bootstrap_path))
    with open_view(bootstrap_path, config) as view:
        table = compile_routes(mesh_scope(view, profile).view, name, port, profile=profile)
        near = meant(view, name) if table is None else ""
    if table is None:
        said = f"{name}: no VirtualService or ServiceEntry claims this host{near}"
        raise click.ClickException(said)
    if output == "table":
        echo(render_table(table), nl=False)
        return
    print_json(
        {
            "claim": table.claim,
            "resource": table.resource,
            "port": table.port,
            "routes": [_route(route) for route in table.routes],
        }
    )


def _route(route: Route) -> dict[str, object]:
    return {
        "place": route.place,
        "name": route.name,
        "match": [[f"{field} {words}" for field, words, _ in m.text] for m in route.matches],
        "destinations": [{"cluster": str(d.key), "weight": d.weight} for d in route.destinations],
        "redirect": route.redirect.status if route.redirect else None,
        "directResponse": route.direct_response.status if route.direct_response else None,
        "timeout": route.timeout_s,
        "retries": msgspec.to_builtins(route.retry.attempts) if route.retry else 0,
    }
