"""From resources to the route table of one name (Istio `VirtualService.http`, implicit routes)."""

from __future__ import annotations

from egressd.api.resource import Resource
from egressd.api.virtual_service import (
    Destination,
    HeaderOperations,
    HTTPFaultInjection,
    HTTPRedirect,
    HTTPRetry,
    HTTPRewrite,
    HTTPRoute,
    HTTPRouteDestination,
    VirtualService,
)
from egressd.registry.addresses import host_of_address
from egressd.registry.exposure import Exposure, find_bound
from egressd.registry.lookup import (
    MESH_GATEWAY,
    RecordingView,
    Service,
    choose_port,
    find_service,
    find_virtual_service,
)
from egressd.registry.profile import DEFAULT_PROFILE, NodeProfile
from egressd.registry.view import RegistryView
from egressd.routing.conditions import compile_match, regex_substitution
from egressd.routing.table import (
    ClusterKey,
    DirectResponse,
    Fault,
    HeaderOps,
    Redirect,
    RetryPolicy,
    Rewrite,
    Route,
    RouteTable,
    WeightedCluster,
)

DEFAULT_RETRY = RetryPolicy(
    attempts=2,
    retry_on=frozenset({"connect-failure", "refused-stream", "unavailable", "cancelled"}),
    statuses=frozenset({503}),
)
"""Istio's default retry policy, in force where `retries` is not set."""

_GRPC_OR_NAMED = frozenset({"retriable-status-codes"})


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
    recording = RecordingView(view)
    if exposures:
        return _gateway_table(recording, host, requested_port or 80, exposures)
    host = host_of_address(recording, host) or host  # a client may call a service by its address
    service = find_service(recording, host)
    port = _addressed_port(service, requested_port)
    found = find_virtual_service(recording, host, gateway)
    if found is not None:
        claim, record = found
        spec = record.resource.spec
        assert isinstance(spec, VirtualService)
        routes = tuple(
            _compile_route(recording, record.resource, index, route, port)
            for index, route in enumerate(spec.http)
        )
        return RouteTable(
            claim=claim,
            resource=record.resource.ref,
            port=port,
            routes=routes,
            depends_on=frozenset(recording.asked),
            needs_headers=_needs_headers(spec),
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
    view: RecordingView, host: str, port: int, exposures: tuple[Exposure, ...]
) -> RouteTable | None:
    """A name on a Gateway's port: only a bound VirtualService serves it (Istio); the port addressed
    is the server's."""
    found = find_bound(view, host, exposures)
    if found is None:
        return None
    resource = found.record.resource
    spec = resource.spec
    assert isinstance(spec, VirtualService)
    routes = tuple(
        _compile_route(view, resource, index, route, port) for index, route in enumerate(spec.http)
    )
    return RouteTable(
        claim=found.claim,
        resource=resource.ref,
        port=port,
        routes=routes,
        depends_on=frozenset(view.asked),
        needs_headers=_needs_headers(spec),
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


def _needs_headers(spec: VirtualService) -> bool:
    blocks = [match for route in spec.http for match in route.match]
    return any(match.headers or match.without_headers for match in blocks)


def _compile_route(
    view: RecordingView, resource: Resource, index: int, route: HTTPRoute, port: int
) -> Route:
    place = f"{resource.ref} spec.http[{index}]"
    destinations = _destinations(view, resource, route.route, port)
    request = route.headers.request if route.headers else None
    response = route.headers.response if route.headers else None
    return Route(
        name=route.name,
        place=place,
        matches=tuple(compile_match(match, n) for n, match in enumerate(route.match)),
        destinations=destinations,
        total_weight=destinations[-1].cumulative if destinations else 0,
        redirect=_redirect(route.redirect),
        direct_response=_direct_response(route),
        rewrite=_rewrite(route.rewrite),
        timeout_s=route.timeout or None,
        retry=retry_policy(route.retries),
        fault=_fault(route.fault),
        request_headers=header_ops(request),
        response_headers=header_ops(response),
    )


def _destinations(
    view: RecordingView, resource: Resource, routes: tuple[HTTPRouteDestination, ...], port: int
) -> tuple[WeightedCluster, ...]:
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
            WeightedCluster(key, weight, total, header_ops(request), header_ops(response))
        )
    return tuple(compiled)


def destination_key(
    view: RecordingView, resource: Resource, destination: Destination, addressed: int
) -> ClusterKey:
    """The cluster that a destination names (Istio `Destination`); its port is the one addressed where
    the service has it, else the service's own choice."""
    host = destination.host.lower().removesuffix(".")
    service = find_service(view, host)
    if service is None and "." not in host:
        # Istio: a short name belongs to the namespace of the resource that uses it.
        qualified = f"{host}.{resource.metadata.namespace}.svc.cluster.local"
        service = find_service(view, qualified)
        host = qualified if service is not None else host
    if destination.port is not None and destination.port.number:
        return ClusterKey(host, destination.subset, destination.port.number)
    chosen = choose_port(service, addressed) if service is not None else None
    number = chosen.number if chosen is not None else addressed
    return ClusterKey(host, destination.subset, number)


def header_ops(operations: HeaderOperations | None) -> HeaderOps | None:
    """Istio `Headers.HeaderOperations`; None when there is nothing to do."""
    if operations is None or not (operations.set or operations.add or operations.remove):
        return None
    return HeaderOps(
        set=tuple((k.encode(), v.encode()) for k, v in operations.set.items()),
        add=tuple((k.encode(), v.encode()) for k, v in operations.add.items()),
        remove=frozenset(name.lower().encode() for name in operations.remove),
    )


def retry_policy(retries: HTTPRetry | None) -> RetryPolicy | None:
    """Istio `HTTPRetry`: absent = the default policy, `attempts: 0` = none.

    Status codes may stand among the conditions of `retryOn`.
    """
    if retries is None:
        return DEFAULT_RETRY
    if retries.attempts <= 0:
        return None
    conditions = {token.strip() for token in retries.retry_on.split(",") if token.strip()}
    statuses = frozenset(int(token) for token in conditions if token.isdigit())
    named = frozenset(token for token in conditions if not token.isdigit()) - _GRPC_OR_NAMED
    base = retries.backoff or DEFAULT_RETRY.backoff_base_s
    return RetryPolicy(
        attempts=retries.attempts,
        retry_on=named if conditions else DEFAULT_RETRY.retry_on,
        statuses=statuses if conditions else DEFAULT_RETRY.statuses,
        per_try_timeout_s=retries.per_try_timeout or None,
        backoff_base_s=base,
        backoff_max_s=base * 10,
        explicit=bool(conditions),
    )


def _fault(fault: HTTPFaultInjection | None) -> Fault | None:
    """Istio `HTTPFaultInjection`: a part without a percentage applies to every request."""
    if fault is None:
        return None
    delay_s = delay_percent = abort_percent = 0.0
    status = 0
    if fault.delay is not None and fault.delay.fixed_delay is not None:
        delay_s = fault.delay.fixed_delay
        delay_percent = 100.0
        if fault.delay.percentage is not None:
            delay_percent = fault.delay.percentage.value
        elif fault.delay.percent:
            delay_percent = float(fault.delay.percent)
    if fault.abort is not None and fault.abort.http_status is not None:
        status = fault.abort.http_status
        abort_percent = 100.0
        if fault.abort.percentage is not None:
            abort_percent = fault.abort.percentage.value
    if not delay_percent and not abort_percent:
        return None
    return Fault(delay_s, delay_percent, status, abort_percent)


def _redirect(redirect: HTTPRedirect | None) -> Redirect | None:
    if redirect is None:
        return None
    return Redirect(
        status=redirect.redirect_code or 301,
        scheme=redirect.scheme.encode(),
        authority=redirect.authority.encode(),
        port=redirect.port,
        derive_port=str(redirect.derive_port or ""),
        path=redirect.uri.encode() if redirect.uri else None,
        prefix=redirect.prefix_rewrite.encode() if redirect.prefix_rewrite else None,
    )


def _direct_response(route: HTTPRoute) -> DirectResponse | None:
    direct = route.direct_response
    if direct is None:
        # Delegates are not yet acted on (`egressd.api.supported`): nothing is there to route to.
        return DirectResponse(404) if route.delegate is not None else None
    body = b""
    if direct.body is not None:
        body = direct.body.raw or (direct.body.string or "").encode()
    return DirectResponse(direct.status, body)


def _rewrite(rewrite: HTTPRewrite | None) -> Rewrite | None:
    if rewrite is None:
        return None
    regex = rewrite.uri_regex_rewrite
    return Rewrite(
        uri=rewrite.uri.encode() if rewrite.uri else None,
        authority=rewrite.authority.encode() if rewrite.authority else None,
        regex=regex_substitution(regex.match, regex.rewrite) if regex is not None else None,
    )
