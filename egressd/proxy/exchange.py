"""The life of one exchange, read from top to bottom (architecture.md, life of a request, 4 to 13)."""

from __future__ import annotations

from time import monotonic

from egressd.net.fiber import Cancelled, Deadline
from egressd.net.stream import StreamClosed
from egressd.proxy.authorization import authorize_request
from egressd.proxy.context import Exchange
from egressd.proxy.cors import answer_preflight, response_ops
from egressd.proxy.directory import Directory
from egressd.proxy.forward import forward
from egressd.proxy.header_values import with_values
from egressd.proxy.heads import own_answer_fields
from egressd.proxy.http1.fields import MalformedMessage, header_map
from egressd.proxy.http1.request import RequestHead, read_target, settle_upgrade
from egressd.proxy.overrides import overridden
from egressd.proxy.reply import ClientGone, LocalReply, as_grpc, is_grpc, render_reply
from egressd.proxy.scope import HostEntry, Name, Scope
from egressd.proxy.tunnel import connect_tunnel
from egressd.registry.view import awaited
from egressd.routing.match import choose_destination, redirect_location
from egressd.routing.request import BETWEEN_VALUES, Request
from egressd.routing.table import ClusterKey, Cors, Fault, Match, Route, RouteTable, WeightedCluster
from egressd.telemetry.flags import ResponseFlag


async def serve_exchange(x: Exchange) -> bool:
    """Answer one request. Returns whether the connection goes on. Never raises for one request's
    sake; `ClientGone` is counted here too."""
    try:
        if x.head.method == b"CONNECT":
            await connect_tunnel(x)
            return False
        await _run(x)
    except LocalReply as reply:
        reply.__traceback__ = None  # of one that a variable holds: a cycle that keeps the exchange
        await _answer(x, reply)
    except MalformedMessage as error:
        x.context.recorder.protocol_error("downstream")
        refusal = LocalReply(
            error.status,
            error.reason,
            flag=ResponseFlag.DPE,
            details="http1.codec_error",
            close=True,
        )
        await _answer(x, refusal)
    except ClientGone:
        x.flags = x.flags or (ResponseFlag.DC,)
        x.details = "downstream_remote_disconnect"
        x.keep_alive = False
    except Cancelled:
        if x.downstream.watch.gave_up:
            x.flags = x.flags or (ResponseFlag.DC,)
            x.details = "downstream_remote_disconnect"
            x.downstream.aborted = bool(x.status)
        raise
    finally:
        if x.body is not None:
            x.bytes_received = x.body.size
            x.body.failure = None  # its traceback leads back here: a cycle that keeps the buffers
        x.context.recorder.finished(x)
    return x.keep_alive


async def _run(x: Exchange) -> None:
    head, settings = x.head, x.context.settings
    if head.envoy is not None and not (settings.overrides and x.downstream.scope.is_mesh):
        head.ignore_envoy_headers()
    spelling, x.path, x.query, compared = read_target(head, settings.paths)
    name = x.downstream.scope.lookup(spelling)
    x.sent_authority = name.authority.text
    authorizer = x.context.directory.authorizer
    if authorizer is not None:
        port = addressed_port(x.downstream.scope, name)
        authorize_request(x, authorizer, name.authority, port, compared)
    if head.upgrade and not settle_upgrade(head, settings.upgrades):
        raise upgrade_refusal(head)
    entry = name.entry or pass_through(x.context.directory, x.downstream.scope, name)
    request = x.request
    fill_request(request, head, name, compared, x.query, entry)
    matched = entry.index.match(request)
    if matched is None:
        raise no_route(entry.table)
    route, x.match = matched
    if head.envoy is not None:
        route = overridden(route, head.envoy)
    x.route = route
    if route.destinations:
        point = x.context.rng() if len(route.destinations) > 1 else 0.0
        x.destination = choose_destination(route, point)
    if route.cors is not None:
        _apply_cors(x, route.cors)
    try:
        if route.fault is not None:
            await _inject(x, route.fault)
        if x.destination is None:
            raise answer_of(route, x.match, request)
        x.cluster = x.context.directory.cluster(entry, x.destination.key)
        await forward(x)
    except LocalReply as reply:
        reply.headers = own_answer_fields(
            route, x.destination, reply.headers, lambda ops: with_values(ops, x)
        )
        raise


def addressed_port(scope: Scope, name: Name) -> int:
    """The port of the service that the client addresses; on a Gateway the server's."""
    if not scope.is_mesh:
        return scope.port
    return name.entry.port if name.entry is not None else name.authority.port or 80


def upgrade_refusal(head: RequestHead) -> LocalReply:
    """The answer to a protocol that is not tunnelled (Envoy: 403, `upgrade_failed`): what is spoken
    behind a 101 is seen by no route and no policy."""
    return LocalReply(
        403,
        f"upgrade to {head.upgrade.decode('latin-1')[:40]} is not allowed (http.upgradeTypes)",
        flag=ResponseFlag.NR,
        details="upgrade_failed",
    )


def _apply_cors(x: Exchange, cors: Cors) -> None:
    headers = header_map(x.head.lines)
    preflight = answer_preflight(cors, x.head.method, headers)
    if preflight is not None:
        raise preflight
    ops = response_ops(cors, headers)
    x.extra_headers = ops if ops.set else None


def fill_request(
    request: Request, head: RequestHead, name: Name, path: bytes, query: bytes, entry: HostEntry
) -> None:
    """A connection has one request object, filled anew: routing keeps nothing of it. `path` is the one
    that is compared."""
    request.method = head.method
    request.path = path
    request.query = query
    request.authority = name.authority.text
    request.host = entry.host
    request.port = entry.port
    if entry.table.needs_headers:
        request.headers = header_map(head.lines, BETWEEN_VALUES)
        request.headers[b"host"] = name.authority.text


def pass_through(directory: Directory, scope: Scope, name: Name) -> HostEntry:
    """The way of a name that nothing claims, made when it is first taken. Raises `LocalReply` where
    there is none."""
    host, port, _ = name.authority
    if (refusal := unknown_refusal(scope, name)) is not None:
        raise refusal
    entry = name.passed
    if entry is None or not entry.clusters:  # or its cluster was dropped
        runtime = directory.unknown(scope, host, port or 80)
        entry = name.passed = passed_through(host, port or 80, runtime.key)
        directory.hold(entry, runtime.key, runtime)
    return entry


def unknown_refusal(scope: Scope, name: Name) -> LocalReply | None:
    """Istio `outboundTrafficPolicy`: refuse what no resource serves, or (None) pass it through to where
    the client asked."""
    host = name.authority.host
    if not scope.is_mesh:
        why = name.reason or f"no VirtualService bound to Gateway {scope.gateway} has this host"
        return LocalReply(
            404,
            f"{host}: {why}",
            flag=ResponseFlag.NR,
            details="route_not_found",
        )
    if not scope.allow_any:
        why = name.reason or "no ServiceEntry or VirtualService names this host"
        return LocalReply(
            502,
            f"{host}: {why} (outboundTrafficPolicy REGISTRY_ONLY)"
            f"{'' if name.reason else awaited(scope.view)}",
            flag=ResponseFlag.NR,
            details="route_not_found",
        )
    return None


def passed_through(host: str, port: int, key: ClusterKey) -> HostEntry:
    """A name that no resource names, on its way to a cluster of its own."""
    route = Route(
        name="allow_any", place="outboundTrafficPolicy ALLOW_ANY", matches=(),
        destinations=(WeightedCluster(key, 100, 100),), total_weight=100,
    )  # fmt: skip
    return HostEntry(host, port, RouteTable(host, "ALLOW_ANY", port, (route,), frozenset()))


def no_route(table: RouteTable) -> LocalReply:
    """The answer where a table has no route for a request."""
    return LocalReply(
        404,
        f"no route of {', '.join((table.resource, *table.merged))} matches",
        flag=ResponseFlag.NR,
        details="route_not_found",
    )


async def _inject(x: Exchange, fault: Fault) -> None:
    """Istio `HTTPFaultInjection`: delay first, then abort, each by its own percentage."""
    rng = x.context.rng
    if fault.delay_percent and rng() * 100.0 < fault.delay_percent:
        x.flags = (ResponseFlag.DI,)
        x.context.recorder.fault_injected("delay")
        await x.fiber.sleep(fault.delay_s)
        if x.stream.dead:
            raise ClientGone
    if fault.abort_percent and rng() * 100.0 < fault.abort_percent:
        x.context.recorder.fault_injected("abort")
        raise aborted(fault, x.flags)


def aborted(fault: Fault, flags: tuple[ResponseFlag, ...]) -> LocalReply:
    """The answer of an injected abort; `flags` is what happened before."""
    return LocalReply(
        fault.abort_status,
        "fault filter abort",
        flag=(*flags, ResponseFlag.FI),
        details="fault_filter_abort",
        grpc_status=fault.abort_grpc_status,
    )


def answer_of(route: Route, match: Match | None, request: Request) -> LocalReply:
    """Redirect or direct response of a route that has no destination."""
    if route.redirect is not None:
        location = redirect_location(route.redirect, match, request)
        return LocalReply(
            route.redirect.status, "", headers=((b"location", location),), details="direct_response"
        )
    if route.direct_response is not None:
        return LocalReply(route.direct_response.status, "", body=route.direct_response.body)
    return LocalReply(
        503,
        f"{route.place}: all destinations have weight 0",
        flag=ResponseFlag.NC,
        details="cluster_not_found",
    )


async def _answer(x: Exchange, reply: LocalReply) -> None:
    """Send a local reply; a request body that was not read to its end closes the connection."""
    head = x.head
    if is_grpc(head.lines):
        reply = as_grpc(reply)
    if x.extra_headers is not None:
        reply.headers = (*reply.headers, *x.extra_headers.set, *x.extra_headers.add)
    read = x.skip_buffered_body()
    x.keep_alive = x.keep_alive and not reply.close and read and not x.downstream.scope.draining
    x.status = reply.status
    x.flags = reply.flags or x.flags
    x.details = reply.details
    data = render_reply(reply, method=head.method, minor=head.minor, keep_alive=x.keep_alive)
    x.bytes_sent = len(reply.body) if head.method != b"HEAD" else 0
    x.fiber.set_deadline(monotonic() + x.context.settings.stream_idle_timeout_s)
    try:
        await x.stream.send_all(x.fiber, data)
    except (StreamClosed, Deadline):
        x.keep_alive = False
        x.add_flag(ResponseFlag.DC)
