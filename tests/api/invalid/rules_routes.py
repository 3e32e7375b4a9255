"""Istio's rules for VirtualService."""

from __future__ import annotations

from tests.api.invalid.bases import VIRTUAL_SERVICE
from tests.api.invalid.mutate import ABSENT, InvalidCase, case
from tests.api.invalid.rules_services import BAD_HOSTS, BAD_PORTS

_ROUTE = "spec.http[0]"
_MATCH = f"{_ROUTE}.match[0]"
_TARGET = f"{_ROUTE}.route[0]"


def _case(name: str, changes: dict[str, object], fragment: str, field: str = "") -> InvalidCase:
    return case(name, VIRTUAL_SERVICE, dict(changes), fragment, field)


HOSTS = [
    *(
        _case(f"host {host!r}", {"spec.hosts[0]": host}, "a DNS name")
        for host in BAD_HOSTS
        if host not in ("10.0.0.1", "2001:db8::1")
    ),
    _case("host * in the mesh", {"spec.hosts[0]": "*"}, "a host less wide"),
    _case("no host beside gateways", {"spec.hosts": []}, "at least one host"),
    _case("no host beside tls", {"spec.hosts": ABSENT, "spec.gateways": ABSENT}, "at least one"),
    _case("the same host twice", {"spec.hosts[1]": "reviews.example.com"}, "do not overlap"),
    _case("the same host in capitals", {"spec.hosts[1]": "Reviews.example.com"}, "not overlap"),
    _case("a wildcard over a host", {"spec.hosts[1]": "*.example.com"}, "do not overlap"),
    _case(
        "no routes",
        {"spec.http": ABSENT, "spec.tls": ABSENT, "spec.tcp": ABSENT},
        "at least one route",
        "spec",
    ),
    _case(
        "empty routes", {"spec.http": [], "spec.tls": [], "spec.tcp": []}, "at least one", "spec"
    ),
    *(
        _case(f"gateway {name!r}", {"spec.gateways[1]": name}, "both DNS-1123 labels")
        for name in ("/a", "a/", "a/b/c", "a_b/c", "A/b", "*/b")
    ),
    *(
        _case(f"gateway {name!r}", {"spec.gateways[1]": name}, "a gateway name")
        for name in ("", "a_b", "-a", "a b", "*")
    ),
    _case("export to a bad name", {"spec.exportTo[0]": "a_b"}, "or a namespace"),
    _case("export to nobody", {"spec.exportTo[0]": "~"}, "or a namespace"),
    _case("export to all and one", {"spec.exportTo": ["*", "a"]}, '"*" alone'),
    _case("export twice", {"spec.exportTo": ["a", "a"]}, "each namespace once", "spec.exportTo[1]"),
]

_REDIRECT = {"uri": "/new"}
_DIRECT = {"status": 200}
_FAULT = {"abort": {"httpStatus": 500}}
_MOVED, _ANSWERED = "spec.http[1]", "spec.http[2]"
_TO = [{"destination": {"host": "a.example.com"}}]
ACTIONS = [
    _case("no action", {_ROUTE: {"name": "a"}}, "one of route, redirect, directResponse"),
    _case("an empty route list", {_ROUTE: {"route": []}}, "one of route, redirect"),
    _case("only a rewrite", {_ROUTE: {"rewrite": {"uri": "/"}}}, "one of route, redirect"),
    _case("route beside redirect", {f"{_MOVED}.route": _TO}, "redirect without route"),
    _case("fault beside redirect", {f"{_MOVED}.fault": _FAULT}, "redirect without fault"),
    _case("rewrite beside redirect", {f"{_MOVED}.rewrite": {"uri": "/"}}, "without rewrite"),
    _case("direct beside redirect", {f"{_MOVED}.directResponse": _DIRECT}, "redirect without"),
    _case("route beside direct", {f"{_ANSWERED}.route": _TO}, "directResponse without route"),
    _case("fault beside direct", {f"{_ANSWERED}.fault": _FAULT}, "directResponse without fault"),
    _case("rewrite beside direct", {f"{_ANSWERED}.rewrite": {"uri": "/"}}, "without rewrite"),
    _case(
        "route beside delegate",
        {f"{_ROUTE}.delegate": {"name": "a"}},
        "delegate without route",
        f"{_ROUTE}.route",
    ),
    _case("redirect beside delegate", {f"{_MOVED}.delegate": {"name": "a"}},
          "delegate without redirect", f"{_MOVED}.redirect"),
    _case(
        "a delegate's delegate",
        {"spec": {"http": [{"delegate": {"name": "a"}}]}},
        "is a delegate itself",
        f"{_ROUTE}.delegate",
    ),
    _case("mirror and mirrors", {f"{_ROUTE}.mirrors": [{"destination": {"host": "a.b"}}]},
          "only one of the two"),
]  # fmt: skip

BAD_REGEXES = (
    ("(", "missing )"),
    ("[a", "missing ]"),
    ("*a", "no argument for repetition operator"),
    ("a**", "bad repetition operator"),
    ("(?=a)", "invalid perl operator"),
    ("(?<!a)b", "invalid"),
    (r"(a)\1", "invalid escape sequence"),
    ("a{1001}", "invalid repetition size"),
    ("[z-a]", "invalid character class range"),
    ("(?P<a>", "missing )"),
    ("a\\", "trailing"),
    ("\\p{Nope}", "invalid character"),
    ("", "not an empty string"),
    ("a" * 1025, "at most 1024"),
)
MATCHES = [
    *(
        _case(f"regex {pattern[:20]!r}", {f"{_MATCH}.uri": {"regex": pattern}}, fragment,
              f"{_MATCH}.uri.regex")
        for pattern, fragment in BAD_REGEXES
    ),
    *(
        _case(f"bad regex in {where}", {f"{_MATCH}.{where}": {"regex": "("}},
              "RE2 syntax (missing )", f"{_MATCH}.{where}.regex")
        for where in ("scheme", "method", "authority", "headers.end-user", "queryParams.page",
                      "withoutHeaders.x-debug")
    ),
    *(
        _case(f"empty regex in {where}", {f"{_MATCH}.{where}": {"regex": ""}},
              "not an empty string", f"{_MATCH}.{where}.regex")
        for where in ("method", "headers.end-user", "queryParams.page", "withoutHeaders.x-debug")
    ),
    *(
        _case(f"empty prefix in {where}", {f"{_MATCH}.{where}": {"prefix": ""}},
              "a prefix, not an empty string", f"{_MATCH}.{where}.prefix")
        for where in ("scheme", "method", "authority", "headers.end-user", "queryParams.page",
                      "withoutHeaders.x-debug")
    ),
    *(
        _case(f"two kinds of match in {where}", {f"{_MATCH}.{where}": {"exact": "a", other: "b"}},
              f"{other} beside exact", f"{_MATCH}.{where}.{other}")
        for where in ("uri", "method", "headers.end-user")
        for other in ("prefix", "regex")
    ),
    _case("three kinds of match",
          {f"{_MATCH}.uri": {"regex": "a", "prefix": "b", "exact": "c"}},
          "exact beside regex", f"{_MATCH}.uri.exact"),
    *(
        _case(f"header {name!r} in {where}", {f'{_MATCH}.{where}["{name}"]': {"exact": "a"}},
              "a header name (RFC 9110")
        for where in ("headers", "withoutHeaders")
        for name in ("a b", "a:b", "::", "a(b", "a/b")
    ),
    _case("empty header name", {f"{_MATCH}.headers": {"": {"exact": "a"}}},
          "a header name (RFC 9110", f'{_MATCH}.headers[""]'),
    _case("JWT claims in the mesh",
          {f'{_MATCH}.headers["@request.auth.claims.sub"]': {"exact": "a"}},
          "at gateways only"),
    _case("header match null", {f"{_MATCH}.headers.end-user": None}, "found null"),
    _case("header match text", {f"{_MATCH}.headers.end-user": "jason"}, "a mapping"),
    _case("port", {f"{_MATCH}.port": 65536}, "1 to 65535"),
    _case("label value", {f"{_MATCH}.sourceLabels.app": "a b"}, "a label value"),
    _case("label key", {f'{_MATCH}.sourceLabels["a b"]': "c"}, "a key of at most"),
    _case("gateway name", {f"{_MATCH}.gateways[0]": "a/b/c"}, "namespace/name"),
    _case("plain gateway name", {f"{_MATCH}.gateways[0]": "a_b"}, "a gateway name"),
    *(
        _case(f"namespace {n!r}", {f"{_MATCH}.sourceNamespace": n}, "the name of a namespace")
        for n in ("a.b", "a_b", "*")
    ),
]  # fmt: skip

_PERCENTS = (-1, 100.1, 0.00001)
TARGETS = [
    *(
        _case(f"host {host!r}", {f"{_TARGET}.destination.host": host}, "a DNS name")
        for host in ("", "*", "a_b", "10.0.0.1", "a.com:80", "http://a.com", "a.*.com", "-a")
    ),
    *(
        _case(f"subset {s!r}", {f"{_TARGET}.destination.subset": s}, "a subset name")
        for s in ("a_b", "a.b", "-", "a b", "v1/", "a" * 64)
    ),
    *(
        _case(f"port {n}", {f"{_TARGET}.destination.port.number": n}, "1 to 65535")
        for n in BAD_PORTS
    ),
    _case("empty port", {f"{_TARGET}.destination.port": {}}, "1 to 65535",
          f"{_TARGET}.destination.port.number"),
    _case("negative weight", {f"{_TARGET}.weight": -1}, "a weight of 0 or more"),
    _case("very negative weight", {f"{_ROUTE}.route[1].weight": -100}, "a weight of 0 or more"),
    _case("weights of 0", {f"{_TARGET}.weight": 0, f"{_ROUTE}.route[1].weight": 0},
          "2 destinations of total weight 0", f"{_ROUTE}.route"),
    _case("no weights", {f"{_TARGET}.weight": ABSENT, f"{_ROUTE}.route[1].weight": ABSENT},
          "at least one weight above 0", f"{_ROUTE}.route"),
    _case("mirror host", {f"{_ROUTE}.mirror.host": "*"}, "a DNS name"),
    _case("mirror without host", {f"{_ROUTE}.mirror.host": ABSENT}, "this required field"),
    _case("mirror port", {f"{_ROUTE}.mirror.port.number": 0}, "1 to 65535"),
    _case("mirror subset", {f"{_ROUTE}.mirror.subset": "a_b"}, "a subset name"),
    _case("mirrorPercent", {f"{_ROUTE}.mirrorPercent": 101}, "at most 100"),
    *(
        _case(f"mirror {p} %", {f"{_ROUTE}.mirrorPercentage.value": p}, "a percentage")
        for p in _PERCENTS
    ),
    *(
        _case(f"mirror {p} %", {"spec.http[3].mirrors[0].percentage.value": p}, "a percentage")
        for p in _PERCENTS
    ),
    _case("mirrors host", {"spec.http[3].mirrors[0].destination.host": "a_b"}, "a DNS name"),
]  # fmt: skip

_BAD_OPERATIONS = (("a b", "a header name"), (":path", 'without ":" prefix'), ("a:b", "a header"))
HEADERS = [
    *(
        _case(f"{verb} {name!r}", {f'{_ROUTE}.headers.{side}.{verb}["{name}"]': "x"}, fragment)
        for side in ("request", "response")
        for verb in ("set", "add")
        for name, fragment in _BAD_OPERATIONS
    ),
    *(
        _case(f"remove {name!r}", {f"{_ROUTE}.headers.{side}.remove[0]": name}, fragment)
        for side in ("request", "response")
        for name, fragment in (*_BAD_OPERATIONS, ("", "a header name"), ("Host", "another header"))
    ),
    *(
        _case(f"response {verb} {name}", {f'{_ROUTE}.headers.response.{verb}["{name}"]': "x"},
              "only a request's Host", field)
        for verb in ("set", "add")
        for name, field in (
            ("host", f"{_ROUTE}.headers.response.{verb}.host"),
            (":authority", f'{_ROUTE}.headers.response.{verb}[":authority"]'),
        )
    ),
    *(
        _case(f"value {value!r}", {f"{_TARGET}.headers.request.set.x-a": value}, fragment)
        for value, fragment in (
            ("100%", "% only as %%"), ("abc%123", "% only as %%"), ("%START_TIME%%", "% only"),
            ("%start%", "% only as %%"), ("a\nb", "without control"), ("a\x00b", "without control"),
            ("a\x7f", "without control"), ("%REQ(x%", "% only as %%"),
        )
        if value != "a\x00b"
    ),
    _case("value of a response", {f"{_TARGET}.headers.response.add.x-e": "50%"}, "% only as %%"),
    _case("empty name", {f"{_TARGET}.headers.request.set": {"": "a"}}, "a header name",
          f'{_TARGET}.headers.request.set[""]'),
    _case("authority twice", {f"{_ROUTE}.headers.request.set.Host": "a.com"}, "in one place"),
    _case("authority set and added",
          {f'{_ROUTE}.headers.request.add[":authority"]': "a.com",
           f"{_ROUTE}.headers.request.set.host": "b.com", f"{_ROUTE}.rewrite.authority": ABSENT},
          "the authority set in one place"),
]  # fmt: skip

_REPLY = f"{_ANSWERED}.directResponse"
_MOVE = f"{_MOVED}.redirect"
_RETRIES = f"{_ROUTE}.retries"
REPLIES = [
    *(
        _case(f"status {s}", {f"{_REPLY}.status": s}, "a status from 200 to 600")
        for s in (0, 100, 199, 601, 1000)
    ),
    _case("large body", {f"{_REPLY}.body.string": "a" * (1024 * 1024 + 1)}, "at most 1048576",
          f"{_REPLY}.body"),
    _case("two bodies", {f"{_REPLY}.body.bytes": "YQ=="}, "bytes beside string"),
    *(
        _case(f"bytes {b!r}", {f"{_REPLY}.body": {"bytes": b}}, "base64 text",
              f"{_REPLY}.body.bytes")
        for b in ("a", "%%%", "a b")
    ),
    _case("empty redirect", {_MOVE: {}}, "at least one of uri"),
    _case("redirect with a code alone", {_MOVE: {"redirectCode": 301}}, "at least one of uri"),
    *(
        _case(f"code {c}", {f"{_MOVE}.redirectCode": c}, "a 3xx status") for c in (200, 299, 400, 1)
    ),
    *(
        _case(f"scheme {s!r}", {f"{_MOVE}.scheme": s}, '"http" or "https"')
        for s in ("ftp", "HTTP", "ws")
    ),
    _case("redirect port", {f"{_MOVE}.port": 65536}, "1 to 65535"),
    _case("two redirect ports", {f"{_MOVE}.derivePort": "FROM_REQUEST_PORT"}, "beside port"),
    _case("derivePort", {_MOVE: {"derivePort": "FROM_PORT"}}, "FROM_PROTOCOL_DEFAULT",
          f"{_MOVE}.derivePort"),
    _case("prefix beside uri", {f"{_MOVE}.prefixRewrite": "/"}, "only one of the two"),
    _case("empty rewrite", {f"{_ROUTE}.rewrite": {}}, "at least one of uri"),
    _case("two rewrites",
          {f"{_ROUTE}.rewrite.uriRegexRewrite": {"match": "a", "rewrite": "b"}}, "only one of"),
    _case("regex rewrite", {"spec.http[3].rewrite.uriRegexRewrite.match": "("}, "missing )"),
    _case("no regex", {"spec.http[3].rewrite.uriRegexRewrite.match": ABSENT}, "an empty string"),
    _case("no replacement", {"spec.http[3].rewrite.uriRegexRewrite.rewrite": ABSENT}, "in place"),
]  # fmt: skip

LIMITS = [
    _case("timeout 0", {f"{_ROUTE}.timeout": "0s"}, "at least 1ms"),
    _case("timeout too short", {f"{_ROUTE}.timeout": "0.5ms"}, "at least 1ms"),
    _case("timeout too fine", {f"{_ROUTE}.timeout": "1.0005s"}, "whole number of milliseconds"),
    _case("try 0", {f"{_RETRIES}.perTryTimeout": "0s"}, "at least 1ms"),
    _case("try too short", {f"{_RETRIES}.perTryTimeout": "100us"}, "at least 1ms"),
    _case("backoff 0", {f"{_RETRIES}.backoff": "0s"}, "at least 1ms"),
    _case("negative attempts", {f"{_RETRIES}.attempts": -1}, "0 (no retries) or more"),
    _case("a policy for no attempts", {f"{_RETRIES}.attempts": 0}, "1 or more"),
    _case("a policy without attempts", {_RETRIES: {"retryOn": "5xx"}}, "1 or more",
          f"{_RETRIES}.attempts"),
    *(
        _case(f"retryOn {r!r}", {f"{_RETRIES}.retryOn": r}, "conditions of Envoy or status codes")
        for r in ("5XX", "always", "5xx, reset", "5xx,", "4xx", "99", "600", "connect_failure",
                  "5xx;reset", "2xx", "306")
    ),
]  # fmt: skip

_DELAY, _ABORT = f"{_ROUTE}.fault.delay", f"{_ROUTE}.fault.abort"
FAULTS = [
    _case("empty fault", {f"{_ROUTE}.fault": {}}, "delay, abort or both"),
    *(
        _case(f"{p} %", {f"{where}.percentage.value": p}, "a percentage")
        for where in (_DELAY, _ABORT)
        for p in (-0.1, 100.5, 101, 0.00009)
    ),
    *(
        _case(f"percentage: {p}", {f"{where}.percentage": p}, "a percentage",
              f"{where}.percentage.value")
        for where in (_DELAY, _ABORT)
        for p in (-1, 101)
    ),
    _case("percent", {f"{_DELAY}.percent": 101}, "a percentage from 0 to 100"),
    _case("negative percent", {f"{_DELAY}.percent": -1}, "a percentage from 0 to 100"),
    _case("delay 0", {f"{_DELAY}.fixedDelay": "0s"}, "at least 1ms"),
    _case("two delays", {f"{_DELAY}.exponentialDelay": "1s"}, "exponentialDelay beside fixedDelay"),
    _case("exponential delay", {_DELAY: {"exponentialDelay": "1s"}}, "no exponential delay yet",
          f"{_DELAY}.exponentialDelay"),
    *(
        _case(f"status {s}", {f"{_ABORT}.httpStatus": s}, "a status from 200 to 600")
        for s in (0, 100, 199, 601, -1)
    ),
    _case("two errors", {f"{_ABORT}.grpcStatus": "NOT_FOUND"}, "grpcStatus beside httpStatus"),
    *(
        _case(f"grpcStatus {s!r}", {_ABORT: {"grpcStatus": s}}, "one of OK, CANCELLED",
              f"{_ABORT}.grpcStatus")
        for s in ("NOPE", "not_found", "5", "")
    ),
    _case("http2Error", {_ABORT: {"http2Error": "REFUSED_STREAM"}}, "no HTTP/2 abort yet",
          f"{_ABORT}.http2Error"),
]  # fmt: skip

_CORS = f"{_ROUTE}.corsPolicy"
CORS = [
    *(
        _case(f"origin {o}", {f"{_CORS}.allowOrigins[0]": o}, "exact, prefix or regex")
        for o in ({}, {"exact": ""}, {"regex": ""}, {"prefix": ""})
    ),
    _case("origin regex", {f"{_CORS}.allowOrigins[0]": {"regex": "("}}, "missing )",
          f"{_CORS}.allowOrigins[0].regex"),
    *(
        _case(f"method {m!r}", {f"{_CORS}.allowMethods[0]": m}, "one of CONNECT, DELETE")
        for m in ("get", "PURGE", "", "*")
    ),
    *(
        _case(f"header {h!r}", {f"{_CORS}.{field}[0]": h}, "a header name")
        for field in ("allowHeaders", "exposeHeaders")
        for h in ("", "a b", "a:b", "a,b")
    ),
    _case("max age 0", {f"{_CORS}.maxAge": "0s"}, "at least 1ms"),
    _case("max age too fine", {f"{_CORS}.maxAge": "1.5s"}, "whole seconds"),
]  # fmt: skip

_TLS, _TCP = "spec.tls[0]", "spec.tcp[0]"
L4 = [
    _case("no TLS match", {f"{_TLS}.match": []}, "at least one match"),
    _case("no SNI", {f"{_TLS}.match[0].sniHosts": []}, "at least one SNI host"),
    _case("SNI of another host", {f"{_TLS}.match[0].sniHosts[0]": "b.example.com"}, "within the"),
    _case("SNI wider", {f"{_TLS}.match[0].sniHosts[0]": "*.example.com"}, "within the hosts"),
    *(
        _case(f"SNI {s!r}", {f"{_TLS}.match[0].sniHosts[0]": s}, "a DNS name")
        for s in ("", "a_b", "a.*.com", "a.com:443")
    ),
    *(
        _case(f"no route in {where}", {f"{where}.route": value}, "at least one destination")
        for where in (_TLS, _TCP)
        for value in ([], ABSENT)
        if value == []
    ),
    *(
        _case("no routes at all", {f"{where}.route": ABSENT}, "at least one destination")
        for where in (_TLS, _TCP)
    ),
    *(
        _case(f"subnet {s!r}", {f"{where}.match[0].destinationSubnets[0]": s}, "a CIDR block")
        for where in (_TLS, _TCP)
        for s in ("10.0.0.0/33", "a.com", "")
    ),
    *(
        _case("port", {f"{where}.match[0].port": 70000}, "1 to 65535") for where in (_TLS, _TCP)
    ),
    *(
        _case("label", {f"{where}.match[0].sourceLabels.app": "a b"}, "a label value")
        for where in (_TLS, _TCP)
    ),
    *(
        _case("gateway", {f"{where}.match[0].gateways[0]": "a/"}, "namespace/name")
        for where in (_TLS, _TCP)
    ),
    *(
        _case("namespace", {f"{where}.match[0].sourceNamespace": "a_b"}, "the name of a namespace")
        for where in (_TLS, _TCP)
    ),
    _case("source subnet", {f"{_TCP}.match[0].sourceSubnet": "10.1"}, "a CIDR block"),
    *(
        _case("host", {f"{where}.route[0].destination.host": "*"}, "a DNS name")
        for where in (_TLS, _TCP)
    ),
    *(
        _case("port", {f"{where}.route[0].destination.port.number": 0}, "1 to 65535")
        for where in (_TLS, _TCP)
    ),
    *(
        _case("weight", {f"{where}.route[0].weight": -5}, "a weight of 0 or more")
        for where in (_TLS, _TCP)
    ),
    *(
        _case("weights of 0",
              {f"{where}.route": [*_TO, *_TO]},
              "at least one weight above 0")
        for where in (_TLS, _TCP)
    ),
]  # fmt: skip

CASES = [
    *HOSTS, *ACTIONS, *MATCHES, *TARGETS, *HEADERS, *REPLIES, *LIMITS, *FAULTS, *CORS, *L4,
]  # fmt: skip
