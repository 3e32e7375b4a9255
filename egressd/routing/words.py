"""Compiled routes in words: tables as text, the first condition that fails, policies. Pure."""

from __future__ import annotations

from egressd.api.secret import shown_header
from egressd.routing.l4 import Connection, L4Match
from egressd.routing.request import Request
from egressd.routing.table import Fault, HeaderOps, Match, RetryPolicy, Route, RouteTable


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
        if value is None:
            return "no such header"
        return f'"{shown_header(name, value.decode("latin-1"))}"'
    if kind.startswith("queryParams"):
        names = [part.partition(b"=")[0] for part in request.query.split(b"&")]
        return "another value" if name.encode() in names else "no such parameter"
    values = {
        "method": request.method.decode("latin-1"),
        "scheme": request.scheme.decode("latin-1"),
        "authority": request.authority.decode("latin-1"),
    }
    return values.get(kind, "something else")


def first_l4_failure(match: L4Match, connection: Connection) -> str:
    """The same of a block of a `tls` or `tcp` route."""
    for field, words, test in match.tests:
        if not test(connection):
            kind = field.partition(".")[2]
            values = {
                "sniHosts": connection.sni or "no server name",
                "destinationSubnets": connection.destination or "no known destination",
                "sourceSubnet": connection.source or "no known source",
            }
            return f"{field}: wants {words}, found {values.get(kind, 'something else')}"
    return ""


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


def ops_lines(side: str, where: str, ops: HeaderOps | None) -> list[str]:
    """Header operations, a line each."""
    if ops is None:
        return []
    lines = [f"{side}{where}: set {_field(*field)}" for field in ops.set]
    lines += [f"{side}{where}: add {_field(*field)}" for field in ops.add]
    return lines + [f"{side}{where}: remove {name.decode()}" for name in sorted(ops.remove)]


def _field(name: bytes, value: bytes) -> str:
    return f"{name.decode()}: {shown_header(name.decode(), value.decode())}"


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
