"""Golden decisions on delegation: one root route, one delegate, one request.

Source: Istio `HTTPRoute.delegate`, `mergeHTTPRoute`, `mergeHTTPMatchRequests`, `stringMatchConflict`.
"""

# ruff: noqa: E501 - a row reads best on one line

from __future__ import annotations

from typing import NamedTuple

from tests.routing.decisions import TO_A, A


class DelegateRow(NamedTuple):
    """`root` and `leaf` are the rest of the root's one route and of the delegate's one route."""

    rule: str
    root: str
    leaf: str
    request: str
    decision: str


def _match(match: str) -> str:
    return f"match: [{match}]"


def _leaf(match: str, more: str = "") -> str:
    return f"{_match(match)}, {TO_A}{more}"


P = "{uri: {prefix: /a}}"
VS = "outbound|80||vs.example"  # the service: what is left of the VirtualService is no route at all

DELEGATES: list[DelegateRow] = [
    DelegateRow("no match on either side", "", TO_A, "GET /x", f"{A} /x"),
    DelegateRow("the root's match alone", _match(P), TO_A, "GET /a/x", f"{A} /a/x"),
    DelegateRow("the root's match keeps others out", _match(P), TO_A, "GET /x", "404"),
    DelegateRow("the delegate's match alone", "", _leaf(P), "GET /a", f"{A} /a"),
    DelegateRow("the delegate's match keeps others out", "", _leaf(P), "GET /x", "404"),
    DelegateRow("prefix within prefix", _match(P), _leaf("{uri: {prefix: /a/b}}"), "GET /a/b/c", f"{A} /a/b/c"),
    DelegateRow("prefix within prefix: the narrower counts", _match(P), _leaf("{uri: {prefix: /a/b}}"), "GET /a/c", "404"),
    DelegateRow("the same prefix", _match(P), _leaf(P), "GET /ab", f"{A} /ab"),
    DelegateRow("exact within prefix", _match(P), _leaf("{uri: {exact: /a/b}}"), "GET /a/b", f"{A} /a/b"),
    DelegateRow("a prefix outside conflicts: the route is left out", _match(P), _leaf("{uri: {prefix: /b}}"), "GET /b", f"{VS} /b"),
    DelegateRow("a wider prefix conflicts", _match("{uri: {prefix: /a/b}}"), _leaf(P), "GET /a/b", f"{VS} /a/b"),
    DelegateRow("exact outside conflicts", _match(P), _leaf("{uri: {exact: /b}}"), "GET /b", f"{VS} /b"),
    DelegateRow("exact under exact, equal", _match("{uri: {exact: /a}}"), _leaf("{uri: {exact: /a}}"), "GET /a", f"{A} /a"),
    DelegateRow("exact under exact, not equal", _match("{uri: {exact: /a}}"), _leaf("{uri: {exact: /b}}"), "GET /b", f"{VS} /b"),
    DelegateRow("prefix under exact conflicts", _match("{uri: {exact: /a}}"), _leaf(P), "GET /a", f"{VS} /a"),
    DelegateRow("a regex of the root excludes every uri of the delegate", _match("{uri: {regex: '/a.*'}}"), _leaf(P), "GET /a", f"{VS} /a"),
    DelegateRow("a regex of the delegate excludes every uri of the root", _match(P), _leaf("{uri: {regex: '/a.*'}}"), "GET /a", f"{VS} /a"),
    DelegateRow("two equal regexes conflict as well", _match("{uri: {regex: '/a'}}"), _leaf("{uri: {regex: '/a'}}"), "GET /a", f"{VS} /a"),
    DelegateRow("a regex of the root alone is inherited", _match("{uri: {regex: '/a.*'}}"), TO_A, "GET /ab", f"{A} /ab"),
    DelegateRow("another field of the delegate beside the root's regex", _match("{uri: {regex: '/a.*'}}"), _leaf("{method: {exact: GET}}"), "GET /ab", f"{A} /ab"),
    DelegateRow("conditions on different things are both asked: both hold", _match(P), _leaf("{headers: {x-a: {exact: '1'}}}"), "GET /a x-a: 1", f"{A} /a"),
    DelegateRow("conditions on different things: the root's fails", _match(P), _leaf("{headers: {x-a: {exact: '1'}}}"), "GET /b x-a: 1", "404"),
    DelegateRow("conditions on different things: the delegate's fails", _match(P), _leaf("{headers: {x-a: {exact: '1'}}}"), "GET /a", "404"),
    DelegateRow("the same header with the same value", _match("{headers: {x-a: {exact: '1'}}}"), _leaf("{headers: {x-a: {exact: '1'}}}"), "GET / x-a: 1", f"{A} /"),
    DelegateRow("the same header with another value", _match("{headers: {x-a: {exact: '1'}}}"), _leaf("{headers: {x-a: {exact: '2'}}}"), "GET / x-a: 2", f"{VS} /"),
    DelegateRow("a header's prefix within a prefix", _match("{headers: {x-a: {prefix: u}}}"), _leaf("{headers: {x-a: {prefix: us}}}"), "GET / x-a: use", f"{A} /"),
    DelegateRow("presence in the root excludes a value in the delegate", _match("{headers: {x-a: {}}}"), _leaf("{headers: {x-a: {exact: '1'}}}"), "GET / x-a: 1", f"{VS} /"),
    DelegateRow("headers of both are asked", _match("{headers: {x-a: {}}}"), _leaf("{headers: {x-b: {}}}"), "GET / x-a: 1 x-b: 2", f"{A} /"),
    DelegateRow("headers of both are asked: one missing", _match("{headers: {x-a: {}}}"), _leaf("{headers: {x-b: {}}}"), "GET / x-b: 2", "404"),
    DelegateRow("withoutHeaders of both are asked", _match("{withoutHeaders: {x-a: {}}}"), _leaf("{withoutHeaders: {x-b: {}}}"), "GET / x-a: 1", "404"),
    DelegateRow("queryParams of both are asked", _match("{queryParams: {a: {exact: '1'}}}"), _leaf("{queryParams: {b: {exact: '2'}}}"), "GET /?a=1&b=2", f"{A} /?a=1&b=2"),
    DelegateRow("queryParams that conflict", _match("{queryParams: {a: {exact: '1'}}}"), _leaf("{queryParams: {a: {exact: '2'}}}"), "GET /?a=2", f"{VS} /?a=2"),
    DelegateRow("method that conflicts", _match("{method: {exact: GET}}"), _leaf("{method: {exact: PUT}}"), "PUT /", f"{VS} /"),
    DelegateRow("authority that conflicts", _match("{authority: {exact: vs.example}}"), _leaf("{authority: {exact: o.example}}"), "GET /", f"{VS} /"),
    DelegateRow("scheme is inherited", _match("{scheme: {exact: https}}"), TO_A, "GET /", "404"),
    DelegateRow("equal ports", _match("{port: 80}"), _leaf("{port: 80}"), "GET /", f"{A} /"),
    DelegateRow("different ports conflict", _match("{port: 80}"), _leaf("{port: 8080}"), "GET http://vs.example:8080/", "outbound|8080||vs.example /"),
    DelegateRow("the root's port is inherited", _match("{port: 8080}"), _leaf("{uri: {prefix: /}}"), "GET /", f"{VS} /"),
    DelegateRow("ignoreUriCase must be the same on both sides", _match("{uri: {prefix: /a}, ignoreUriCase: true}"), _leaf("{uri: {prefix: /a/b}}"), "GET /a/b", f"{VS} /a/b"),
    DelegateRow("ignoreUriCase differs even where the delegate has no uri (Istio)", _match("{uri: {prefix: /a}, ignoreUriCase: true}"), _leaf("{headers: {x-a: {}}}"), "GET /a x-a: 1", f"{VS} /a"),
    DelegateRow("ignoreUriCase on both sides", _match("{uri: {prefix: /a}, ignoreUriCase: true}"), _leaf("{uri: {prefix: /a/b}, ignoreUriCase: true}"), "GET /A/B", f"{A} /A/B"),
    DelegateRow("sourceNamespace of the root must be repeated (Istio)", _match("{sourceNamespace: default}"), _leaf(P), "GET /a", f"{VS} /a"),
    DelegateRow("sourceNamespace on both sides", _match("{sourceNamespace: default}"), _leaf("{sourceNamespace: default}"), "GET /", f"{A} /"),
    DelegateRow("sourceLabels of both are asked", _match("{sourceLabels: {app: shop}}"), _leaf("{sourceLabels: {tier: x}}"), "GET /", f"{VS} /"),
    DelegateRow("sourceLabels that conflict", _match("{sourceLabels: {app: shop}}"), _leaf("{sourceLabels: {app: other}}"), "GET /", f"{VS} /"),
    DelegateRow("gateways of the delegate within the root's", _match("{gateways: [mesh, edge]}"), _leaf("{gateways: [mesh]}"), "GET /", f"{A} /"),
    DelegateRow("gateways of the delegate outside the root's", _match("{gateways: [edge]}"), _leaf("{gateways: [mesh]}"), "GET /", f"{VS} /"),
    DelegateRow("gateways of the root are inherited", _match("{gateways: [edge]}"), TO_A, "GET /", f"{VS} /"),
    DelegateRow("each delegate match needs one of the root's: it has", f"match: [{P}, {{uri: {{prefix: /b}}}}]", _leaf("{uri: {prefix: /b/c}}"), "GET /b/c", f"{A} /b/c"),
    DelegateRow("one delegate match outside leaves the whole route out (Istio)", _match(P), _leaf("{uri: {prefix: /a/b}}, {uri: {prefix: /z}}"), "GET /a/b", f"{VS} /a/b"),
    DelegateRow("the delegate's match gives the prefix to rewrite", _match(P), _leaf("{uri: {prefix: /a/b}}", ", rewrite: {uri: /n}"), "GET /a/b/c", f"{A} /n/c"),
    DelegateRow("the root's rewrite is inherited", f"{_match(P)}, rewrite: {{uri: /n}}", TO_A, "GET /a/x", f"{A} /n/x"),
    DelegateRow("the delegate's rewrite wins", f"{_match(P)}, rewrite: {{uri: /n}}", f"{TO_A}, rewrite: {{uri: /m}}", "GET /a/x", f"{A} /m/x"),
    DelegateRow("a redirect of the delegate", _match(P), "redirect: {uri: /n}", "GET /a", "301 http://vs.example/n"),
    DelegateRow("a direct response of the delegate", _match(P), "directResponse: {status: 418}", "GET /a", "=418"),
]  # fmt: skip
