"""From a VirtualService to routes (Istio `VirtualService.http`)."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

from egressd.api.resource import Resource
from egressd.api.virtual_service import (
    Destination,
    HTTPMatchRequest,
    HTTPRoute,
    HTTPRouteDestination,
    VirtualService,
)
from egressd.registry.lookup import RecordingView, find_service, service_host
from egressd.registry.profile import NodeProfile
from egressd.routing.actions import (
    authority_of,
    cors_of,
    direct_response,
    fault_of,
    header_ops,
    redirect_of,
    retry_policy,
    rewrite_of,
)
from egressd.routing.client import Client, LeftOut, kept_blocks
from egressd.routing.conditions import compile_match
from egressd.routing.delegate import expand
from egressd.routing.table import ClusterKey, Mirror, Route, WeightedCluster, shared


class Compiled(NamedTuple):
    """The routes of one VirtualService that may serve a client, and those that cannot."""

    routes: tuple[Route, ...]
    left_out: tuple[LeftOut, ...]


def compile_virtual_service(
    view: RecordingView, resource: Resource, client: Client, profile: NodeProfile
) -> Compiled:
    """The `http` routes of a VirtualService in order, those of delegates in the place of the routes that
    name them."""
    spec = resource.spec
    assert isinstance(spec, VirtualService)
    routes: list[Route] = []
    left_out: list[LeftOut] = []
    for index, written in enumerate(spec.http):
        for owner, place, route in expand(view, resource, index, written):
            kept, why = kept_blocks(route.match, client, owner.metadata.namespace)
            if kept or not route.match:
                compiled = _compile_route(view, owner, place, route, kept, client.port, profile)
                routes.append(replace(compiled, closed=why) if why else compiled)
            else:
                left_out.append(LeftOut(place, why, len(routes)))
    return Compiled(tuple(routes), tuple(left_out))


def _compile_route(
    view: RecordingView,
    resource: Resource,
    place: str,
    route: HTTPRoute,
    blocks: list[tuple[int, HTTPMatchRequest]],
    port: int,
    profile: NodeProfile,
) -> Route:
    request = route.headers.request if route.headers else None
    response = route.headers.response if route.headers else None
    rewrite = rewrite_of(route.rewrite, authority_of(request))
    has_authority = rewrite is not None and rewrite.authority is not None
    destinations = _destinations(view, resource, route.route, port, has_authority)
    return Route(
        name=route.name,
        place=place,
        matches=tuple(compile_match(match, n, profile.normalizes_paths) for n, match in blocks),
        destinations=destinations,
        total_weight=destinations[-1].cumulative if destinations else 0,
        redirect=redirect_of(route.redirect),
        direct_response=direct_response(route),
        rewrite=rewrite,
        timeout_s=route.timeout or None,
        retry=shared(retry_policy(route.retries)),
        fault=fault_of(route.fault),
        request_headers=header_ops(request),
        response_headers=header_ops(response),
        mirrors=_mirrors(view, resource, route, port),
        # Envoy: CORS is for what is forwarded; answers of the route itself go without.
        cors=cors_of(route.cors_policy) if destinations else None,
    )


def _mirrors(
    view: RecordingView, resource: Resource, route: HTTPRoute, port: int
) -> tuple[Mirror, ...]:
    """Istio `mirror` with `mirrorPercentage` (or the old `mirrorPercent`), and `mirrors`."""
    found = []
    if route.mirror is not None:
        percent = 100.0
        if route.mirror_percentage is not None:
            percent = route.mirror_percentage.value
        elif route.mirror_percent is not None:
            percent = float(route.mirror_percent)
        found.append((route.mirror, percent))
    found += [(m.destination, m.percentage.value if m.percentage else 100.0) for m in route.mirrors]
    return tuple(
        Mirror(destination_key(view, resource, destination, port), percent)
        for destination, percent in found
        if percent > 0
    )


def _destinations(
    view: RecordingView,
    resource: Resource,
    routes: tuple[HTTPRouteDestination, ...],
    port: int,
    has_authority: bool,
) -> tuple[WeightedCluster, ...]:
    """Istio `HTTPRouteDestination`. The route's own authority comes before a destination's."""
    compiled: list[WeightedCluster] = []
    total = 0
    for destination in routes:
        # A single destination takes everything, whatever its weight says (Istio: 0 = unset there).
        weight = destination.weight if len(routes) > 1 else 100
        if weight <= 0:
            continue
        total += weight
        request = destination.headers.request if destination.headers else None
        response = destination.headers.response if destination.headers else None
        key = destination_key(view, resource, destination.destination, port)
        compiled.append(
            WeightedCluster(
                key,
                weight,
                total,
                header_ops(request, authority="" if has_authority else authority_of(request)),
                header_ops(response),
            )
        )
    return shared(tuple(compiled))


def destination_key(
    view: RecordingView, resource: Resource, destination: Destination, addressed: int
) -> ClusterKey:
    """The cluster that a destination names (Istio `Destination`). Its port is the one addressed, or the
    only one that the service has; a service of several of which none is the one addressed has no such
    cluster (Istio `GetDestinationCluster`)."""
    host = service_host(view.destinations, destination.host, resource.metadata.namespace)
    if destination.port is not None and destination.port.number:
        return ClusterKey(host, destination.subset, destination.port.number)
    service = find_service(view.destinations, host)
    if service is not None and len(service.ports) == 1:
        return ClusterKey(host, destination.subset, service.ports[0].number)
    return ClusterKey(host, destination.subset, addressed)
