"""Deciding on one request: route, destination, and what becomes of path, location and headers.

`match_route` and `choose_destination` are on the hot path: plain loops over tuples, no allocation.
"""

from __future__ import annotations

from typing import Protocol

from egressd.routing.request import Request
from egressd.routing.table import HeaderOps, Match, Redirect, Route, RouteTable, WeightedCluster


def match_route(table: RouteTable, request: Request) -> tuple[Route, Match | None] | None:
    """The first route that has no match block or one whose conditions all hold."""
    path = request.path
    for route in table.routes:
        if not route.matches:
            return route, None
        for match in route.matches:
            kind = match.path_kind
            if match.path_predicate is not None:
                if not match.path_predicate(request):
                    continue
            elif kind == "prefix":
                if not path.startswith(match.path):
                    continue
            elif kind == "exact" and path != match.path:
                continue
            for predicate in match.predicates:
                if not predicate(request):
                    break
            else:
                return route, match
    return None


class Split(Protocol):
    """A route with weighted destinations: of HTTP, or of connections."""

    @property
    def destinations(self) -> tuple[WeightedCluster, ...]: ...

    @property
    def total_weight(self) -> int: ...


def holds(match: Match, request: Request) -> bool:
    """Whether all conditions of one block hold."""
    if match.path_predicate is not None:
        if not match.path_predicate(request):
            return False
    elif match.path_kind == "prefix":
        if not request.path.startswith(match.path):
            return False
    elif match.path_kind == "exact" and request.path != match.path:
        return False
    return all(predicate(request) for predicate in match.predicates)


def choose_destination(route: Split, point: float) -> WeightedCluster:
    """One destination by weight; `point` is in [0, 1). The route has at least one."""
    destinations = route.destinations
    if len(destinations) == 1:
        return destinations[0]
    at = point * route.total_weight
    for destination in destinations:
        if at < destination.cumulative:
            return destination
    return destinations[-1]


def rewrite_path(route: Route, match: Match | None, path: bytes) -> bytes:
    """Istio `HTTPRewrite.uri`: a matched prefix is replaced, an exact or other match's path wholly."""
    rewrite = route.rewrite
    if rewrite is None:
        return path
    if rewrite.regex is not None:
        made = rewrite.regex(path)
        # What is left of a path may be empty or begin anywhere; a target begins with a slash.
        return made if made[:1] == b"/" or made == path else b"/" + made
    if rewrite.uri is None:
        return path
    return _replace_matched(path, match, rewrite.uri)


def _replace_matched(path: bytes, match: Match | None, replacement: bytes) -> bytes:
    """What the match took is replaced: its prefix, or the whole path after an exact or regex match."""
    if match is not None and match.path_kind == "prefix":
        return _replace_prefix(path, match.path, replacement)
    if match is None or match.path_kind == "":
        # Without a uri condition Istio's route matches prefix "/": that is what is replaced.
        return _replace_prefix(path, b"/", replacement)
    return replacement


def _replace_prefix(path: bytes, prefix: bytes, replacement: bytes) -> bytes:
    # Envoy `prefix_rewrite`: characters, not path segments. /api -> / makes //x of /api/x.
    return replacement + path[len(prefix) :]


_DEFAULT_PORTS = {b"http": 80, b"https": 443}


def redirect_location(redirect: Redirect, match: Match | None, request: Request) -> bytes:
    """The Location of a redirect; parts that it does not name are the request's."""
    scheme = redirect.scheme or request.scheme
    authority = redirect.authority or request.authority
    host, port = _split_port(authority)
    if redirect.port is None and not redirect.derive_port:
        # Envoy keeps the port as written, but the old scheme's default one when the scheme changes.
        if not redirect.authority and scheme != request.scheme:
            port = None if port == _DEFAULT_PORTS.get(request.scheme) else port
    else:
        port = redirect.port
        if redirect.derive_port == "FROM_REQUEST_PORT":
            port = request.port
        port = None if port == _DEFAULT_PORTS.get(scheme) else port
    if port:
        host = b"%b:%d" % (host, port)
    path = request.path
    query, fragment = request.query, b""
    if redirect.path is not None:
        path, number_sign, fragment = redirect.path.partition(b"#")
        fragment = number_sign + fragment
        path, mark, own = path.partition(b"?")
        query = own if mark else query
    elif redirect.prefix is not None:
        path = _replace_matched(path, match, redirect.prefix)
    target = b"%b?%b" % (path, query) if query else path
    return b"%b://%b%b%b" % (scheme, host, target, fragment)


def _split_port(authority: bytes) -> tuple[bytes, int | None]:
    host, colon, port = authority.rpartition(b":")
    if colon and port.isdigit():
        return host, int(port)
    return authority, None


def apply_header_ops(
    fields: list[tuple[bytes, bytes]], ops: HeaderOps
) -> list[tuple[bytes, bytes]]:
    """Set, add, remove (Istio `Headers.HeaderOperations`); names compare without case."""
    for name, value in ops.set:
        lower = name.lower()
        fields = [field for field in fields if field[0].lower() != lower]
        fields.append((name, value))
    fields = [*fields, *ops.add]
    if ops.remove:
        fields = [field for field in fields if field[0].lower() not in ops.remove]
    return fields
