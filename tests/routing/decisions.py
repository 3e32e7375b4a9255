"""Golden decisions: resources and a request, and what is to become of it. Each row names its rule.

A decision is written as "cluster path", "404", "502", "301 location", "=418" (direct response).
"""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """`spec` is the `http` part of a VirtualService for vs.example, YAML flow style."""

    rule: str
    spec: str
    request: str  # "METHOD URL-or-path [header: value]..."
    decision: str


A = "outbound|80||a.example"
B = "outbound|80||b.example"
TO_A = "route: [{destination: {host: a.example}}]"
TO_B = "route: [{destination: {host: b.example}}]"


def two(match: str) -> str:
    """A conditional route to a, everything else to b."""
    return f"[{{match: [{match}], {TO_A}}}, {{{TO_B}}}]"


def pairs(rule: str, match: str, hits: list[str], misses: list[str]) -> list[Row]:
    rows = [Row(rule, two(match), hit, A) for hit in hits]
    return rows + [Row(rule, two(match), miss, B) for miss in misses]


ROWS: list[Row] = [
    *pairs("StringMatch.prefix of uri", "{uri: {prefix: /api}}",
            ["GET /api", "GET /api/", "GET /api/x?y=1", "GET /apix"],
            ["GET /", "GET /ap", "GET /API", "GET /x/api", "GET /?/api"]),
    *pairs("StringMatch.exact of uri leaves the query out", "{uri: {exact: /api}}",
            ["GET /api", "GET /api?x=1", "GET /api?"],
            ["GET /api/", "GET /apis", "GET /Api", "GET /"]),
    *pairs("StringMatch.regex matches the whole path (RE2)", '{uri: {regex: "/v[0-9]+/.*"}}',
            ["GET /v1/x", "GET /v22/", "GET /v1/x?q=1"],
            ["GET /v/x", "GET /v1", "GET /a/v1/x", "GET /V1/x"]),
    *pairs("regex is anchored at both ends", '{uri: {regex: "/a|/b"}}',
            ["GET /a", "GET /b"], ["GET /ab", "GET /a/", "GET /c"]),
    *pairs("ignoreUriCase with prefix", "{uri: {prefix: /Api}, ignoreUriCase: true}",
            ["GET /api/x", "GET /API", "GET /aPi"], ["GET /ap", "GET /x"]),
    *pairs("ignoreUriCase with exact", "{uri: {exact: /Api}, ignoreUriCase: true}",
            ["GET /api", "GET /API"], ["GET /api/x"]),
    *pairs("the path is matched as sent, not decoded", "{uri: {prefix: /a%20b}}",
            ["GET /a%20b/c"], ["GET /a b", "GET /a+b"][1:]),
    *pairs("method exact, case-sensitive", "{method: {exact: POST}}",
            ["POST /", "POST /x?y"], ["GET /", "post /"]),
    *pairs("method regex", '{method: {regex: "PUT|DELETE"}}',
            ["PUT /", "DELETE /"], ["GET /", "PUTS /"]),
    *pairs("extension methods match like any other", "{method: {exact: PROPFIND}}",
            ["PROPFIND /"], ["GET /"]),
    *pairs("header exact; names without case", "{headers: {X-User: {exact: jason}}}",
            ["GET / x-user: jason", "GET / X-USER: jason"],
            ["GET /", "GET / x-user: Jason", "GET / x-user: jasons", "GET / x-users: jason"]),
    *pairs("header prefix", "{headers: {x-user: {prefix: ja}}}",
            ["GET / x-user: jason", "GET / x-user: ja"], ["GET / x-user: j", "GET /"]),
    *pairs("header regex over the whole value", '{headers: {x-user: {regex: "j.*n"}}}',
            ["GET / x-user: jason", "GET / x-user: jn"], ["GET / x-user: jasons", "GET /"]),
    *pairs("an empty StringMatch asks for presence", "{headers: {x-user: {}}}",
            ["GET / x-user: anybody"], ["GET /", "GET / other: x"]),
    *pairs("each value of a repeated header is matched by itself (Envoy since 1.39)",
            '{headers: {x-a: {exact: "1"}}}', ["GET / x-a: 1 x-a: 2", "GET / x-a: 2 x-a: 1"],
            ["GET / x-a: 1,2", "GET / x-a: 2 x-a: 3"]),
    *pairs("a regex does not reach over two values of a repeated header (Envoy since 1.39)",
            "{headers: {x-a: {regex: '1.*2'}}}", ["GET / x-a: 1,2"], ["GET / x-a: 1 x-a: 2"]),
    *pairs("withoutHeaders holds when no value matches (Envoy since 1.39)",
            '{withoutHeaders: {x-a: {exact: "1"}}}', ["GET / x-a: 2 x-a: 3"], ["GET / x-a: 2 x-a: 1"]),
    *pairs("conditions of one block are ANDed",
            "{uri: {prefix: /api}, headers: {x-user: {exact: jason}}, method: {exact: GET}}",
            ["GET /api x-user: jason"],
            ["GET /api", "GET / x-user: jason", "POST /api x-user: jason"]),
    *pairs("several headers are ANDed", "{headers: {x-a: {exact: '1'}, x-b: {exact: '2'}}}",
            ["GET / x-a: 1 x-b: 2"], ["GET / x-a: 1", "GET / x-b: 2"]),
    *pairs("blocks of a route are ORed", "{uri: {prefix: /x}}, {headers: {x-a: {exact: '1'}}}",
            ["GET /x", "GET / x-a: 1", "GET /x x-a: 2"], ["GET /", "GET / x-a: 2"]),
    *pairs("withoutHeaders", "{withoutHeaders: {x-debug: {exact: 'on'}}}",
            ["GET /", "GET / x-debug: off"], ["GET / x-debug: on"]),
    *pairs("withoutHeaders by presence", "{withoutHeaders: {x-debug: {}}}",
            ["GET /"], ["GET / x-debug: on", "GET / X-Debug: x"]),
    *pairs("queryParams exact", "{queryParams: {v: {exact: '2'}}}",
            ["GET /?v=2", "GET /?a=1&v=2", "GET /x?v=2&v=3"],
            ["GET /", "GET /?v=1", "GET /?vv=2", "GET /?v", "GET /?v=22"]),
    *pairs("queryParams regex", "{queryParams: {v: {regex: '[0-9]+'}}}",
            ["GET /?v=12"], ["GET /?v=1a", "GET /?v=", "GET /"]),
    *pairs("queryParams prefix", "{queryParams: {v: {prefix: a}}}",
            ["GET /?v=abc"], ["GET /?v=b", "GET /"]),
    *pairs("authority exact", "{authority: {exact: vs.example}}",
            ["GET /"], ["GET http://vs.example:80/"]),
    *pairs("authority prefix", "{authority: {prefix: vs.example}}",
            ["GET /", "GET http://vs.example:80/"], []),
    *pairs("scheme", "{scheme: {exact: http}}", ["GET /"], []),
    *pairs("port of the addressed host", "{port: 80}", ["GET /"], []),
    *pairs("port that is not addressed", "{port: 8080}", [], ["GET /"]),
    *pairs("sourceLabels are the node's", "{sourceLabels: {app: shop}}", ["GET /"], []),
    *pairs("sourceLabels that the node lacks", "{sourceLabels: {app: other}}", [], ["GET /"]),
    *pairs("sourceLabels are ANDed", "{sourceLabels: {app: shop, tier: x}}", [], ["GET /"]),
    *pairs("gateways of a match", "{gateways: [mesh]}", ["GET /"], []),
    *pairs("sourceNamespace", "{sourceNamespace: default}", ["GET /"], []),
    *pairs("another sourceNamespace", "{sourceNamespace: prod}", [], ["GET /"]),
    Row("first match wins", f"[{{{TO_A}}}, {{{TO_B}}}]", "GET /", A),
    Row("order, not specificity, of routes",
        f"[{{match: [{{uri: {{prefix: /}}}}], {TO_A}}}, "
        f"{{match: [{{uri: {{exact: /x}}}}], {TO_B}}}]", "GET /x", A),
    Row("no match is 404", f"[{{match: [{{uri: {{prefix: /a}}}}], {TO_A}}}]", "GET /b", "404"),
    Row("a single destination takes all, whatever its weight",
        "[{route: [{destination: {host: a.example}, weight: 0}]}]", "GET /", A),
    Row("weight 0 gets nothing",
        "[{route: [{destination: {host: a.example}, weight: 0},"
        " {destination: {host: b.example}, weight: 100}]}]", "GET /", B),
    Row("a destination's port", "[{route: [{destination: {host: a.example, port: {number: 8080}}}]}]",
        "GET /", "outbound|8080||a.example"),
    Row("a destination's subset", "[{route: [{destination: {host: a.example, subset: v1}}]}]",
        "GET /", "outbound|80|v1|a.example"),
    Row("destination hosts compare without case", "[{route: [{destination: {host: A.Example}}]}]",
        "GET /", A),
    Row("a prefix rewrite replaces the prefix only",
        f"[{{match: [{{uri: {{prefix: /api}}}}], rewrite: {{uri: /v2}}, {TO_A}}}]",
        "GET /api/x?q=1", f"{A} /v2/x?q=1"),
    Row("Envoy prefix_rewrite replaces characters: /api to / doubles the slash",
        f"[{{match: [{{uri: {{prefix: /api}}}}], rewrite: {{uri: /}}, {TO_A}}}]",
        "GET /api/x", f"{A} //x"),
    Row("a prefix with a slash rewritten to the root",
        f"[{{match: [{{uri: {{prefix: /api/}}}}], rewrite: {{uri: /}}, {TO_A}}}]",
        "GET /api/x", f"{A} /x"),
    Row("the whole path is the prefix",
        f"[{{match: [{{uri: {{prefix: /api}}}}], rewrite: {{uri: /v2}}, {TO_A}}}]",
        "GET /api", f"{A} /v2"),
    Row("an exact match's rewrite replaces the path, the query stays",
        f"[{{match: [{{uri: {{exact: /a}}}}], rewrite: {{uri: /b/c}}, {TO_A}}}]",
        "GET /a?x=1", f"{A} /b/c?x=1"),
    Row("a rewrite without a uri match replaces the root prefix, one character (Envoy)",
        f"[{{rewrite: {{uri: /base}}, {TO_A}}}]", "GET /x", f"{A} /basex"),
    Row("a rewrite without a uri match to a directory",
        f"[{{rewrite: {{uri: /base/}}, {TO_A}}}]", "GET /x", f"{A} /base/x"),
    Row("uriRegexRewrite with groups",
        "[{rewrite: {uriRegexRewrite: {match: '^/u/([^/]+)/(.*)$', rewrite: '/\\2/\\1'}}, "
        f"{TO_A}}}]",
        "GET /u/7/name?q=1", f"{A} /name/7?q=1"),
    Row("uriRegexRewrite that does not match leaves the path",
        f"[{{rewrite: {{uriRegexRewrite: {{match: '^/u/([0-9]+)$', rewrite: '/\\1'}}}}, {TO_A}}}]",
        "GET /v/7", f"{A} /v/7"),
    Row("authority rewrite alone leaves the path",
        f"[{{rewrite: {{authority: other.example}}, {TO_A}}}]", "GET /x?y", f"{A} /x?y"),
    Row("redirect: path", "[{redirect: {uri: /new}}]", "GET /x?q=1", "301 http://vs.example/new?q=1"),
    Row("redirect: authority", "[{redirect: {authority: o.example}}]", "GET /x",
        "301 http://o.example/x"),
    Row("redirect: code", "[{redirect: {uri: /n, redirectCode: 308}}]", "GET /",
        "308 http://vs.example/n"),
    Row("redirect: scheme", "[{redirect: {scheme: https}}]", "GET /x", "301 https://vs.example/x"),
    Row("redirect: port", "[{redirect: {port: 8443, scheme: https}}]", "GET /x",
        "301 https://vs.example:8443/x"),
    Row("redirect: the scheme's default port is not written",
        "[{redirect: {port: 443, scheme: https}}]", "GET /x", "301 https://vs.example/x"),
    Row("redirect: derivePort FROM_PROTOCOL_DEFAULT",
        "[{redirect: {scheme: https, derivePort: FROM_PROTOCOL_DEFAULT}}]",
        "GET http://vs.example:8080/x", "301 https://vs.example/x"),
    Row("redirect: derivePort FROM_REQUEST_PORT",
        "[{redirect: {authority: o.example, derivePort: FROM_REQUEST_PORT}}]",
        "GET http://vs.example:8080/x", "301 http://o.example:8080/x"),
    Row("redirect keeps the client's port", "[{redirect: {uri: /n}}]",
        "GET http://vs.example:8080/x", "301 http://vs.example:8080/n"),
    Row("redirect: a scheme change drops the old default port", "[{redirect: {scheme: https}}]",
        "GET http://vs.example:80/x", "301 https://vs.example/x"),
    Row("redirect: prefixRewrite replaces the matched prefix",
        "[{match: [{uri: {prefix: /old}}], redirect: {prefixRewrite: /new}}]",
        "GET /old/x?q", "301 http://vs.example/new/x?q"),
    Row("redirect: a uri with a query of its own replaces the query",
        "[{redirect: {uri: '/n?own=1'}}]", "GET /x?q=1", "301 http://vs.example/n?own=1"),
    Row("directResponse", "[{directResponse: {status: 418}}]", "GET /", "=418"),
    Row("a route behind a redirect is not reached",
        f"[{{redirect: {{uri: /n}}}}, {{{TO_A}}}]", "GET /", "301 http://vs.example/n"),
]  # fmt: skip


class NameRow(NamedTuple):
    """Which claim wins for a name; `decision` is the VirtualService's or entry's name, or 502."""

    rule: str
    services: str  # ServiceEntry hosts, blank-separated
    virtual: str  # "name=host,host name=host": VirtualServices
    host: str
    decision: str


NAMES: list[NameRow] = [
    NameRow("a ServiceEntry has an implicit route", "a.example", "", "a.example", "a.example"),
    NameRow("unknown names are refused", "a.example", "", "b.example", "502"),
    NameRow("names compare without case", "a.example", "", "A.EXAMPLE", "a.example"),
    NameRow("a trailing dot is ignored", "a.example", "", "a.example.", "a.example"),
    NameRow("claims compare without case", "A.Example", "", "a.example", "a.example"),
    NameRow("an explicit VirtualService replaces the implicit one", "a.example", "v=a.example",
            "a.example", "v"),
    NameRow("a wildcard matches one label below", "*.foo.com", "", "a.foo.com", "*.foo.com"),
    NameRow("a wildcard matches several labels", "*.foo.com", "", "a.b.foo.com", "*.foo.com"),
    NameRow("a wildcard does not match the bare name", "*.foo.com", "", "foo.com", "502"),
    NameRow("exact before wildcard", "", "w=*.foo.com e=a.foo.com", "a.foo.com", "e"),
    NameRow("the longest wildcard wins", "", "s=*.com l=*.foo.com", "a.foo.com", "l"),
    NameRow("a wildcard VirtualService beats an exact ServiceEntry's implicit route", "a.foo.com",
            "w=*.foo.com", "a.foo.com", "w"),
    NameRow("several hosts of one VirtualService", "", "v=a.com,b.com", "b.com", "v"),
]  # fmt: skip
