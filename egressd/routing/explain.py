"""Why a request would go where it goes, step by step. Pure: the same tables and conditions as the
hot path, with words.

An `Explanation` is a value that programs read as JSON and `render_text` prints for people.
"""

from __future__ import annotations

import msgspec

from egressd.registry.lookup import candidates, choose_port, find_service
from egressd.registry.profile import DEFAULT_PROFILE, NodeProfile
from egressd.registry.view import RegistryView
from egressd.routing.compile import compile_routes
from egressd.routing.match import match_route, redirect_location, rewrite_target
from egressd.routing.request import Request
from egressd.routing.table import Fault, HeaderOps, Match, RetryPolicy, Route, RouteTable


class Tried(msgspec.Struct, frozen=True):
    """One route that was looked at. `why` is the first condition that failed of each block."""

    route: str
    name: str
    matched: bool
    why: tuple[str, ...] = ()


class Target(msgspec.Struct, frozen=True):
    """One destination of the chosen route; `share` in percent."""

    cluster: str
    host: str
    subset: str
    port: int
    weight: int
    share: float


class Explanation(msgspec.Struct, frozen=True, omit_defaults=True):
    """The decision on one request and the steps to it."""

    method: str
    url: str
    host: str
    port: int
    claims_tried: tuple[str, ...]
    claim: str = ""
    resource: str = ""
    service: str = ""
    port_reason: str = ""
    tried: tuple[Tried, ...] = ()
    route: str = ""
    route_name: str = ""
    result: str = ""  # what the client gets or where the request goes, in one line
    destinations: tuple[Target, ...] = ()
    path: str = ""
    authority: str = ""
    timeout_s: float = 0.0
    retries: str = ""
    fault: str = ""
    headers: tuple[str, ...] = ()
    location: str = ""
    status: int = 0


def explain(
    view: RegistryView,
    request: Request,
    requested_port: int | None,
    *,
    allow_any: bool = False,
    profile: NodeProfile = DEFAULT_PROFILE,
) -> Explanation:
    """Explain one request; `request.port` is set here to the port that is addressed."""
    table = compile_routes(
        view, request.host, requested_port, gateway=request.gateway, profile=profile
    )
    url = f"{request.scheme.decode()}://{request.authority.decode('latin-1')}{_target(request)}"
    tried = tuple(candidates(request.host))
    start = Explanation(
        method=request.method.decode(), url=url, host=request.host, port=0, claims_tried=tried
    )
    if table is None:
        result = "passed through to where the client asked (outboundTrafficPolicy ALLOW_ANY)"
        if not allow_any:
            result = "502, flag NR: no VirtualService or ServiceEntry claims this host"
        return msgspec.structs.replace(start, result=result, status=0 if allow_any else 502)
    request.port = table.port
    start = msgspec.structs.replace(
        start,
        port=table.port,
        claim=table.claim,
        resource=table.resource,
        service=table.service,
        port_reason=_port_reason(view, request.host, requested_port),
        tried=_tried(table, request),
    )
    found = match_route(table, request)
    if found is None:
        return msgspec.structs.replace(
            start, status=404, result=f"404, flag NR: no route of {table.resource} matches"
        )
    return _chosen(start, *found, request)


def _target(request: Request) -> str:
    path = request.path.decode("latin-1")
    return f"{path}?{request.query.decode('latin-1')}" if request.query else path


def _port_reason(view: RegistryView, host: str, requested: int | None) -> str:
    service = find_service(view, host)
    if service is None:
        return "no ServiceEntry: as the client named it" if requested else "default of http"
    chosen = choose_port(service, requested)
    if chosen is None:
        return "the ServiceEntry has no ports"
    if chosen.number == requested:
        return "named by the client"
    named = f"{requested} is not a port of it; " if requested else ""
    return f"{named}80, or its first HTTP port, or its first port"


def _tried(table: RouteTable, request: Request) -> tuple[Tried, ...]:
    steps: list[Tried] = []
    for route in table.routes:
        failures = [first_failure(match, request) for match in route.matches]
        matched = not failures or "" in failures
        steps.append(Tried(route.place, route.name, matched, () if matched else tuple(failures)))
        if matched:
            break
    return tuple(steps)


def first_failure(match: Match, request: Request) -> str:
    """The first condition of a block that does not hold, with what was found; "" = all hold."""
    for field, words, predicate in match.text:
        if not predicate(request):
            return f"{field}: wants {words}, found {_found(field, request)}"
    return ""


def _found(field: str, request: Request) -> str:
    kind = field.partition(".")[2]
    name = kind.partition("[")[2].removesuffix("]")
    if kind == "uri":
        return f'"{request.path.decode("latin-1")}"'
    if kind.startswith(("headers", "withoutHeaders")):
        value = request.headers.get(name.lower().encode())
        return "no such header" if value is None else f'"{value.decode("latin-1")}"'
    if kind.startswith("queryParams"):
        return f'query "{request.query.decode("latin-1")}"'
    values = {
        "method": request.method.decode("latin-1"),
        "scheme": request.scheme.decode("latin-1"),
        "authority": request.authority.decode("latin-1"),
        "port": str(request.port),
        "sourceLabels": ",".join(f"{k}={v}" for k, v in request.source_labels.items()) or "none",
        "sourceNamespace": request.source_namespace,
        "gateways": request.gateway,
    }
    return values.get(kind, "something else")


def _chosen(start: Explanation, route: Route, match: Match | None, request: Request) -> Explanation:
    common = msgspec.structs.replace(
        start, route=route.place, route_name=route.name, fault=fault_text(route.fault)
    )
    if route.redirect is not None:
        location = redirect_location(route.redirect, match, request).decode("latin-1")
        status = route.redirect.status
        return msgspec.structs.replace(
            common, status=status, location=location, result=f"{status} to {location}"
        )
    if route.direct_response is not None:
        status = route.direct_response.status
        return msgspec.structs.replace(common, status=status, result=f"direct response {status}")
    if not route.destinations:
        return msgspec.structs.replace(
            common, status=503, result="503, flag NC: every destination has weight 0"
        )
    authority = request.authority
    if route.rewrite is not None and route.rewrite.authority is not None:
        authority = route.rewrite.authority
    targets = tuple(
        Target(
            str(d.key), d.key.host, d.key.subset, d.key.port, d.weight,
            round(100 * d.weight / route.total_weight, 2),
        )
        for d in route.destinations
    )  # fmt: skip
    return msgspec.structs.replace(
        common,
        destinations=targets,
        path=rewrite_target(route, match, request).decode("latin-1"),
        authority=authority.decode("latin-1"),
        timeout_s=route.timeout_s or 0.0,
        retries=retry_text(route.retry),
        headers=_header_lines(route),
        result="forwarded to " + ", ".join(f"{t.cluster} ({t.share:g} %)" for t in targets),
    )


def retry_text(policy: RetryPolicy | None) -> str:
    """A retry policy in words."""
    if policy is None:
        return "none"
    conditions = sorted(policy.retry_on) + sorted(str(status) for status in policy.statuses)
    each = f", {policy.per_try_timeout_s:g} s each" if policy.per_try_timeout_s else ""
    default = "" if policy.explicit else " (Istio's default conditions)"
    return f"{policy.attempts} on {','.join(conditions)}{each}{default}"


def fault_text(fault: Fault | None) -> str:
    """A fault injection in words."""
    if fault is None:
        return ""
    parts = []
    if fault.delay_percent:
        parts.append(f"delay {fault.delay_s:g} s for {fault.delay_percent:g} %")
    if fault.abort_percent:
        parts.append(f"abort with {fault.abort_status} for {fault.abort_percent:g} %")
    return ", ".join(parts)


def _header_lines(route: Route) -> tuple[str, ...]:
    lines = [*_ops("request", "", route.request_headers)]
    lines += _ops("response", "", route.response_headers)
    for destination in route.destinations:
        where = f" to {destination.key}"
        lines += _ops("request", where, destination.request_headers)
        lines += _ops("response", where, destination.response_headers)
    return tuple(lines)


def _ops(side: str, where: str, ops: HeaderOps | None) -> list[str]:
    if ops is None:
        return []
    lines = [f"{side}{where}: set {k.decode()}: {v.decode()}" for k, v in ops.set]
    lines += [f"{side}{where}: add {k.decode()}: {v.decode()}" for k, v in ops.add]
    return lines + [f"{side}{where}: remove {name.decode()}" for name in sorted(ops.remove)]


def render_text(found: Explanation) -> str:
    """An explanation for people."""
    lines = [f"{found.method} {found.url}"]
    lines.append(f"  host     {found.host}, tried {' > '.join(found.claims_tried)}")
    if found.claim:
        kind = "VirtualService" if found.resource.startswith("VirtualService") else "implicit route"
        lines.append(f"  claim    {found.claim} by {found.resource} ({kind})")
        lines.append(f"  port     {found.port} ({found.port_reason})")
    for step in found.tried:
        lines.append(
            f"  {'match  ' if step.matched else 'no match'} {step.route} {step.name}".rstrip()
        )
        lines += [f"             {why}" for why in step.why]
    lines.append(f"  result   {found.result}")
    if found.destinations:
        lines.append(f"  sent as  {found.method} {found.path} Host: {found.authority}")
        lines.append(f"  timeout  {f'{found.timeout_s:g} s' if found.timeout_s else 'none'}")
        lines.append(f"  retries  {found.retries}")
    if found.fault:
        lines.append(f"  fault    {found.fault}")
    lines += [f"  headers  {line}" for line in found.headers]
    return "\n".join(lines) + "\n"


def render_table(table: RouteTable) -> str:
    """A route table as text that can be read and diffed."""
    lines = [f"{table.claim} port {table.port} by {table.resource}"]
    for route in table.routes:
        blocks = [
            " and ".join(f"{field.partition('.')[2]} {words}" for field, words, _ in match.text)
            or "always"
            for match in route.matches
        ] or ["always"]
        lines.append(f"  {route.place} {route.name}".rstrip())
        lines.append(f"    when {' or '.join(blocks)}")
        lines.append(f"    then {_action(route)}")
    return "\n".join(lines) + "\n"


def _action(route: Route) -> str:
    if route.redirect is not None:
        return f"redirect {route.redirect.status}"
    if route.direct_response is not None:
        return f"direct response {route.direct_response.status}"
    targets = ", ".join(f"{d.key} weight {d.weight}" for d in route.destinations) or "503"
    parts = [targets, f"retries {retry_text(route.retry)}"]
    if route.timeout_s:
        parts.append(f"timeout {route.timeout_s:g} s")
    if route.fault is not None:
        parts.append(f"fault {fault_text(route.fault)}")
    return "; ".join(parts)


__all__ = ["Explanation", "explain", "render_table", "render_text"]
