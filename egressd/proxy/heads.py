"""The heads that go on: the request's upstream, the response's downstream. Hop-by-hop fields off,
operations applied, framing and request id on."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from egressd.proxy.context import Exchange
from egressd.proxy.header_values import with_values
from egressd.proxy.http1.fields import MalformedMessage, join_fields, split_fields
from egressd.proxy.http1.request import RequestHead
from egressd.proxy.http1.response import ResponseHead
from egressd.proxy.reply import connection_line, reason_phrase
from egressd.routing.match import apply_header_ops, rewrite_path
from egressd.routing.path import InvalidPath, PathNormalizer
from egressd.routing.request import Request
from egressd.routing.table import HeaderOps, Match, Route, WeightedCluster

Valued = Callable[[HeaderOps], HeaderOps]


class NewIds(Protocol):
    """Where request ids come from."""

    def new_request_id(self) -> bytes: ...


class Outgoing(Protocol):
    """What of an exchange makes the head that goes upstream."""

    @property
    def route(self) -> Route | None: ...

    @property
    def match(self) -> Match | None: ...

    @property
    def destination(self) -> WeightedCluster | None: ...

    @property
    def head(self) -> RequestHead: ...

    @property
    def request(self) -> Request: ...

    @property
    def path(self) -> bytes: ...

    @property
    def query(self) -> bytes: ...

    @property
    def context(self) -> NewIds: ...

    sent_target: bytes
    sent_authority: bytes
    sent_lines: bytes
    request_id: bytes


def upstream_head(x: Outgoing, valued: Valued, paths: PathNormalizer) -> bytes:
    """The head as the endpoint gets it: rewritten, hop-by-hop fields off, framing and id on. `valued`
    replaces the commands in the values of header operations. Raises `MalformedMessage` for a path that
    a rewrite leads out of where it should stay."""
    route, head, destination = x.route, x.head, x.destination
    assert route is not None and destination is not None
    authority = x.sent_authority
    if route.rewrite is not None:
        path = _rewritten(x, route, paths)
        if route.rewrite.authority is not None:
            authority = route.rewrite.authority
    else:
        path = x.path
    target = b"%b?%b" % (path, x.query) if x.query else path
    lines = head.end_to_end_lines()
    if route.request_headers or destination.request_headers:
        all_ops = (route.request_headers, destination.request_headers)
        lines, authority = _with_ops(lines, authority, [valued(ops) for ops in all_ops if ops])
    if authority != head.host:
        lines = _with_host(lines, authority)
    x.sent_target, x.sent_authority, x.sent_lines = target, authority, lines
    extra = b""
    if not head.request_id:
        x.request_id = x.context.new_request_id()
        extra = b"x-request-id: %b\r\n" % x.request_id
    if head.chunked:
        extra += b"transfer-encoding: chunked\r\n"
    if head.upgrade:
        extra += b"connection: upgrade\r\nupgrade: %b\r\n" % head.upgrade
    return b"%b %b HTTP/1.1\r\n%b%b\r\n" % (head.method, target, lines, extra)


def _rewritten(x: Outgoing, route: Route, paths: PathNormalizer) -> bytes:
    path = x.request.path
    made = rewrite_path(route, x.match, path)
    if made == path:
        return x.path
    try:
        paths.check_rewritten(made)
    except InvalidPath as error:
        raise MalformedMessage(str(error)) from None
    return made


def _with_ops(lines: bytes, authority: bytes, all_ops: list[HeaderOps]) -> tuple[bytes, bytes]:
    """Istio applies the route's operations, then the destination's; `host` rewrites the authority."""
    fields = split_fields(lines)
    before = [value for name, value in fields if name.lower() == b"host"]
    for ops in all_ops:
        fields = apply_header_ops(fields, ops)
    after = [value for name, value in fields if name.lower() in (b"host", b":authority")]
    fields = [field for field in fields if field[0][:1] != b":"]
    if after and after[-1:] != before[-1:]:
        authority = after[-1]
    return join_fields(fields), authority


def _with_host(lines: bytes, authority: bytes) -> bytes:
    fields = [field for field in split_fields(lines) if field[0].lower() != b"host"]
    return b"Host: %b\r\n" % authority + join_fields(fields)


def downstream_head(x: Exchange, response: ResponseHead, reencode: bool) -> bytes:
    """The head as the client gets it."""
    route, destination = x.route, x.destination
    assert route is not None and destination is not None
    lines = response.end_to_end_lines()
    if route.response_headers or destination.response_headers or x.extra_headers:
        fields = split_fields(lines)
        for ops in (route.response_headers, destination.response_headers, x.extra_headers):
            if ops is not None:
                fields = apply_header_ops(fields, with_values(ops, x, response.lines))
        lines = join_fields(fields)
    if reencode:
        lines += b"transfer-encoding: chunked\r\n"
    reason = response.reason or reason_phrase(response.status)
    last = b"" if x.keep_alive and x.head.minor else connection_line(x.head.minor, x.keep_alive)
    return b"HTTP/1.1 %d %b\r\n%b%b\r\n" % (response.status, reason, lines, last)


def own_answer_fields(
    route: Route,
    destination: WeightedCluster | None,
    fields: tuple[tuple[bytes, bytes], ...],
    valued: Valued,
) -> tuple[tuple[bytes, bytes], ...]:
    """The headers of an answer that the proxy gives in an endpoint's place: redirects, direct responses,
    failures. Envoy: the route's response operations are for these, too."""
    for ops in (route.response_headers, destination.response_headers if destination else None):
        if ops is not None:
            fields = tuple(apply_header_ops(list(fields), valued(ops)))
    return fields
