"""The golden table against the compiled tables, and what must hold for every weight and name."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egressd.api.parse import parse_text
from egressd.proxy.http1.request import METHODS, parse_request, read_target
from egressd.registry.exposure import Exposure
from egressd.registry.lookup import candidates
from egressd.registry.memory import MemoryView
from egressd.registry.profile import NodeProfile
from egressd.registry.records import Record
from egressd.routing.authority import parse_authority
from egressd.routing.match import (
    choose_destination,
    match_route,
    redirect_location,
    rewrite_path,
)
from egressd.routing.path import PathNormalizer
from egressd.routing.request import BETWEEN_VALUES, Request
from egressd.routing.table import ClusterKey, Route, RouteTable, WeightedCluster
from egressd.routing.virtual_host import compile_routes
from tests.routing.decisions import NAMES, ROWS, NameRow, Row

CLIENT = NodeProfile(labels={"app": "shop"})
API = "networking.istio.io/v1"


def entry(host: str, ports: str = "80") -> str:
    listed = ", ".join(f"{{number: {p}, name: http-{p}, protocol: HTTP}}" for p in ports.split())
    static = "STATIC, endpoints: [{address: 10.0.0.1}]"
    resolution = "NONE" if "*" in host else static
    name = host.lower().replace("*", "w").replace(".", "-")
    return (
        f"apiVersion: {API}\nkind: ServiceEntry\nmetadata: {{name: {name}}}\n"
        f"spec: {{hosts: ['{host}'], ports: [{listed}], resolution: {resolution}}}\n"
    )


def virtual(name: str, hosts: list[str], http: str) -> str:
    return (
        f"apiVersion: {API}\nkind: VirtualService\nmetadata: {{name: {name}}}\n"
        f"spec: {{hosts: {hosts}, http: {http}}}\n"
    )


def view_of(*documents: str) -> MemoryView:
    parsed = parse_text("---\n".join(documents), "test.yaml")
    assert not parsed.errors, parsed.errors
    return MemoryView([Record(resource=r, source="test") for r in parsed.resources])


ANY_METHOD = METHODS | {b"post", b"PUTS", b"BREW"}


def request_of(text: str, default_host: str = "vs.example") -> tuple[Request, int | None]:
    method, target, *words = text.split(" ")
    authority = default_host
    if target.startswith("http://"):
        authority, slash, rest = target.removeprefix("http://").partition("/")
        target = slash + rest
    headers: dict[bytes, bytes] = {}
    for name, value in zip(words[::2], words[1::2], strict=True):
        key = name.removesuffix(":").lower().encode()
        known = headers.get(key)
        headers[key] = value.encode() if known is None else known + BETWEEN_VALUES + value.encode()
    head = parse_request(f"{method} {target} HTTP/1.1\r\nHost: a\r\n\r\n".encode(), ANY_METHOD)
    _, _, query, path = read_target(head, PathNormalizer())
    host, port, name = parse_authority(authority.encode())
    return Request(method.encode(), path, query, name, host, port or 80, headers), port


def decide(table: RouteTable | None, request: Request) -> str:
    if table is None:
        return "502"
    request.port = table.port
    found = match_route(table, request)
    if found is None:
        return "404"
    route, match = found
    if route.redirect is not None:
        location = redirect_location(route.redirect, match, request).decode()
        return f"{route.redirect.status} {location}"
    if route.direct_response is not None:
        return f"={route.direct_response.status}"
    target = rewrite_path(route, match, request.path).decode()
    if request.query:
        target = f"{target}?{request.query.decode()}"
    return f"{choose_destination(route, 0.5).key} {target}"


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.rule}: {row.request}")
def test_decision(row: Row) -> None:
    view = view_of(
        entry("a.example", "80 8080"), entry("b.example"), entry("vs.example", "80 8080"),
        virtual("vs", ["vs.example"], row.spec),
    )  # fmt: skip
    request, port = request_of(row.request)
    decision = decide(compile_routes(view, request.host, port, profile=CLIENT), request)
    if row.decision.startswith("outbound") and " " not in row.decision:
        decision = decision.partition(" ")[0]
    assert decision == row.decision


@pytest.mark.parametrize("row", NAMES, ids=lambda row: row.rule)
def test_name(row: NameRow) -> None:
    documents = [entry(host) for host in row.services.split()]
    for word in row.virtual.split():
        name, _, hosts = word.partition("=")
        documents.append(
            virtual(name, hosts.split(","), "[{route: [{destination: {host: x.example}}]}]")
        )
    host, port, _ = parse_authority(row.host.encode())
    table = compile_routes(view_of(*documents), host, port)
    if table is None:
        assert row.decision == "502"
    elif table.resource.startswith("VirtualService"):
        assert table.resource.rpartition("/")[2] == row.decision
    else:
        assert table.claim == row.decision


def test_the_most_specific_host_wins_as_a_whole() -> None:
    view = view_of(
        virtual("wide", ["*.foo.com"], "[{route: [{destination: {host: a.example}}]}]"),
        virtual(
            "narrow",
            ["baz.foo.com"],
            "[{match: [{uri: {prefix: /x}}], route: [{destination: {host: b.example}}]}]",
        ),
    )
    request, port = request_of("GET /y", "baz.foo.com")
    assert decide(compile_routes(view, "baz.foo.com", port), request) == "404"


def test_a_virtual_service_of_another_gateway_does_not_bind() -> None:
    text = virtual("v", ["a.example"], "[{route: [{destination: {host: a.example}}]}]")
    view = view_of(text.replace("spec: {", "spec: {gateways: [edge], "))
    assert compile_routes(view, "a.example", None) is None
    edge = (Exposure("default/edge", (("*", "*"),)),)
    assert compile_routes(view, "a.example", None, exposures=edge) is not None


@pytest.mark.parametrize(
    ("ports", "requested", "chosen"),
    [
        ("80 8080", 8080, 8080),
        ("80 8080", 9999, 80),
        ("80 8080", None, 80),
        ("8080", None, 8080),
        ("8080", 80, 8080),
        ("9000 8080", None, 9000),
    ],
)
def test_the_port_addressed(ports: str, requested: int | None, chosen: int) -> None:
    table = compile_routes(view_of(entry("a.example", ports)), "a.example", requested)
    assert table is not None
    assert table.port == chosen


@pytest.mark.parametrize(
    ("retries", "attempts", "on", "statuses"),
    [
        ("", 2, {"connect-failure", "refused-stream", "unavailable", "cancelled"}, set()),
        ("retries: {attempts: 0},", None, set(), set()),
        ("retries: {attempts: 3},", 3, {"connect-failure", "refused-stream", "unavailable",
                                        "cancelled"}, set()),
        ("retries: {attempts: 1, retryOn: '5xx,reset'},", 1, {"5xx", "reset"}, set()),
        ("retries: {attempts: 1, retryOn: 'gateway-error,409,503'},", 1, {"gateway-error"},
         {409, 503}),
    ],
)  # fmt: skip
def test_retry_policy(retries: str, attempts: int | None, on: set[str], statuses: set[int]) -> None:
    spec = f"[{{{retries} route: [{{destination: {{host: a.example}}}}]}}]"
    table = compile_routes(view_of(virtual("v", ["a.example"], spec)), "a.example", None)
    assert table is not None
    policy = table.routes[0].retry
    if attempts is None:
        assert policy is None
        return
    assert policy is not None
    assert (policy.attempts, set(policy.retry_on), set(policy.statuses)) == (attempts, on, statuses)


def _route(weights: list[int]) -> Route:
    total, found = 0, []
    for number, weight in enumerate(weights):
        if weight:
            total += weight
            found.append(WeightedCluster(ClusterKey(str(number), "", 80), weight, total))
    return Route("r", "p", (), tuple(found), total)


@given(st.lists(st.integers(0, 1000), min_size=1, max_size=6).filter(any))
@settings(max_examples=100, deadline=None)
def test_shares_are_the_weights(weights: list[int]) -> None:
    route = _route(weights)
    steps = 2000
    counts = [0] * len(weights)
    for step in range(steps):
        counts[int(choose_destination(route, step / steps).key.host)] += 1
    for weight, count in zip(weights, counts, strict=True):
        assert abs(count / steps - weight / sum(weights)) < 0.01
        if weight == 0:
            assert count == 0


def test_a_point_between_two_destinations_is_the_seconds() -> None:
    assert choose_destination(_route([1, 1]), 0.5).key.host == "1"


LABELS = st.lists(st.sampled_from(["a", "b", "foo", "com"]), min_size=1, max_size=4)


@given(LABELS)
@settings(max_examples=50, deadline=None)
def test_candidates_go_from_exact_to_the_shortest_wildcard(labels: list[str]) -> None:
    name = ".".join(labels)
    found = list(candidates(name))
    assert found[0] == name
    assert found[-1] == "*"
    wildcards = found[1:-1]
    assert all(name.endswith(wildcard[1:]) for wildcard in wildcards)
    assert [len(w) for w in wildcards] == sorted((len(w) for w in wildcards), reverse=True)
    assert len(found) == len(labels) + 1
