"""The resources and the requests of the differential test: deterministic, made from the resources so
that most requests stand at an edge of some rule."""

from __future__ import annotations

import random
from typing import NamedTuple

SERVICES = ("one", "two", "three")

ROUTES = """
http:
- {name: exact, match: [{uri: {exact: /exact}}], route: [{destination: {host: one.test, subset: v1}}]}
- {name: case, match: [{uri: {prefix: /CaSe}, ignoreUriCase: true}], rewrite: {uri: /lower}, route: [{destination: {host: two.test}}]}
- {name: caseexact, match: [{uri: {exact: /ExAct}, ignoreUriCase: true}], rewrite: {uri: /whole}, route: [{destination: {host: two.test}}]}
- {name: regex, match: [{uri: {regex: '/r/[0-9]+(/x)?'}}], route: [{destination: {host: three.test}}]}
- {name: regexrewrite, match: [{uri: {prefix: /rr/}}], rewrite: {uriRegexRewrite: {match: '^/rr/([^/]+)/(.*)$', rewrite: '/\\2/\\1'}}, route: [{destination: {host: one.test, subset: v1}}]}
- {name: api, match: [{uri: {prefix: /api}}], rewrite: {uri: /v1}, route: [{destination: {host: two.test}}]}
- {name: strip, match: [{uri: {prefix: /strip/}}], rewrite: {uri: /}, route: [{destination: {host: two.test}}]}
- {name: stripbare, match: [{uri: {prefix: /bare}}], rewrite: {uri: /}, route: [{destination: {host: two.test}}]}
- {name: authority, match: [{uri: {prefix: /auth}}], rewrite: {authority: other.example}, route: [{destination: {host: one.test, subset: v1}}]}
- {name: both, match: [{uri: {prefix: /both}}], rewrite: {uri: /b, authority: b.example}, route: [{destination: {host: one.test, subset: v1}}]}
- {name: header, match: [{uri: {prefix: /h}, headers: {x-kind: {exact: a}}}, {uri: {prefix: /h}, headers: {x-kind: {prefix: b}}}, {uri: {prefix: /h}, headers: {x-kind: {regex: 'c+'}}}], route: [{destination: {host: two.test}}]}
- {name: present, match: [{uri: {prefix: /h}, headers: {x-present: {}}}], route: [{destination: {host: three.test}}]}
- {name: without, match: [{uri: {prefix: /w}, withoutHeaders: {x-kind: {exact: a}}}], route: [{destination: {host: two.test}}]}
- {name: query, match: [{uri: {prefix: /q}, queryParams: {v: {exact: '2'}}}, {uri: {prefix: /q}, queryParams: {v: {regex: 'x[0-9]'}}}, {uri: {prefix: /q}, queryParams: {p: {prefix: ab}}}], route: [{destination: {host: two.test}}]}
- {name: method, match: [{uri: {prefix: /m}, method: {exact: POST}}, {uri: {prefix: /m}, method: {regex: 'P.T'}}], route: [{destination: {host: two.test}}]}
- {name: scheme, match: [{uri: {prefix: /s}, scheme: {exact: https}}], route: [{destination: {host: two.test}}]}
- {name: ours, match: [{uri: {prefix: /who}, authority: {prefix: routes}}], route: [{destination: {host: two.test}}]}
- {name: subset, match: [{uri: {prefix: /v2}}], route: [{destination: {host: one.test, subset: v2}}]}
- {name: red, match: [{uri: {prefix: /red1}}], redirect: {uri: /new}}
- {name: red2, match: [{uri: {prefix: /red2}}], redirect: {authority: new.example, redirectCode: 302}}
- {name: red3, match: [{uri: {prefix: /red3}}], redirect: {scheme: https}}
- {name: red4, match: [{uri: {prefix: /red4}}], redirect: {port: 8443, scheme: https, redirectCode: 307}}
- {name: red5, match: [{uri: {prefix: /red5}}], redirect: {prefixRewrite: /moved, redirectCode: 308}}
- {name: red6, match: [{uri: {prefix: /red6}}], redirect: {uri: '/with?q=1', authority: 'n.example', scheme: https, redirectCode: 303}}
- {name: direct, match: [{uri: {prefix: /direct}}], directResponse: {status: 418, body: {string: teapot}}}
- {name: empty, match: [{uri: {prefix: /nothing}}], directResponse: {status: 204}}
- {name: ops, match: [{uri: {prefix: /ops}}], headers: {request: {set: {x-set: s}, add: {x-add: a}, remove: [x-gone]}, response: {set: {x-from-origin: changed}, add: {x-more: m}, remove: [x-origin]}}, route: [{destination: {host: one.test, subset: v1}}]}
- {name: opsboth, match: [{uri: {prefix: /two}}], headers: {request: {set: {x-set: route}}}, route: [{destination: {host: one.test, subset: v1}, weight: 100, headers: {request: {set: {x-set: destination}}, response: {add: {x-more: d}}}}, {destination: {host: two.test}, weight: 0}]}
- {name: order, match: [{uri: {prefix: /order}}], headers: {request: {set: {x-a: '1'}, remove: [x-a]}}, route: [{destination: {host: one.test, subset: v1}}]}
- {name: fault, match: [{uri: {prefix: /fault}}], fault: {abort: {httpStatus: 555, percentage: {value: 100}}}, route: [{destination: {host: one.test, subset: v1}}]}
- {name: nofault, match: [{uri: {prefix: /nofault}}], fault: {abort: {httpStatus: 555, percentage: {value: 0}}}, route: [{destination: {host: one.test, subset: v1}}]}
- {name: cors, match: [{uri: {prefix: /cors}}], corsPolicy: {allowOrigins: [{exact: 'https://a.example'}, {prefix: 'https://b.'}, {regex: 'https://c[0-9][.]example'}], allowMethods: [GET, PUT], allowHeaders: [x-a], exposeHeaders: [x-b], maxAge: 60s, allowCredentials: true}, route: [{destination: {host: one.test, subset: v1}}]}
- {name: corsignore, match: [{uri: {prefix: /ignore}}], corsPolicy: {allowOrigins: [{exact: 'https://a.example'}], allowMethods: [GET], unmatchedPreflights: IGNORE}, route: [{destination: {host: one.test, subset: v1}}]}
- {name: weights, match: [{uri: {prefix: /weights}}], route: [{destination: {host: one.test, subset: v1}, weight: 0}, {destination: {host: three.test}, weight: 7}]}
- {name: dead, match: [{uri: {prefix: /dead}}], route: [{destination: {host: dead.test}}]}
- {name: retry, match: [{uri: {prefix: /retry}}], retries: {attempts: 2, retryOn: '5xx'}, route: [{destination: {host: one.test, subset: v1}}]}
- {name: mirror, match: [{uri: {prefix: /mirror}}], mirror: {host: two.test}, route: [{destination: {host: one.test, subset: v1}}]}
- {name: rest, match: [{uri: {prefix: /rest}}], route: [{destination: {host: three.test}}]}
"""

WILD = "http: [{route: [{destination: {host: three.test}}]}]"
NOTHING = "http: [{match: [{uri: {prefix: /only}}], route: [{destination: {host: one.test, subset: v1}}]}]"


def resources(ports: dict[str, int], dead_port: int) -> str:
    """All documents; `ports` are those of the origins by name."""
    documents = []
    for name in SERVICES:
        v2 = f", {{address: 127.0.0.1, ports: {{http: {ports['v2']}}}, labels: {{version: v2}}}}"
        documents.append(_entry(name, ports[name], v2 if name == "one" else ""))
    documents.append(_entry("dead", dead_port, ""))
    documents.append(
        "apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: one}\n"
        "spec: {host: one.test, subsets: [{name: v1, labels: {version: v1}}, "
        "{name: v2, labels: {version: v2}}]}\n"
    )
    for name, host, body in (
        ("routes", "routes.test", ROUTES.strip()), ("wild", "'*.wild.test'", WILD),
        ("exactwild", "a.wild.test", NOTHING), ("deep", "'*.b.wild.test'", NOTHING),
    ):  # fmt: skip
        spec = "\n".join(f"  {line}" for line in body.splitlines())
        documents.append(
            "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
            f"metadata: {{name: {name}}}\nspec:\n  hosts: [{host}]\n{spec}\n"
        )
    # one.test itself goes to v1 only, so that the answering origin is certain
    documents.append(
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: one}\n"
        "spec: {hosts: [one.test], http: [{route: [{destination: {host: one.test, subset: v1}}]}]}\n"
    )
    return "---\n".join(documents)


def _entry(name: str, port: int, more: str) -> str:
    label = ", labels: {version: v1}" if more else ""
    return (
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n"
        f"metadata: {{name: {name}}}\nspec: {{hosts: [{name}.test], resolution: STATIC, "
        "ports: [{number: 80, name: http, protocol: HTTP}], endpoints: "
        f"[{{address: 127.0.0.1, ports: {{http: {port}}}{label}}}{more}]}}\n"
    )


class Case(NamedTuple):
    """One request."""

    method: str
    host: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()

    def __str__(self) -> str:
        sent = " ".join(f"{k}={v}" for k, v in self.headers)
        return f"{self.method} {self.host} {self.target} {sent}".strip()


_PATHS = (
    "exact", "Exact", "ExAct", "EXACT", "case", "CASE/x", "CaSefold", "r/1", "r/12/x", "r/", "r/a",
    "rr/a/b", "rr/a/b/c", "rr/a", "api", "api/", "apix", "API", "strip/", "strip/a", "strip",
    "bare", "bare/", "bare/a", "barefoot", "auth", "auth/x", "both/1", "h", "w", "q", "m", "s",
    "who", "v2/a", "red1", "red1/deep", "red2/a", "red3/a", "red4", "red5/a/b", "red5", "red6/x",
    "direct", "nothing", "ops", "two", "order", "fault", "nofault", "weights", "dead", "retry", "mirror",
    "rest", "none", "",
)  # fmt: skip
_SUFFIXES = ("", "?v=2", "?v=x1&p=abc", "?a=b%20c", "/%2e%2e/x", "//y", "/a;b=c", "?v=&v=2")
_HEADERS: tuple[tuple[tuple[str, str], ...], ...] = (
    (), (("x-kind", "a"),), (("X-Kind", "bcd"),), (("x-kind", "ccc"),), (("x-kind", "ccd"),),
    (("x-present", ""),), (("x-gone", "1"), ("x-set", "0"), ("x-add", "0")),
    (("origin", "https://a.example"),), (("x-want-status", "404"),),
)  # fmt: skip
_CORS = tuple(
    (("origin", origin), *more)
    for origin in (
        "https://a.example",
        "https://b.example",
        "https://c1.example",
        "https://d",
        "null",
    )
    for more in ((), (("access-control-request-method", "PUT"),))
)


def cases() -> list[Case]:
    """At least 200, the same each time."""
    rng = random.Random(20261124)
    found = [Case("GET", "routes.test", f"/{path}") for path in _PATHS]
    for path in _PATHS:
        for _ in range(2):
            method = rng.choice(("GET", "POST", "PUT", "HEAD", "DELETE", "PATCH"))
            target = f"/{path}{rng.choice(_SUFFIXES)}"
            found.append(Case(method, "routes.test", target, rng.choice(_HEADERS)))
    for headers in _HEADERS:
        for path in ("h", "w", "ops", "two"):
            found.append(Case("GET", "routes.test", f"/{path}", headers))
    for path in ("cors", "ignore"):
        for headers in _CORS:
            found.append(Case("GET", "routes.test", f"/{path}", headers))
            found.append(Case("OPTIONS", "routes.test", f"/{path}", headers))
    hosts = (
        "one.test", "two.test", "ROUTES.test", "routes.test:80", "routes.test:8080", "x.wild.test",
        "x.y.wild.test", "wild.test", "a.wild.test", "c.b.wild.test", "b.wild.test", "unknown.test",
        "xwild.test", "two.test.",
    )  # fmt: skip
    for host in hosts:
        for target in ("/", "/only/this", "/rest?x=1"):
            found.append(Case("GET", host, target))
    return list(dict.fromkeys(found))
