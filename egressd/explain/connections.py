"""Step 4 of a connection without HTTP, and of a CONNECT: the name that is meant, and its routes."""

from __future__ import annotations

from collections.abc import Iterator

from egressd.explain.arrival import Arrival
from egressd.explain.model import ALWAYS, By, Considered, Step
from egressd.explain.question import Node
from egressd.explain.sources import by_place
from egressd.proxy.l4_target import L4Target, Routes
from egressd.registry.addresses import host_of_address, hosts_of_port
from egressd.routing.l4 import Connection, L4Route
from egressd.routing.words import first_l4_failure


def connection_step(
    node: Node,
    arrival: Arrival,
    connection: Connection,
    found: Routes,
    target: L4Target | None,
) -> Step:
    """Where a connection goes; `target` is None for one that is refused."""
    considered = tuple(_routes(node, found, connection, target))
    notes = (_meaning(arrival, connection, found.host),) if arrival.mesh is not None else ()
    says, decided = _says(node, arrival, target)
    return Step("route", says, decided, considered, notes)


def _says(node: Node, arrival: Arrival, target: L4Target | None) -> tuple[str, By | None]:
    if target is None:
        return "no route", None
    if target.route is not None:
        place = target.route.place
        return place.partition(" ")[2], by_place(node.view, place, "")
    if target.key is None:
        return f"{target.host}: nothing names it", None
    service = arrival.scope.service(target.key.host)
    decided = by_place(node.view, service.refs[0], service.host) if service is not None else None
    return f"all traffic of {target.key.host} goes to its service", decided


def _meaning(arrival: Arrival, connection: Connection, host: str) -> str:
    view, address = arrival.scope.view, connection.destination
    if address and host_of_address(view, address):
        return f"{address} is an address of {host}"
    if connection.sni:
        return f"{host} is the name that the client asks for"
    known = ", ".join(name for name, _ in hosts_of_port(view, connection.port)) or "none"
    where = f"{address} is no service's address; " if address else ""
    return f"{where}services with port {connection.port} and no address of their own: {known}"


def _routes(
    node: Node, found: Routes, connection: Connection, target: L4Target | None
) -> Iterator[Considered]:
    for left in found.left_out:
        yield Considered(left.place, False, left.why, by_place(node.view, left.place, ""))
    for route in found.in_order:
        chosen = target is not None and route is target.route
        why = _why(route, connection, chosen)
        yield Considered(route.place, chosen, why, by_place(node.view, route.place, ""))
        if chosen:
            return


def _why(route: L4Route, connection: Connection, chosen: bool) -> tuple[str, ...]:
    if chosen:
        return () if route.matches else (ALWAYS,)
    return (*route.closed, *(first_l4_failure(match, connection) for match in route.matches))
