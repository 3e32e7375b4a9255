"""The golden tables of matches, actions and delegates against the compiled routes."""

from __future__ import annotations

import pytest

from egressd.routing.table import Fault, Route
from egressd.routing.virtual_host import compile_routes
from tests.routing.decisions import Row
from tests.routing.decisions_actions import ACTION_ROWS
from tests.routing.decisions_delegate import DELEGATES, DelegateRow
from tests.routing.decisions_match import MATCH_ROWS
from tests.routing.test_decisions import CLIENT, decide, entry, request_of, view_of, virtual

SERVICES = (entry("a.example", "80 8080"), entry("b.example"), entry("vs.example", "80 8080"))


@pytest.mark.parametrize("row", [*MATCH_ROWS, *ACTION_ROWS], ids=lambda r: f"{r.rule}: {r.request}")
def test_decision(row: Row) -> None:
    view = view_of(*SERVICES, virtual("vs", ["vs.example"], row.spec))
    request, port = request_of(row.request)
    decision = decide(compile_routes(view, request.host, port, profile=CLIENT), request)
    if row.decision.startswith("outbound") and " " not in row.decision:
        decision = decision.partition(" ")[0]
    assert decision == row.decision


@pytest.mark.parametrize("row", DELEGATES, ids=lambda row: row.rule)
def test_delegation(row: DelegateRow) -> None:
    root = f"[{{{row.root}{row.root and ', '}delegate: {{name: leaf}}}}]"
    view = view_of(
        *SERVICES,
        virtual("vs", ["vs.example"], root),
        virtual("leaf", [], f"[{{{row.leaf}}}]"),
    )
    request, port = request_of(row.request)
    assert decide(compile_routes(view, request.host, port, profile=CLIENT), request) == row.decision


def _route(fields: str) -> Route:
    spec = f"[{{{fields}, route: [{{destination: {{host: a.example}}}}]}}]"
    table = compile_routes(
        view_of(*SERVICES, virtual("vs", ["vs.example"], spec)), "vs.example", None
    )
    assert table is not None
    return table.routes[0]


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ("delay: {fixedDelay: 5s}", None),  # Istio: without a percentage no request
        ("delay: {fixedDelay: 5s, percentage: {value: 0.5}}", Fault(5.0, 0.5)),
        ("delay: {fixedDelay: 5s, percent: 7}", Fault(5.0, 7.0)),
        ("delay: {fixedDelay: 5s, percent: 7, percentage: {value: 1}}", Fault(5.0, 1.0)),
        ("abort: {httpStatus: 503}", None),
        ("abort: {httpStatus: 503, percentage: {value: 10}}", Fault(0.0, 0.0, 503, 10.0)),
        ("abort: {grpcStatus: UNAVAILABLE, percentage: {value: 1}}", Fault(0, 0, 503, 1.0, 14)),
        ("abort: {grpcStatus: NOT_FOUND, percentage: {value: 1}}", Fault(0, 0, 404, 1.0, 5)),
        ("abort: {grpcStatus: CANCELLED, percentage: {value: 1}}", Fault(0, 0, 499, 1.0, 1)),
        ("abort: {grpcStatus: OK, percentage: {value: 1}}", Fault(0, 0, 200, 1.0, 0)),
    ],
)
def test_faults_as_istio_translates_them(fault: str, expected: Fault | None) -> None:
    assert _route(f"fault: {{{fault}}}").fault == expected


@pytest.mark.parametrize(
    ("policy", "origin", "allowed"),
    [
        ("allowOrigins: [{exact: 'http://a'}]", b"http://a", True),
        ("allowOrigins: [{exact: 'http://a'}]", b"http://ab", False),
        ("allowOrigins: [{prefix: 'http://a'}]", b"http://ab", True),
        ("allowOrigins: [{regex: 'http://[ab]'}]", b"http://b", True),
        ("allowOrigins: [{regex: 'http://[ab]'}]", b"http://bc", False),
        ("allowOrigins: [{exact: '*'}]", b"http://any", True),  # Envoy
        ("allowOrigins: [{prefix: '*'}]", b"http://any", True),  # Envoy: it matches the text "*"
        ("allowOrigin: ['http://a']", b"http://a", True),
        ("allowOrigin: ['*']", b"http://any", True),
        ("allowOrigin: ['http://a'], allowOrigins: [{exact: 'http://b'}]", b"http://a", False),
    ],
)
def test_origins_as_envoy_matches_them(policy: str, origin: bytes, allowed: bool) -> None:
    cors = _route(f"corsPolicy: {{{policy}}}").cors
    assert cors is not None
    assert any(test(origin) for test in cors.origins) is allowed


def test_answers_of_the_route_itself_have_no_cors_as_under_envoy() -> None:
    spec = "[{corsPolicy: {allowOrigins: [{exact: '*'}]}, directResponse: {status: 200}}]"
    table = compile_routes(
        view_of(*SERVICES, virtual("vs", ["vs.example"], spec)), "vs.example", None
    )
    assert table is not None and table.routes[0].cors is None


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "connection", "upgrade"])
def test_no_operation_touches_how_a_message_is_framed(name: str) -> None:
    for side in ("request", "response"):
        ops = f"{{set: {{{name}: '3'}}, add: {{{name}: '3'}}, remove: [{name}]}}"
        route = _route(f"headers: {{{side}: {ops}}}")
        assert route.request_headers is None and route.response_headers is None


def test_an_empty_value_sets_and_adds_nothing_as_under_envoy() -> None:
    assert _route("headers: {request: {set: {x-a: ''}, add: {x-b: ''}}}").request_headers is None


@pytest.mark.parametrize(
    ("mirror", "percents"),
    [
        ("mirror: {host: b.example}", [100.0]),
        ("mirror: {host: b.example}, mirrorPercent: 5", [5.0]),
        ("mirror: {host: b.example}, mirrorPercentage: {value: 0.5}", [0.5]),
        ("mirror: {host: b.example}, mirrorPercent: 5, mirrorPercentage: {value: 1}", [1.0]),
        ("mirror: {host: b.example}, mirrorPercent: 0", []),
        ("mirror: {host: b.example}, mirrorPercentage: {value: 0}", []),
        ("mirrors: [{destination: {host: b.example}}]", [100.0]),
        ("mirrors: [{destination: {host: b.example}, percentage: {value: 0}}]", []),
    ],
)
def test_the_share_that_is_mirrored(mirror: str, percents: list[float]) -> None:
    assert [found.percent for found in _route(mirror).mirrors] == percents


def test_the_routes_own_authority_comes_before_a_destinations() -> None:
    weighted = "[{destination: {host: a.example}, headers: {request: {set: {Host: d.example}}}}]"
    for own, sent in (("", None), ("rewrite: {authority: r.example}, ", b"r.example")):
        spec = f"[{{{own}route: {weighted}}}]"
        table = compile_routes(
            view_of(*SERVICES, virtual("vs", ["vs.example"], spec)), "vs.example", None
        )
        assert table is not None
        (route,) = table.routes
        assert (route.rewrite.authority if route.rewrite else None) == sent
        ops = route.destinations[0].request_headers
        assert (ops.set if ops else ()) == (() if sent else ((b"host", b"d.example"),))


def test_an_authority_among_header_operations_is_a_host_rewrite() -> None:
    route = _route("headers: {request: {set: {':authority': o.example, x-a: v}}}")
    assert route.rewrite is not None and route.rewrite.authority == b"o.example"
    assert route.request_headers is not None
    assert route.request_headers.set == ((b"x-a", b"v"),)
