"""Step 5, what is done to the request: CORS, faults, the node's own answers, rewrites and headers,
mirrors."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from egressd.api.secret import shown_header
from egressd.explain.model import By, MirrorLine, Sent, Step
from egressd.explain.question import Node
from egressd.proxy.cors import answer_preflight, response_ops
from egressd.proxy.exchange import aborted, answer_of
from egressd.proxy.heads import own_answer_fields, upstream_head
from egressd.proxy.http1.fields import header_map, split_fields
from egressd.proxy.http1.request import RequestHead
from egressd.proxy.mirror import shadow_authority
from egressd.proxy.reply import LocalReply
from egressd.routing.path import PathNormalizer
from egressd.routing.request import Request
from egressd.routing.table import HeaderOps, Match, Route, WeightedCluster
from egressd.routing.words import fault_text, ops_lines
from egressd.telemetry.flags import ResponseFlag
from egressd.upstream.compile import UnknownCluster, cluster_sources


class _NewIds:
    def new_request_id(self) -> bytes:
        return b"(a new one)"


@dataclass(slots=True)
class Going:
    """A request on its way out: what `upstream_head` reads, and what it finds."""

    head: RequestHead
    request: Request
    path: bytes
    query: bytes
    sent_authority: bytes
    paths: PathNormalizer
    route: Route | None = None
    match: Match | None = None
    destination: WeightedCluster | None = None
    context: _NewIds = field(default_factory=_NewIds)
    sent_target: bytes = b""
    sent_lines: bytes = b""
    request_id: bytes = b""


def _as_written(ops: HeaderOps) -> HeaderOps:
    """What a command in a value will say is not known before the request comes."""
    return ops


def filter_steps(going: Going, route: Route, decided: By | None, steps: list[Step]) -> None:
    """CORS, fault, redirect and direct response, in this order. Raises `LocalReply` where the node
    answers every such request itself."""
    if route.cors is not None:
        headers = header_map(going.head.lines)
        preflight = answer_preflight(route.cors, going.head.method, headers)
        set_ = response_ops(route.cors, headers)
        lines = tuple(ops_lines("response", "", set_))
        says = (
            "a preflight, answered here"
            if preflight is not None
            else "the response gets its fields"
        )
        if preflight is None and not lines:
            says = "no Origin that the policy allows: nothing is added"
        steps.append(Step("cors", says, decided, notes=lines))
        if preflight is not None:
            raise preflight
    if route.fault is not None:
        steps.append(Step("fault", fault_text(route.fault), decided))
        if route.fault.abort_percent >= 100.0:
            flags = (ResponseFlag.DI,) if route.fault.delay_percent >= 100.0 else ()
            raise _with_fields(aborted(route.fault, flags), route)
    if not route.destinations:
        reply = answer_of(route, going.match, going.request)
        kind = "redirect" if route.redirect is not None else "direct response"
        says = f"{kind} {reply.status}" if not reply.flag else str(reply)
        lines = tuple(ops_lines("response", "", route.response_headers))
        steps.append(Step("answer", says, decided, notes=lines))
        raise _with_fields(reply, route)


def _with_fields(reply: LocalReply, route: Route) -> LocalReply:
    """The response operations of the route are for the node's own answers, too."""
    only = route.destinations[0] if len(route.destinations) == 1 else None
    reply.headers = own_answer_fields(route, only, reply.headers, _as_written)
    return reply


def sent_to(going: Going, destination: WeightedCluster) -> Sent:
    """The head that one destination gets."""
    authority = going.sent_authority
    going.destination = destination
    lines = upstream_head(going, _as_written, going.paths).partition(b"\r\n")[2]
    sent = Sent(
        going.head.method.decode("latin-1"),
        going.sent_target.decode("latin-1"),
        going.sent_authority.decode("latin-1"),
        _shown_fields(split_fields(lines)),
    )
    going.sent_authority = authority
    return sent


def send_step(going: Going, route: Route, sent: list[Sent], decided: By | None) -> Step:
    """The request as it goes on, with what changed."""
    before = going.path + (b"?" + going.query if going.query else b"")
    first = sent[0]
    notes = []
    if first.target != before.decode("latin-1"):
        notes.append(f"path was {before.decode('latin-1')} (rewrite)")
    if first.authority != going.sent_authority.decode("latin-1"):
        notes.append(f"Host was {going.sent_authority.decode('latin-1')} (rewrite)")
    notes += ops_lines("request", "", route.request_headers)
    notes += ops_lines("response", "", route.response_headers)
    for destination in route.destinations:
        where = f" to {destination.key}"
        notes += ops_lines("request", where, destination.request_headers)
        notes += ops_lines("response", where, destination.response_headers)
    if any(one.headers != first.headers for one in sent) or notes:
        for at, one in enumerate(sent):
            to = f" to {route.destinations[at].key}" if len(sent) > 1 else ""
            fields = ", ".join(f"{name}: {value}" for name, value in one.headers)
            notes.append(f"sent{to}: {one.method} {one.target}; {fields}")
    says = f"{first.method} {first.target} with Host {first.authority}"
    return Step("send", says, decided if notes else None, notes=tuple(notes))


def mirror_lines(node: Node, route: Route, sent: Sent) -> tuple[MirrorLine, ...]:
    """Copies of the request; they never change its answer."""
    view = node.reached
    authority = shadow_authority(sent.authority.encode("latin-1")).decode("latin-1")
    found = []
    for mirror in route.mirrors:
        problem = ""
        try:
            cluster_sources(view, mirror.key, node.profile)
        except UnknownCluster as unknown:
            problem = f"dropped: {unknown}"
        found.append(MirrorLine(str(mirror.key), mirror.percent, authority, problem))
    return tuple(found)


def reply_headers(reply: LocalReply) -> tuple[tuple[str, str], ...]:
    """The fields that an answer of the node carries besides framing."""
    return _shown_fields(reply.headers)


def _shown_fields(fields: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
    shown = [(name.decode("latin-1"), value.decode("latin-1")) for name, value in fields]
    return tuple((name, shown_header(name, value)) for name, value in shown)
