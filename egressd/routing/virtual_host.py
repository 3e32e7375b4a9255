"""From a name to its route table: which VirtualServices serve it, or its service. Pure.

Source: Istio `BuildSidecarVirtualHostWrapper` for the mesh, `buildGatewayHTTPRouteConfig` for Gateways.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import NamedTuple

from egressd.api.resource import Resource
from egressd.api.virtual_service import VirtualService
from egressd.registry.claims import MESH
from egressd.registry.exposure import Bound, Exposure, bound_claims
from egressd.registry.lookup import (
    RecordingView,
    Service,
    candidates,
    choose_port,
    find_service,
    find_virtual_services,
    meant_host,
)
from egressd.registry.profile import DEFAULT_PROFILE, NodeProfile
from egressd.registry.rules import cluster_host
from egressd.registry.view import RegistryView
from egressd.registry.visibility import recording_view
from egressd.routing.actions import DEFAULT_RETRY
from egressd.routing.client import Client, LeftOut
from egressd.routing.compile import Compiled, compile_virtual_service
from egressd.routing.table import ClusterKey, Match, Redirect, Route, RouteTable, WeightedCluster


class Found(NamedTuple):
    """The table of a name, None where nothing serves it, and the VirtualServices that have the name and
    nothing for this client: (ref, why) each."""

    table: RouteTable | None
    passed: tuple[tuple[str, str], ...] = ()


def compile_routes(
    view: RegistryView,
    host: str,
    requested_port: int | None,
    *,
    exposures: tuple[Exposure, ...] = (),
    redirecting: tuple[Exposure, ...] = (),
    profile: NodeProfile = DEFAULT_PROFILE,
) -> RouteTable | None:
    """The table of a name, in the mesh or on a Gateway's port (`exposures`, of which `redirecting` have
    httpsRedirect). None where neither a VirtualService nor a ServiceEntry serves it."""
    return find_routes(
        view, host, requested_port, exposures=exposures, redirecting=redirecting, profile=profile
    ).table


def find_routes(
    view: RegistryView,
    host: str,
    requested_port: int | None,
    *,
    exposures: tuple[Exposure, ...] = (),
    redirecting: tuple[Exposure, ...] = (),
    profile: NodeProfile = DEFAULT_PROFILE,
) -> Found:
    """The same, with what was passed over."""
    recording = recording_view(view, profile.namespace)
    if exposures:
        port = requested_port or 80
        return _on_gateway(recording, host, port, exposures, redirecting, profile)
    return _in_mesh(recording, host, requested_port, profile)


# -- the mesh ------------------------------------------------------------------------------------


def _in_mesh(view: RecordingView, name: str, requested: int | None, profile: NodeProfile) -> Found:
    """The most specific VirtualService that has routes for this client; where there is none, the
    implicit route of the service."""
    host = meant_host(view, name, profile.namespace)
    service = find_service(view, host)
    port = _addressed_port(service, requested)
    client = Client(port, MESH, profile.labels, profile.namespace)
    passed: list[tuple[str, str]] = []
    first = ""
    for claim, record in find_virtual_services(view, host, MESH, profile.namespace):
        if service is not None and first not in ("", claim):
            break  # Istio: a service belongs to its most specific VirtualService, or to none
        first = claim
        resource = record.resource
        compiled = compile_virtual_service(view, resource, client, profile)
        if not compiled.routes:
            passed.append((resource.ref, _nothing_left(resource, compiled)))
            continue
        table = RouteTable(
            claim=claim,
            resource=resource.ref,
            port=port,
            routes=compiled.routes,
            depends_on=frozenset(view.asked),
            needs_headers=_needs_headers(compiled.routes),
            service=service.host if service is not None else "",
            left_out=compiled.left_out,
        )
        return Found(table, tuple(passed))
    if service is None:
        return Found(None, tuple(passed))
    routes = (_implicit_route(cluster_host(view, host, service, profile), port),)
    table = RouteTable(
        claim=service.host,
        resource=service.refs[0],
        port=port,
        routes=routes,
        depends_on=frozenset(view.asked),
        service=service.host,
    )
    return Found(table, tuple(passed))


def _addressed_port(service: Service | None, requested: int | None) -> int:
    if service is not None:
        chosen = choose_port(service, requested)
        if chosen is not None:
            return chosen.number
    return requested or 80


def _nothing_left(resource: Resource, compiled: Compiled) -> str:
    if not compiled.left_out:
        spec = resource.spec
        delegates = isinstance(spec, VirtualService) and spec.http
        return "its delegates give it no route" if delegates else "it has no http routes"
    first = compiled.left_out[0]
    place = first.place.partition(" ")[2]
    return f"none of its http routes is for this client; {place} {'; '.join(first.why)}"


def _implicit_route(host: str, port: int) -> Route:
    return Route(
        name="default",
        place="implicit",
        matches=(),
        destinations=(WeightedCluster(ClusterKey(host, "", port), 100, 100),),
        total_weight=100,
        retry=DEFAULT_RETRY,
    )


def _needs_headers(routes: tuple[Route, ...]) -> bool:
    return any(match.needs_headers for route in routes for match in route.matches)


# -- Gateways ------------------------------------------------------------------------------------


def _on_gateway(
    view: RecordingView,
    host: str,
    port: int,
    exposures: tuple[Exposure, ...],
    redirecting: tuple[Exposure, ...],
    profile: NodeProfile,
) -> Found:
    """A name on a Gateway's port: only bound VirtualServices serve it, the narrowest claim for which one
    has routes; the port addressed is the server's. A server with httpsRedirect answers for all claims
    that it has a part in, and for its own hosts."""
    passed: list[tuple[str, str]] = []
    claims = bound_claims(view, host, exposures, profile.namespace)
    for claim in candidates(host):
        bound = claims.get(claim, [])
        serving: list[tuple[Bound, Compiled]] = []
        for one in bound:
            client = Client(port, one.exposure.gateway, profile.labels, profile.namespace)
            resource = one.record.resource
            compiled = compile_virtual_service(view, resource, client, profile)
            if compiled.routes:
                serving.append((one, compiled))
            else:
                passed.append((resource.ref, _nothing_left(resource, compiled)))
        redirect = _redirect(claim, redirecting, [one.exposure for one, _ in serving])
        if redirect is not None:
            return Found(_redirect_table(view, claim, port, redirect), tuple(passed))
        if serving:
            return Found(_merged_table(view, claim, port, serving), tuple(passed))
    return Found(None, tuple(passed))


def _merged_table(
    view: RecordingView, claim: str, port: int, serving: list[tuple[Bound, Compiled]]
) -> RouteTable:
    refs = tuple(dict.fromkeys(one.record.resource.ref for one, _ in serving))
    if len(serving) == 1:
        routes, left_out = serving[0][1]
    else:
        routes = merge_routes(compiled.routes for _, compiled in serving)
        left_out = tuple(LeftOut(o.place, o.why) for _, c in serving for o in c.left_out)
    return RouteTable(
        claim=claim,
        resource=refs[0],
        port=port,
        routes=routes,
        depends_on=frozenset(view.asked),
        needs_headers=_needs_headers(routes),
        left_out=left_out,
        merged=refs[1:],
    )


def merge_routes(listed: Iterable[tuple[Route, ...]]) -> tuple[Route, ...]:
    """The routes of several VirtualServices of one claim: those of the first, then of the next; what
    takes every request goes behind all others (Istio `SortVHostRoutes`)."""
    routes: dict[tuple[str, tuple[Match, ...]], Route] = {}
    for own in listed:
        for route in _up_to_catch_all(own):
            routes.setdefault((route.place, route.matches), route)
    last = [route for route in routes.values() if takes_everything(route)]
    return (*(route for route in routes.values() if not takes_everything(route)), *last)


def _up_to_catch_all(routes: tuple[Route, ...]) -> Iterator[Route]:
    """The routes that can be reached, the match block that takes every request as a route by itself."""
    for route in routes:
        at = next((n for n, match in enumerate(route.matches) if match.takes_everything), None)
        if at is None:
            yield route
            if not route.matches:
                return
            continue
        if at:
            yield replace(route, matches=route.matches[:at])
        yield replace(route, matches=route.matches[at : at + 1])
        return


def takes_everything(route: Route) -> bool:
    """Whether no request gets past a route (Istio `IsCatchAllRoute`)."""
    return not route.matches or any(match.takes_everything for match in route.matches)


def _redirect(
    claim: str, redirecting: tuple[Exposure, ...], serving: list[Exposure]
) -> Exposure | None:
    """The server whose httpsRedirect holds for a claim."""
    for exposure in redirecting:
        if exposure in serving or any(pattern == claim for _, pattern in exposure.hosts):
            return exposure
    return None


def _redirect_table(view: RecordingView, claim: str, port: int, server: Exposure) -> RouteTable:
    place = f"Gateway/{server.gateway} tls.httpsRedirect"
    redirect = Redirect(status=301, scheme=b"https")
    route = Route(name="https_redirect", place=place, matches=(), redirect=redirect)
    ref = f"Gateway/{server.gateway}"
    return RouteTable(
        claim=claim,
        resource=ref,
        port=port,
        routes=(route,),
        depends_on=frozenset(view.asked),
    )
