"""The life of a request or connection, from the listener to the endpoint: read from top to bottom."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from egressd.explain.arrival import Arrival, Ended, arrive
from egressd.explain.connections import connection_step
from egressd.explain.destinations import Aim, destination_line, unknown_line
from egressd.explain.filters import (
    Going,
    filter_steps,
    mirror_lines,
    reply_headers,
    send_step,
    sent_to,
)
from egressd.explain.model import (
    DestinationLine,
    Explanation,
    MirrorLine,
    Outcome,
    Section,
    Sent,
    Step,
)
from egressd.explain.policies import authorization
from egressd.explain.policy import route_sections
from egressd.explain.question import Node, Question
from egressd.explain.routes import Written, name_step, route_step
from egressd.explain.spellings import with_server_name, with_spellings
from egressd.explain.visibility import visibility
from egressd.proxy.authorization import add_request, denial
from egressd.proxy.cluster_by_name import key_by_name
from egressd.proxy.exchange import (
    addressed_port,
    fill_request,
    no_route,
    passed_through,
    unknown_refusal,
    upgrade_refusal,
)
from egressd.proxy.http1.fields import MalformedMessage
from egressd.proxy.http1.request import (
    RequestHead,
    parse_request,
    read_connect,
    read_target,
    settle_upgrade,
)
from egressd.proxy.l4_target import (
    L4Target,
    Routes,
    auto_passthrough_target,
    choose_cluster,
    connect_routes,
    connect_target,
    tcp_routes,
    tcp_target,
    tls_routes,
    tls_target,
)
from egressd.proxy.overrides import overridden
from egressd.proxy.reply import LocalReply, as_grpc, is_grpc
from egressd.registry.lookup import meant_host
from egressd.routing.authorization import Facts, compile_authorizer, parse_address
from egressd.routing.gateway import Handling
from egressd.routing.l4 import Connection
from egressd.routing.request import Request
from egressd.routing.table import WeightedCluster
from egressd.routing.words import fault_text
from egressd.telemetry.flags import ResponseFlag


class _Way(NamedTuple):
    """What a request has come to."""

    destinations: tuple[DestinationLine, ...]
    mirrors: tuple[MirrorLine, ...] = ()
    fault: str = ""  # what some of the requests meet instead


def explain(node: Node, question: Question) -> Explanation:
    """What would happen, and why. Raises `BadQuestion` where the question lacks something."""
    steps: list[Step] = []
    lines = b""
    is_plain = False
    try:
        arrival = arrive(node, question)
        steps.append(with_server_name(arrival.step, question.sni, arrival.sni))
        is_plain = not arrival.is_http
        if is_plain:
            way = _connection(node, question, arrival, steps)
        else:
            head = parse_request(question.head, node.methods)
            lines = head.lines
            if head.method == b"CONNECT":
                way = _connect(node, question, arrival, head, steps)
            else:
                way = _request(node, question, arrival, head, steps)
    except Ended as ended:
        outcome = Outcome("closed", str(ended), 0, ended.flag, ended.details)
        return Explanation(question.words, outcome, (*steps, ended.step))
    except MalformedMessage as error:
        outcome = Outcome(
            "answered",
            error.reason,
            error.status,
            ResponseFlag.DPE,
            "http1.codec_error",
        )
        return Explanation(question.words, outcome, tuple(steps))
    except LocalReply as reply:
        outcome = _answered(reply, lines, is_plain, steps[-1].says)
        return Explanation(question.words, outcome, tuple(steps))
    outcome = _went(way, is_plain)
    return Explanation(question.words, outcome, tuple(steps), way.destinations, way.mirrors)


def _request(
    node: Node, question: Question, arrival: Arrival, head: RequestHead, steps: list[Step]
) -> _Way:
    scope = arrival.scope
    if not (node.overrides and scope.is_mesh):
        head.ignore_envoy_headers()
    spelling, path, query, compared = read_target(head, node.paths)
    name = scope.lookup(spelling)
    host, port, text = name.authority
    steps[-1] = with_spellings(steps[-1], node, head, spelling, text, path)
    entry = name.entry
    steps.append(visibility(node, arrival, _meant(node, arrival, host)))
    facts = _facts(question, arrival, addressed_port(scope, name))
    add_request(facts, head, name.authority, compared, query, is_mesh=scope.is_mesh)
    _authorize(node, facts, steps)
    if head.upgrade and not settle_upgrade(head, node.upgrades):
        raise upgrade_refusal(head)
    steps.append(name_step(node, arrival, host, port, entry.table if entry is not None else None))
    is_unknown = entry is None
    if entry is None:
        if (refusal := unknown_refusal(scope, name)) is not None:
            raise refusal
        key = scope.egress_proxy or key_by_name(host, port or 80, None)
        entry = passed_through(host, port or 80, key)
    request = Request(b"", b"", b"", b"", "", 0, scheme=_scheme(arrival))
    fill_request(request, head, name, compared, query, entry)
    matched = entry.index.match(request)
    step = route_step(node, entry, request, matched)
    steps.append(step)
    if matched is None:
        raise no_route(entry.table)
    route, match = matched
    if head.envoy is not None:
        route = overridden(route, head.envoy)
    going = Going(head, request, path, query, text, node.paths, route, match)
    filter_steps(going, route, step.by, steps)
    sent = [sent_to(going, destination) for destination in route.destinations]
    steps.append(send_step(going, route, sent, step.by))
    aim = Aim(host, arrival.source, head.lines, query)
    if is_unknown and scope.egress_proxy is None:
        return _Way((unknown_line(node, aim, port or 80, sent[0]),))
    ours = route_sections(route, Written(node, entry.table, route))
    found = _lines(node, aim, route.destinations, route.total_weight, sent, ours)
    return _Way(found, mirror_lines(node, route, sent[0]), fault_text(route.fault))


def _connect(
    node: Node, question: Question, arrival: Arrival, head: RequestHead, steps: list[Step]
) -> _Way:
    authority, port = read_connect(head)
    host, _, text = authority
    scope = arrival.scope
    steps[-1] = with_spellings(steps[-1], node, head, head.target, text, b"")
    steps.append(visibility(node, arrival, host))
    facts = _facts(question, arrival, port if scope.is_mesh else scope.port)
    add_request(facts, head, authority, b"", b"", is_mesh=scope.is_mesh)
    _authorize(node, facts, steps)
    connection = Connection(port, host, "", arrival.source)
    found = connect_routes(scope, connection)
    target: L4Target | None = None
    try:
        target = connect_target(scope, connection, node.connect_ports)
    finally:
        steps.append(connection_step(node, arrival, connection, found, target))
    aim = Aim(host, arrival.source, originates_tls=False)
    return _target_lines(node, arrival, aim, target, port)


def _connection(node: Node, question: Question, arrival: Arrival, steps: list[Step]) -> _Way:
    scope = arrival.scope
    connection = Connection(arrival.port, arrival.sni, arrival.address, arrival.source)
    auto = arrival.handling is Handling.AUTO_PASSTHROUGH
    by_name = arrival.handling is Handling.PASSTHROUGH
    found = (tls_routes if by_name else tcp_routes)(scope, connection)
    steps.append(visibility(node, arrival, found.host))
    _authorize(node, _facts(question, arrival, arrival.port), steps)
    find = tls_target if by_name else auto_passthrough_target if auto else tcp_target
    target: L4Target | None = None
    try:
        target = find(scope, connection)
    finally:
        looked = Routes(found.host) if auto else found
        steps.append(connection_step(node, arrival, connection, looked, target))
    return _target_lines(node, arrival, Aim(target.host, arrival.source), target, arrival.port)


# -- parts ---------------------------------------------------------------------------------------


def _meant(node: Node, arrival: Arrival, host: str) -> str:
    if arrival.mesh is None:
        return host
    return meant_host(node.view, host, node.profile.namespace)


def _facts(question: Question, arrival: Arrival, port: int) -> Facts:
    address = arrival.address or arrival.local
    return Facts(
        source=parse_address(arrival.source),
        principals=(question.principal,) if question.principal else (),
        destination=parse_address(address) if address else None,
        port=port,
        sni=arrival.sni,
        scheme=_scheme(arrival).decode(),
    )


def _scheme(arrival: Arrival) -> bytes:
    return b"https" if arrival.handling is Handling.HTTPS else b"http"


def _authorize(node: Node, facts: Facts, steps: list[Step]) -> None:
    authorizer = compile_authorizer(node.view, node.profile)
    step, verdict = authorization(node, authorizer, facts)
    steps.append(step)
    if (refusal := denial(verdict)) is not None:
        raise refusal


def _target_lines(node: Node, arrival: Arrival, aim: Aim, target: L4Target, port: int) -> _Way:
    key = choose_cluster(target, 0.0)  # raises for a route whose weights are all 0
    if target.route is not None:
        route = target.route
        return _Way(_lines(node, aim, route.destinations, route.total_weight, [], ()))
    if key is None:
        proxy = arrival.scope.egress_proxy
        if proxy is None:
            return _Way((unknown_line(node, aim, port, None),))
        key = proxy
    return _Way((destination_line(node, aim, key, 100, 100.0, None),))


def _lines(
    node: Node,
    aim: Aim,
    destinations: tuple[WeightedCluster, ...],
    total: int,
    sent: list[Sent],
    route: tuple[Section, ...],
) -> tuple[DestinationLine, ...]:
    return tuple(
        destination_line(
            node, aim, one.key, one.weight, 100.0 * one.weight / total,
            sent[at] if sent else None, route,
        )
        for at, one in enumerate(destinations)
    )  # fmt: skip


def _answered(reply: LocalReply, lines: bytes, is_plain: bool, last: str) -> Outcome:
    """The answer of the node itself, which the last step led to; a plain connection is closed."""
    if is_plain:
        return Outcome("closed", str(reply), 0, reply.flag, reply.details)
    shown = as_grpc(reply) if is_grpc(b"\r\n" + lines) else reply
    return Outcome(
        "answered",
        str(reply) or last,
        shown.status,
        reply.flag,
        reply.details,
        reply_headers(shown),
    )


def _went(way: _Way, is_plain: bool) -> Outcome:
    destinations = way.destinations
    first = destinations[0]
    if all(one.problem is not None for one in destinations):
        assert first.problem is not None
        if is_plain:
            return msgspec.structs.replace(first.problem, kind="closed", status=0)
        return first.problem
    parts = [
        f"{one.share:g} % to {one.cluster}{f' (status {one.problem.status})' if one.problem else ''}"
        for one in destinations
    ]
    says = f"forwarded: {', '.join(parts)}" if len(parts) > 1 else f"forwarded to {first.cluster}"
    return Outcome("forwarded", f"{says}; fault: {way.fault}" if way.fault else says)
