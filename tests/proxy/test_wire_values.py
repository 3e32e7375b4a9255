"""Values of resources in heads: what the decoder admits makes one head, and one line of each field."""

from __future__ import annotations

import json
import re
from time import monotonic
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egressd.api.destination_rule import ConsistentHashLB, CookieAttribute, HTTPCookie
from egressd.api.parse import parse_text
from egressd.api.virtual_service import HTTPRewrite, RegexRewrite
from egressd.explain.filters import Going
from egressd.proxy.context import Exchange
from egressd.proxy.exchange import answer_of
from egressd.proxy.hash_key import hash_value
from egressd.proxy.header_values import with_values
from egressd.proxy.heads import own_answer_fields, upstream_head
from egressd.proxy.http1.fields import MalformedMessage
from egressd.proxy.http1.request import parse_request, read_target
from egressd.proxy.http1.response import parse_response
from egressd.proxy.mirror import shadow_authority, shadow_head
from egressd.proxy.reply import LocalReply, render_reply
from egressd.registry.memory import MemoryView
from egressd.registry.records import Record
from egressd.routing.actions import rewrite_of
from egressd.routing.authority import parse_authority
from egressd.routing.match import rewrite_path
from egressd.routing.path import PathNormalizer
from egressd.routing.request import Request
from egressd.routing.table import HeaderOps, Route
from egressd.routing.virtual_host import compile_routes
from egressd.upstream.compile_lb import hash_policy
from egressd.upstream.preface import proxy_header
from tests.routing.test_decisions import API

HEAD = b"GET /api/x?q=1 HTTP/1.1\r\nHost: vs.example\r\nX-In: 1\r\n\r\n"
PATHS_AS_USUAL = PathNormalizer()
TO = [{"destination": {"host": "a.example"}}]
ALPHABET = "ab/.:-_?#%&;=\\@[]1 \t\r\n\0\x7f\x85é\u2028"
PIECES = [
    "\r\n",
    " HTTP/1.1\r\n",
    "%20",
    "%0d%0a",
    "\\1",
    "%REQ(x-in)%",
    "%%",
    "http://",
    "\r\n\r\nGET / ",
]
VALUES = st.lists(st.sampled_from([*ALPHABET, *PIECES]), max_size=6).map("".join) | st.text(
    max_size=8
)


def route_with(fields: dict[str, Any]) -> Route | None:
    """The compiled route, None where the decoder refuses it."""
    document = {
        "apiVersion": API,
        "kind": "VirtualService",
        "metadata": {"name": "v"},
        "spec": {"hosts": ["vs.example"], "http": [fields]},
    }
    parsed = parse_text(json.dumps(document), "v.yaml")
    if parsed.errors:
        return None
    view = MemoryView([Record(resource=r, source="test") for r in parsed.resources])
    table = compile_routes(view, "vs.example", 80)
    assert table is not None
    return table.routes[0]


def going(route: Route, head: bytes = HEAD) -> Going:
    parsed = parse_request(head)
    authority, path, query, compared = read_target(parsed, PATHS_AS_USUAL)
    request = Request(parsed.method, compared, query, authority, "vs.example", 80)
    match = route.matches[0] if route.matches else None
    return Going(
        parsed, request, path, query, authority, PATHS_AS_USUAL, route, match, route.destinations[0]
    )


def in_place(value: str, field: str) -> dict[str, Any]:
    """A route with a value in one of the fields that come to stand in a head."""
    prefix = {"match": [{"uri": {"prefix": "/api"}}], "route": TO}
    match field.split(" "):
        case ["rewrite.uri"]:
            return {**prefix, "rewrite": {"uri": value}}
        case ["rewrite.authority"]:
            return {**prefix, "rewrite": {"authority": value}}
        case ["rewrite.regex"]:
            regex = {"match": "^/a(p)i", "rewrite": value}
            return {**prefix, "rewrite": {"uriRegexRewrite": regex}}
        case ["headers", verb, "value", name]:
            return {**prefix, "headers": {"request": {verb: {name: value}}}}
        case ["headers", verb, "name"]:
            return {**prefix, "headers": {"request": {verb: {value: "x"}}}}
        case ["destination", name]:
            target = {**TO[0], "headers": {"request": {"set": {name: value}}}}
            return {**prefix, "route": [target]}
    raise AssertionError(field)


REQUEST_FIELDS = [
    "rewrite.uri", "rewrite.authority", "rewrite.regex", "headers set value x-a",
    "headers add value x-a", "headers set value host", "headers set value :authority",
    "headers set name", "headers add name", "destination host", "destination x-a",
]  # fmt: skip


@pytest.mark.parametrize("field", REQUEST_FIELDS)
@given(VALUES)
@settings(max_examples=60, deadline=None)
def test_an_admitted_value_makes_one_request(field: str, value: str) -> None:
    route = route_with(in_place(value, field))
    if route is None:
        return
    try:
        head = upstream_head(going(route), lambda ops: ops, PATHS_AS_USUAL)
    except MalformedMessage:
        return  # the rewrite makes dot segments: refused when the request comes
    parsed = parse_request(head)  # strict: one head, no control, one Host
    assert re.fullmatch(rb"/[!\"$-~]*", parsed.target)
    parse_authority(parsed.host)
    assert head.count(b"\r\n\r\n") == 1
    copy = parse_request(shadow_head(head, parsed.host))
    parse_authority(copy.host)


def in_answer(value: str, field: str) -> dict[str, Any]:
    match field.split(" "):
        case ["redirect", name]:
            return {"match": [{"uri": {"prefix": "/api"}}], "redirect": {name: value}}
        case ["response", verb, "value"]:
            return {
                "directResponse": {"status": 200},
                "headers": {"response": {verb: {"x-a": value}}},
            }
        case ["response", verb, "name"]:
            return {
                "directResponse": {"status": 200},
                "headers": {"response": {verb: {value: "x"}}},
            }
    raise AssertionError(field)


ANSWER_FIELDS = [
    "redirect uri", "redirect authority", "redirect prefixRewrite", "redirect scheme",
    "response set value", "response add value", "response set name", "response add name",
]  # fmt: skip


@pytest.mark.parametrize("field", ANSWER_FIELDS)
@given(VALUES)
@settings(max_examples=60, deadline=None)
def test_an_admitted_value_makes_one_answer(field: str, value: str) -> None:
    route = route_with(in_answer(value, field))
    if route is None:
        return
    request = Request(b"GET", b"/api/x", b"q=1", b"vs.example", "vs.example", 80)
    match = route.matches[0] if route.matches else None
    reply = answer_of(route, match, request)
    reply.headers = own_answer_fields(route, None, reply.headers, lambda ops: ops)
    data = render_reply(reply, method=b"HEAD", minor=1, keep_alive=True)
    assert data.count(b"\r\n\r\n") == 1
    assert parse_response(data, b"HEAD").status == reply.status
    location = dict(reply.headers).get(b"location")
    if location is not None:
        assert re.fullmatch(rb"https?://[A-Za-z0-9._:\[\]-]+/[!\"$-~]*(#[!\"$-~]*)?", location)


PATHS = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#?"))
PATTERNS = ["", ".", ".*", "^/a", "/", "(.)(.?)", "^/strip(.*)$", "[^/]+$", "%(..)", "a|(b)", "$"]


@given(PATHS, st.sampled_from(PATTERNS), st.text(st.sampled_from("\\01%/?ab;["), max_size=6))
@settings(max_examples=100, deadline=None)
def test_a_substitution_leaves_a_target(path: str, pattern: str, template: str) -> None:
    regex = {"match": pattern, "rewrite": template}
    route = route_with({"route": TO, "rewrite": {"uriRegexRewrite": regex}})
    if route is None:
        return
    request = Request(b"GET", b"/" + path.encode(), b"", b"vs.example", "vs.example", 80)
    assert re.fullmatch(rb"/[!\"$-~]*", rewrite_path(route, None, request.path))


@pytest.mark.parametrize(
    ("pattern", "template", "path", "target"),
    [
        ("^/strip(.*)$", r"\1", "/strip", b"/"),
        ("^/strip/(.*)$", r"\1", "/strip/a", b"/a"),
        ("^/(.*)$", r"\1", "/", b"/"),
        ("^/", "", "/a", b"/a"),
        ("x", "y", "*", b"*"),
    ],
)
def test_what_is_left_of_a_path_begins_with_a_slash(
    pattern: str, template: str, path: str, target: bytes
) -> None:
    regex = RegexRewrite(match=pattern, rewrite=template)
    rewritten = Route(
        name="", place="", matches=(), rewrite=rewrite_of(HTTPRewrite(uri_regex_rewrite=regex))
    )
    request = Request(b"GET", path.encode(), b"", b"a", "a", 80)
    assert rewrite_path(rewritten, None, request.path) == target


# -- what is known only when a request comes -----------------------------------------------------


def exchange(**more: object) -> Exchange:
    downstream = SimpleNamespace(
        remote="10.0.0.1:5", local="10.0.0.2:6", principals=("spiffe://a/\r\nX-Evil: 1",)
    )
    head = SimpleNamespace(lines=b"", method=b"GET", minor=1)
    made = SimpleNamespace(
        started=monotonic(),
        downstream=downstream,
        head=head,
        sni="a\r\nb",
        endpoint=None,
        extra_headers=None,
        **more,
    )
    return cast(Exchange, made)


@pytest.mark.parametrize(
    ("value", "sent"),
    [
        (b"%START_TIME(%n)%", None),
        (b"a%START_TIME(%n%t%n)%b", b"a\tb"),
        (b"%REQUESTED_SERVER_NAME%", b"ab"),
        (b"%DOWNSTREAM_PEER_URI_SAN%", b"spiffe://a/X-Evil: 1"),
        (b"%START_TIME( )%x", b"x"),
        (b"%START_TIME( )%", None),
    ],
)
def test_a_command_brings_no_control_character_in(value: bytes, sent: bytes | None) -> None:
    made = with_values(HeaderOps(set=((b"x-a", value),), has_commands=True), exchange())
    assert dict(made.set).get(b"x-a") == sent


def test_a_cookie_of_consistent_hashing_is_one_field() -> None:
    cookie = HTTPCookie(
        name="n",
        path="/a",
        ttl=60.0,
        attributes=(CookieAttribute(name="SameSite", value="Strict"),),
    )
    policy = hash_policy(ConsistentHashLB(http_cookie=cookie))
    assert policy is not None
    x = exchange(context=SimpleNamespace(bits=lambda n: 7), query=b"")
    hash_value(x, policy)
    reply = LocalReply(200, "", headers=x.extra_headers.add if x.extra_headers else ())
    data = render_reply(reply, method=b"GET", minor=1, keep_alive=True)
    assert b"set-cookie: n=%016x; Max-Age=60; Path=/a; SameSite=Strict; HttpOnly\r\n" % 7 in data


@pytest.mark.parametrize(
    ("authority", "copy"),
    [
        (b"a.test", b"a.test-shadow"),
        (b"a.test:80", b"a.test-shadow:80"),
        (b"[::1]", b"[::1]"),
        (b"[::1]:80", b"[::1]:80"),
    ],
)
def test_the_host_of_a_copy_is_an_authority(authority: bytes, copy: bytes) -> None:
    assert shadow_authority(authority) == copy
    parse_authority(copy)


def test_a_proxy_header_names_no_interface() -> None:
    header = proxy_header("V1", ("fe80::1%eth0", 5), ("fe80::2%eth0", 6))
    assert header == b"PROXY TCP6 fe80::1 fe80::2 5 6\r\n"
    assert proxy_header("V2", ("fe80::1%e", 5), ("fe80::2%e", 6))[12:14] == b"\x21\x21"
    assert proxy_header("V1", ("", 0), ("a\r\nb", 6)) == b"PROXY UNKNOWN\r\n"
