"""Step 4 of a request: the claim of its name, the port that it addresses, and its routes in order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from egressd.api.export import is_exported
from egressd.api.resource import Kind
from egressd.api.virtual_service import HTTPRoute, VirtualService
from egressd.explain.arrival import Arrival
from egressd.explain.model import ALWAYS, By, Considered, Step
from egressd.explain.question import Node
from egressd.explain.sources import by, by_place, find_record
from egressd.proxy.scope import HostEntry
from egressd.registry.claims import MESH, delegate_key
from egressd.registry.exposure import unexposed_reason
from egressd.registry.join import Service, is_part_of
from egressd.registry.lookup import (
    candidates,
    choose_port,
    find_service,
    meant_host,
    unbound_reason,
)
from egressd.registry.records import Record
from egressd.registry.view import RegistryView
from egressd.registry.visibility import recording_view
from egressd.routing.delegate import expand
from egressd.routing.request import Request
from egressd.routing.table import Match, Route, RouteTable
from egressd.routing.words import first_failure


def name_step(
    node: Node, arrival: Arrival, host: str, requested: int | None, table: RouteTable | None
) -> Step:
    """Which resource has the name."""
    seen = arrival.scope.view
    meant = meant_host(seen, host, node.profile.namespace) if arrival.mesh is not None else host
    order = list(candidates(meant))
    notes = [f"looked for: {' > '.join(order)}"]
    if meant != host:
        notes.insert(0, f"{host} means {meant}")
    passed = dict(arrival.scope.find_routes(meant, requested).passed)
    for ref in passed:
        record = find_record(node.view, ref, order)
        notes += _delegations(node, record) if record is not None else ()
    considered = tuple(_claims(node, arrival, meant, passed, table))
    if table is None:
        return Step("name", f"nothing claims {meant}", None, considered, tuple(notes))
    port = f"port {table.port}: {_port_reason(seen, arrival, meant, requested)}"
    implicit = not table.resource.startswith("VirtualService")
    how = "implicit route of its service" if implicit else "VirtualService"
    if table.resource.startswith("Gateway"):
        how = "redirect to https"
    return Step(
        "name",
        f"{table.claim}: {how}",
        by_place(node.view, table.resource, meant),
        considered,
        (*notes, port),
    )


def _claims(
    node: Node, arrival: Arrival, host: str, passed: Mapping[str, str], table: RouteTable | None
) -> Iterator[Considered]:
    """Every seen VirtualService and ServiceEntry that has the name or a wildcard over it."""
    seen = arrival.scope.view
    winners = (table.resource, *table.merged) if table is not None else ()
    rival = f"{winners[0]} has {table.claim}, which comes first" if table is not None else ""
    for key in candidates(host):
        for record in seen.claims(Kind.VIRTUAL_SERVICE, key):
            ref = record.resource.ref
            why = _unbound(node, arrival, record, key, host) or passed.get(ref, "")
            if not why and ref in winners:
                merged = f"its routes are merged with those of {winners[0]}, which come first"
                merged = merged if ref != winners[0] else ""
                yield Considered(f"{ref} ({key})", True, (merged,) if merged else (), by(record))
                continue
            why = why or rival
            yield Considered(f"{ref} ({key})", False, (why,) if why else (), by(record))
    service = find_service(seen, host)
    winner = winners[0] if winners else ""
    for key in candidates(host):
        for record in seen.claims(Kind.SERVICE_ENTRY, key):
            is_part = service is not None and is_part_of(record, service)
            why = _service_reason(arrival, record, service if is_part else None, winner)
            chosen = is_part and arrival.mesh is not None
            what = f"{record.resource.ref} ({key})"
            yield Considered(what, chosen, (why,) if why else (), by(record))


def _service_reason(arrival: Arrival, record: Record, service: Service | None, winner: str) -> str:
    """What a ServiceEntry has to say; `service` is what it is part of, None for one that lost."""
    if arrival.mesh is None:
        return "on a Gateway only a bound VirtualService serves a name"
    if service is None:
        return "the service of another source, namespace or wildcard comes first"
    if record.source != service.source:
        return f"its endpoints join those of {service.source}"
    if winner and not winner.startswith("ServiceEntry"):
        return f"the service; its implicit route gives way to {winner}"
    return ""


def _unbound(node: Node, arrival: Arrival, record: Record, key: str, host: str) -> str:
    if arrival.mesh is not None:
        return unbound_reason(record, key, MESH, node.profile.namespace)
    return unexposed_reason(record, host, arrival.scope.exposures)


def _port_reason(seen: RegistryView, arrival: Arrival, host: str, requested: int | None) -> str:
    if arrival.mesh is None:
        return "the server's"
    if arrival.scope.port:
        requested = arrival.scope.port
    service = find_service(seen, host)
    if service is None:
        return "no ServiceEntry: as the client named it" if requested else "default of http"
    chosen = choose_port(service, requested)
    if chosen is None:
        return "the ServiceEntry has no ports"
    if chosen.number == requested:
        return "the listener's" if arrival.scope.port else "named by the client"
    named = (
        f"{requested} is not a port of the service, " if requested else "the client names none, "
    )
    what = "the default" if chosen.number == 80 else "its first that speaks HTTP, or its first"
    return f"{named}{what}"


def route_step(
    node: Node, entry: HostEntry, request: Request, matched: tuple[Route, Match | None] | None
) -> Step:
    """The routes up to the one that matched, each with the first condition that failed."""
    table = entry.table
    considered = list(_left_out(node, table, 0))
    left = len(table.routes)
    for at, route in enumerate(table.routes, 1):
        left -= 1
        chosen = matched is not None and route is matched[0]
        why: tuple[str, ...] = ()
        if not chosen:
            failures = (first_failure(match, request) for match in route.matches)
            why = (*route.closed, *failures)
        elif matched is not None:
            why = (f"match[{matched[1].index}] holds" if matched[1] is not None else ALWAYS,)
        name = f"{route.place} {route.name}".rstrip()
        considered.append(
            Considered(name, chosen, why, by_place(node.view, route.place, table.claim))
        )
        if chosen:
            break
        considered += _left_out(node, table, at)
    roots = (_virtual_service(node, table, ref) for ref in (table.resource, *table.merged))
    notes = [note for root in roots if root is not None for note in _delegations(node, root)]
    if left:
        notes.append(f"{left} more after it")
    if matched is None:
        says = "no route matches" if table.routes else "there is no route"
        return Step("route", says, None, tuple(considered), tuple(notes))
    place = matched[0].place
    decided = by_place(node.view, place, table.claim)
    if place == "implicit":
        decided = by_place(node.view, table.resource, table.claim)
        return Step("route", "all traffic of the name goes to its service", decided)
    return Step("route", place.partition(" ")[2] or place, decided, tuple(considered), tuple(notes))


def _left_out(node: Node, table: RouteTable, before: int) -> Iterator[Considered]:
    """The routes at this place that are not for this client: Istio gives it none of them."""
    for left in table.left_out:
        if left.before == before:
            decided = by_place(node.view, left.place, table.claim)
            yield Considered(left.place, False, left.why, decided)


def _delegations(node: Node, root: Record) -> Iterator[str]:
    """Routes that delegate, and why a delegate's route is not among those of the table."""
    seen = recording_view(node.view, node.profile.namespace)
    spec = root.resource.spec
    assert isinstance(spec, VirtualService)
    for index, written in enumerate(spec.http):
        if written.delegate is None:
            continue
        namespace = written.delegate.namespace or root.resource.metadata.namespace
        name = f"{namespace}/{written.delegate.name}"
        where = f"spec.http[{index}] delegates to {name}"
        records = seen.claims(Kind.VIRTUAL_SERVICE, delegate_key(namespace, written.delegate.name))
        if not records:
            yield f"{where}: there is no VirtualService of this name without hosts; no route"
        places = {place for _, place, _ in expand(seen, root.resource, index, written)}
        for record in records:
            if not is_exported(record.resource, root.resource.metadata.namespace):
                yield f"{where}: it is not exported to {root.resource.metadata.namespace}; no route"
                continue
            leaf = record.resource.spec
            assert isinstance(leaf, VirtualService)
            for number, one in enumerate(leaf.http):
                place = f"spec.http[{number}]"
                if not any(found.endswith(f"{record.resource.ref} {place}") for found in places):
                    why = "a match of it is not within the root's"
                    if one.delegate is not None:
                        why = "it delegates again, and only one level is allowed"
                    yield f"{where}: its {place} is left out: {why}"


def _virtual_service(node: Node, table: RouteTable, ref: str) -> Record | None:
    if not ref.startswith("VirtualService"):
        return None
    return find_record(node.view, ref, candidates(table.claim))


class Written:
    """A route as it is written: of a delegated one, root and leaf."""

    def __init__(self, node: Node, table: RouteTable, route: Route) -> None:
        self._by: dict[str, By] = {}
        root = _virtual_service(node, table, table.resource)
        if root is None or route.place == "implicit":
            return
        parts = [part.rpartition(" ") for part in route.place.split(" > ")]
        for ref, _, field in parts:
            record = root if ref == root.resource.ref else _leaf(node, ref)
            if record is not None and (http := _at(record, field)) is not None:
                for name in ("retries", "timeout"):
                    if getattr(http, name) is not None:
                        self._by[name] = by(record, f"{field}.{name}")

    def origin(self, name: str) -> By | None:
        """What says `retries` or `timeout`; None where nobody does."""
        return self._by.get(name)


def _leaf(node: Node, ref: str) -> Record | None:
    _, namespace, name = ref.split("/", 2)
    return find_record(node.view, ref, [delegate_key(namespace, name)])


def _at(record: Record, field: str) -> HTTPRoute | None:
    spec = record.resource.spec
    assert isinstance(spec, VirtualService)
    number = field.removeprefix("spec.http[").removesuffix("]")
    return spec.http[int(number)] if number.isdigit() else None
