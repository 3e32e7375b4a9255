"""From resources to the route table of one name (Istio `VirtualService.http`, implicit routes)."""

from __future__ import annotations

from egressd.api.resource import Resource
from egressd.api.virtual_service import (
    Destination,
    HTTPRoute,
    HTTPRouteDestination,
    VirtualService,
)
from egressd.registry.exposure import Exposure, find_bound
from egressd.registry.lookup import (
    MESH_GATEWAY,
    RecordingView,
    Service,
    choose_port,
    find_service,
    find_virtual_service,
    meant_host,
    service_host,
)
from egressd.registry.profile import DEFAULT_PROFILE, NodeProfile
from egressd.registry.view import RegistryView
from egressd.registry.visibility import VisibleView
from egressd.routing.actions import (
    DEFAULT_RETRY,
    authority_of,
    cors_of,
    direct_response,
    fault_of,
    header_ops,
    redirect_of,
    retry_policy,
    rewrite_of,
)
from egressd.routing.conditions import compile_match
from egressd.routing.delegate import expand
from egressd.routing.table import (
    ClusterKey,
    Mirror,
    Route,
    RouteTable,
    WeightedCluster,
    shared,
)


def compile_routes(
    view: RegistryView,
    host: str,
    requested_port: int | None,
    *,
    gateway: str = MESH_GATEWAY,
    exposures: tuple[Exposure, ...] = (),
    profile: NodeProfile = DEFAULT_PROFILE,
) -> RouteTable | None:
    """The table of a name, or None when neither a VirtualService nor a ServiceEntry claims it.

    An explicit VirtualService replaces the implicit route of the ServiceEntry entirely.
    """
    recording = RecordingView(VisibleView(view, profile.namespace))
    if exposures:
        return _gateway_table(recording, host, requested_port or 80, exposures, profile)
    host = meant_host(recording, host, profile.namespace)
    service = find_service(recording, host)
    port = _addressed_port(service, requested_port)
    found = find_virtual_service(recording, host, gateway, profile.namespace)
    if found is not None:
        claim, record = found
        spec = record.resource.spec
        assert isinstance(spec, VirtualService)
        routes = _compile_routes(recording, record.resource, port, profile)
        return RouteTable(
            claim=claim,
            resource=record.resource.ref,
            port=port,
            routes=routes,
            depends_on=frozenset(recording.asked),
            needs_headers=_needs_headers(routes),
            service=service.host if service is not None else "",
        )
    if service is None:
        return None
    return RouteTable(
        claim=service.host,
        resource=service.refs[0],
        port=port,
        routes=(_implicit_route(service, port),),
        depends_on=frozenset(recording.asked),
        service=service.host,
    )


def _gateway_table(
    view: RecordingView,
    host: str,
    port: int,
    exposures: tuple[Exposure, ...],
    profile: NodeProfile,
) -> RouteTable | None:
    """A name on a Gateway's port: only a bound VirtualService serves it (Istio); the port addressed
    is the server's."""
    found = find_bound(view, host, exposures)
    if found is None:
        return None
    resource = found.record.resource
    spec = resource.spec
    assert isinstance(spec, VirtualService)
    routes = _compile_routes(view, resource, port, profile)
    return RouteTable(
        claim=found.claim,
        resource=resource.ref,
        port=port,
        routes=routes,
        depends_on=frozenset(view.asked),
        needs_headers=_needs_headers(routes),
        gateway=found.gateway,
    )


def _addressed_port(service: Service | None, requested: int | None) -> int:
    if service is not None:
        chosen = choose_port(service, requested)
        if chosen is not None:
            return chosen.number
    return requested or 80


def _implicit_route(service: Service, port: int) -> Route:
    key = ClusterKey(service.host, "", port)
    return Route(
        name="default",
        place="implicit",
        matches=(),
        destinations=(WeightedCluster(key, 100, 100),),
        total_weight=100,
        retry=DEFAULT_RETRY,
    )


def _needs_headers(routes: tuple[Route, ...]) -> bool:
    return any(match.needs_headers for route in routes for match in route.matches)


def _compile_routes(
    view: RecordingView, resource: Resource, port: int, profile: NodeProfile
) -> tuple[Route, ...]:
    spec = resource.spec
    assert isinstance(spec, VirtualService)
    return tuple(
        _compile_route(view, owner, place, route, port, profile)
        for index, written in enumerate(spec.http)
        for owner, place, route in expand(view, resource, index, written)
    )


def _compile_route(
    view: RecordingView,
    resource: Resource,
    place: str,
    route: HTTPRoute,
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
        matches=tuple(
            compile_match(match, n, resource.metadata.namespace, profile.normalizes_paths)
            for n, match in enumerate(route.match)
        ),
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
    """The cluster that a destination names (Istio `Destination`); its port is the one addressed where
    the service has it, else the service's own choice."""
    host = service_host(view, destination.host, resource.metadata.namespace)
    service = find_service(view, host)
    if destination.port is not None and destination.port.number:
        return ClusterKey(host, destination.subset, destination.port.number)
    chosen = choose_port(service, addressed) if service is not None else None
    number = chosen.number if chosen is not None else addressed
    return ClusterKey(host, destination.subset, number)
