"""Statements on names and HTTP routes of the mesh. Source: Istio VirtualService, `route.go`,
`httproute.go`, `virtualservice.go`."""

# ruff: noqa: E501 - a statement reads best on one line

from __future__ import annotations

from tests.semantics.lines import answer, se, to, vs
from tests.semantics.world import Statement as S

A, B = se("a", "a.example"), se("b", "b.example")
SAYS_1 = vs("v", "a.example", "=201")
TLS_ONLY = "tls: [" + to("a.example", "{sniHosts: [b.example]}") + "]"


def _only(match: str) -> str:
    return A + vs("v", "a.example", f"http: [{answer('201', match)}]")


def _else(match: str) -> str:
    return A + vs("v", "a.example", f"http: [{answer('201', match)}, {answer('202')}]")


IMPLICIT = "outbound|80||a.example /"

STATEMENTS: list[S] = [
    # -- the implicit route
    S("a ServiceEntry is reached by its host", A, "GET a.example", IMPLICIT),
    S("a name that nothing has is refused under REGISTRY_ONLY", A, "GET x.example", "502"),
    S("a name that nothing has is passed under ALLOW_ANY", A, "any GET x.example", "passed"),
    S("a VirtualService replaces the implicit route", A + SAYS_1, "GET a.example", "=201"),
    S("a VirtualService without a route that matches the request is 404", _only("{uri: {prefix: /x}}"), "GET a.example/y", "404"),
    S("a header that fails is 404", _only("{headers: {x-a: {exact: b}}}"), "GET a.example", "404"),
    S("a method that fails is 404", _only("{method: {exact: PUT}}"), "GET a.example", "404"),
    S("a query parameter that fails is 404", _only("{queryParams: {a: {exact: b}}}"), "GET a.example/?a=c", "404"),
    S("an authority that fails is 404", _only("{authority: {exact: other.example}}"), "GET a.example", "404"),
    S("a scheme that fails is 404", _only("{scheme: {exact: https}}"), "GET a.example", "404"),
    S("withoutHeaders that fails is 404", _only("{withoutHeaders: {x-a: {}}}"), "GET a.example x-a: 1", "404"),
    # -- nothing of it is left for this client
    S("only tls routes: the service serves HTTP", B + A + vs("v", "b.example", TLS_ONLY), "GET b.example", "outbound|80||b.example /"),
    S("only tcp routes: the service serves HTTP", A + vs("v", "a.example", "tcp: [" + to("b.example") + "]"), "GET a.example", IMPLICIT),
    S("another port: the service serves", _only("{port: 8080}"), "GET a.example", IMPLICIT),
    S("this port: the route serves", _only("{port: 80}"), "GET a.example", "=201"),
    S("other source labels: the service serves", _only("{sourceLabels: {app: x}}"), "app=y GET a.example", IMPLICIT),
    S("these source labels: the route serves", _only("{sourceLabels: {app: x}}"), "app=x tier=z GET a.example", "=201"),
    S("one of two source labels: the service serves", _only("{sourceLabels: {app: x, tier: z}}"), "app=x GET a.example", IMPLICIT),
    S("another source namespace: the service serves", _only("{sourceNamespace: prod}"), "GET a.example", IMPLICIT),
    S("this source namespace: the route serves", _only("{sourceNamespace: prod}"), "ns=prod GET a.example", "=201"),
    S("a gateway of the match: the service serves the mesh", _only("{gateways: [edge]}"), "GET a.example", IMPLICIT),
    S("mesh among the gateways of the match", _only("{gateways: [edge, mesh]}"), "GET a.example", "=201"),
    S("gateways of a match replace its source labels", _only("{gateways: [mesh], sourceLabels: {app: x}}"), "GET a.example", "=201"),
    S("gateways of a match replace its source namespace", _only("{gateways: [mesh], sourceNamespace: prod}"), "GET a.example", "=201"),
    S("a VirtualService of another gateway leaves the mesh alone", A + vs("v", "a.example", "=201", more="gateways: [edge]"), "GET a.example", IMPLICIT),
    S("a VirtualService of mesh and a gateway serves the mesh", A + vs("v", "a.example", "=201", more="gateways: [edge, mesh]"), "GET a.example", "=201"),
    S("a route that is out leaves the next one", _else("{sourceLabels: {app: x}}"), "GET a.example", "=202"),
    S("a block that is out leaves the other blocks", _only("{sourceLabels: {app: x}}, {uri: {prefix: /y}}"), "GET a.example/y", "=201"),
    S("a block that is out does not make the route catch all", _only("{sourceLabels: {app: x}}, {uri: {prefix: /y}}"), "GET a.example/z", "404"),
    S("a port and a path: the path decides on this port", _only("{port: 80, uri: {prefix: /x}}"), "GET a.example/y", "404"),
    S("a port and a path: on another port the service serves", se("a", "a.example", "80 8080") + vs("v", "a.example", f"http: [{answer('201', '{port: 80, uri: {prefix: /x}}')}]"), "GET a.example:8080/x", "outbound|8080||a.example /x"),
    S("nothing left and a wildcard VirtualService: the service serves, not the wildcard", _only("{port: 9}") + vs("w", "*.example", "=203"), "GET a.example", IMPLICIT),
    S("nothing left of a wildcard VirtualService: the service serves", A + vs("w", "*.example", f"http: [{answer('201', '{sourceLabels: {app: x}}')}]"), "GET a.example", IMPLICIT),
    S("nothing left outside the registry: the wildcard VirtualService has the name", vs("v", "a.example", f"http: [{answer('201', '{sourceLabels: {app: x}}')}]") + vs("w", "*.example", "=203"), "GET a.example", "=203"),
    S("nothing left outside the registry: an unknown name", vs("v", "a.example", f"http: [{answer('201', '{sourceLabels: {app: x}}')}]"), "GET a.example", "502"),
    S("nothing left and a wildcard ServiceEntry: it serves", se("w", "*.example") + vs("v", "a.example", TLS_ONLY.replace("b.example", "a.example")), "GET a.example", "outbound|80||*.example /"),
    # -- hosts
    S("exact before wildcard", A + SAYS_1 + vs("w", "*.example", "=203"), "GET a.example", "=201"),
    S("the longest wildcard", vs("w", "*.example", "=203") + vs("x", "*.foo.example", "=204"), "GET a.foo.example", "=204"),
    S("a wildcard has no place for its own suffix", vs("w", "*.example", "=203"), "GET example", "502"),
    S("a wildcard takes several labels", vs("w", "*.example", "=203"), "GET a.b.example", "=203"),
    S("the most specific host wins as a whole", _only("{uri: {prefix: /x}}") + vs("w", "*.example", "=203"), "GET a.example/y", "404"),
    S("hosts compare without case", A + vs("v", "A.Example", "=201"), "GET a.EXAMPLE", "=201"),
    S("a trailing dot does not count", A + SAYS_1, "GET a.example.", "=201"),
    S("several hosts of one VirtualService", A + B + vs("v", "a.example b.example", "=201"), "GET b.example", "=201"),
    S("an exact ServiceEntry under a wildcard VirtualService", A + vs("w", "*.example", "=203"), "GET a.example", "=203"),
    S("an exact VirtualService under a wildcard ServiceEntry", se("w", "*.example") + SAYS_1, "GET a.example", "=201"),
    S("exact ServiceEntry before a wildcard one", A + se("w", "*.example"), "GET a.example", IMPLICIT),
    S("the wildcard ServiceEntry for other names", A + se("w", "*.example"), "GET b.example", "outbound|80||*.example /"),
    S("the longest wildcard ServiceEntry", se("w", "*.example") + se("x", "*.foo.example"), "GET b.foo.example", "outbound|80||*.foo.example /"),
    S("a VirtualService alone makes a name on port 80", vs("v", "new.example", "a.example") + A, "GET new.example", IMPLICIT),
    S("a VirtualService alone serves port 80 when it is named", vs("v", "new.example", "a.example") + A, "GET new.example:80", IMPLICIT),
    S("a host outside the registry is on every port (docs/differences.md)", vs("v", "new.example", "a.example") + A, "GET new.example:8080", IMPLICIT),
    # -- several VirtualServices of a host in the mesh
    S("one host twice: the older keeps it", A + vs("v", "a.example", "=201", at="2025") + vs("u", "a.example", "=202", at="2026"), "GET a.example", "=201"),
    S("one host twice: without a timestamp last", A + vs("a", "a.example", "=201") + vs("u", "a.example", "=202", at="2026"), "GET a.example", "=202"),
    S("one host twice: routes are not merged in the mesh", A + vs("v", "a.example", f"http: [{answer('201', '{uri: {prefix: /x}}')}]", at="2025") + vs("u", "a.example", "=202", at="2026"), "GET a.example/y", "404"),
    S("one host twice, each for other clients: the younger serves whom the older leaves", A + vs("v", "a.example", f"http: [{answer('201', '{sourceLabels: {app: x}}')}]", at="2025") + vs("u", "a.example", f"http: [{answer('202', '{sourceLabels: {app: z}}')}]", at="2026"), "app=z GET a.example", "=202"),
    S("one host twice, each for other clients: the older serves its own", A + vs("v", "a.example", f"http: [{answer('201', '{sourceLabels: {app: x}}')}]", at="2025") + vs("u", "a.example", "=202", at="2026"), "app=x GET a.example", "=201"),
    S("one of several hosts is taken: the others stay", A + B + SAYS_1 + vs("w", "a.example b.example", "=202"), "GET b.example", "=202"),
    S("a host taken in the mesh by a VirtualService that is for a gateway, too", A + SAYS_1 + vs("w", "a.example", "=202", more="gateways: [g, mesh]"), "GET a.example", "=201"),
    S("a private VirtualService comes before a public older one", A + vs("v", "a.example", "=201", at="2020") + vs("w", "a.example", "=202", at="2025", more="exportTo: ['.']"), "GET a.example", "=202"),
    S("a private VirtualService elsewhere does not count", A + vs("v", "a.example", "=201") + vs("far/w", "a.example", "=202", more="exportTo: ['.']"), "GET a.example", "=201"),
    S("one exported by name comes before a public one", A + vs("v", "a.example", "=201", at="2020") + vs("far/w", "a.example", "=202", at="2025", more="exportTo: [default]"), "GET a.example", "=202"),
    S("a private one comes before one exported by name", A + vs("v", "a.example", "=201", more="exportTo: ['.']") + vs("far/w", "a.example", "=202", at="2020", more="exportTo: [default]"), "GET a.example", "=201"),
    S("a private one with nothing left: the public one serves", A + vs("v", "a.example", "=201") + vs("w", "a.example", f"http: [{answer('202', '{port: 9}')}]", more="exportTo: ['.']"), "GET a.example", "=201"),
    S("exportTo of a VirtualService hides it from others", A + vs("far/v", "a.example", "=201", more="exportTo: ['.']"), "GET a.example", IMPLICIT),
    S("exportTo a namespace without its own", A + vs("v", "a.example", "=201", more="exportTo: [far]"), "GET a.example", IMPLICIT),
    # -- ports and destinations
    S("the port that is addressed", se("a", "a.example", "80 8080"), "GET a.example:8080", "outbound|8080||a.example /"),
    S("a destination without port: the one addressed", se("a", "a.example", "80 8080") + se("b", "b.example", "80 8080") + vs("v", "a.example", "b.example"), "GET a.example:8080", "outbound|8080||b.example /"),
    S("a destination without port: the only one of its service", A + se("b", "b.example", "9000") + vs("v", "a.example", "b.example"), "GET a.example", "outbound|9000||b.example /"),
    S("a destination without port of several, none addressed: no such cluster", A + se("b", "b.example", "8080 9090"), "cluster outbound|80||b.example endpoints", "NC"),
    S("a destination without port of several keeps the port addressed", A + se("b", "b.example", "8080 9090") + vs("v", "a.example", "b.example"), "GET a.example", "outbound|80||b.example /"),
    S("a destination with a port", A + se("b", "b.example", "8080 9090") + vs("v", "a.example", "http: [" + to("b.example:9090") + "]"), "GET a.example", "outbound|9090||b.example /"),
    S("a destination without a service", A + vs("v", "a.example", "ghost.example"), "GET a.example", "outbound|80||ghost.example /"),
    S("a short destination is of the namespace of its VirtualService", se("far/w", "web.far.svc.cluster.local") + vs("far/v", "a.example", "web"), "GET a.example", "outbound|80||web.far.svc.cluster.local /"),
    S("one destination of weight 0 takes everything", A + vs("v", "b.example", "http: [{route: [{destination: {host: a.example}, weight: 0}]}]") + B, "GET b.example", IMPLICIT),
    S("of several destinations weight 0 gets nothing", A + B + vs("v", "b.example", "http: [{route: [{destination: {host: a.example}, weight: 5}, {destination: {host: b.example}, weight: 0}]}]"), "GET b.example", IMPLICIT),
    # -- order and conditions
    S("the first route that matches wins", A + vs("v", "a.example", f"http: [{answer('201', '{uri: {prefix: /a}}')}, {answer('202', '{uri: {exact: /a/b}}')}]"), "GET a.example/a/b", "=201"),
    S("blocks of a route are ORed", _only("{uri: {exact: /x}}, {headers: {x-a: {exact: z}}}"), "GET a.example/z x-a: z", "=201"),
    S("conditions of a block are ANDed", _only("{uri: {exact: /x}, headers: {x-a: {exact: z}}}"), "GET a.example/x", "404"),
    S("a prefix is of characters", _only("{uri: {prefix: /ab}}"), "GET a.example/abc", "=201"),
    S("exact leaves the query out", _only("{uri: {exact: /ab}}"), "GET a.example/ab?x=1", "=201"),
    S("a regex is anchored", _only('{uri: {regex: "/a.c"}}'), "GET a.example/abcd", "404"),
    S("ignoreUriCase of a prefix", _only("{uri: {prefix: /Ab}, ignoreUriCase: true}"), "GET a.example/aB", "=201"),
    S("a header prefix", _only("{headers: {x-a: {prefix: ab}}}"), "GET a.example x-a: abc", "=201"),
    S("presence of a header", _only("{headers: {x-a: {}}}"), "GET a.example x-a: abc", "=201"),
    S("a query parameter by regex", _only('{queryParams: {a: {regex: "[0-9]+"}}}'), "GET a.example/?a=12", "=201"),
    S("the authority has its port", _only("{authority: {exact: 'a.example:80'}}"), "GET a.example:80", "=201"),
    S("a prefix rewrite replaces the prefix", A + vs("v", "a.example", "http: [" + to("a.example", "{uri: {prefix: /x/}}", "rewrite: {uri: /y/}") + "]"), "GET a.example/x/z", "outbound|80||a.example /y/z"),
    S("a rewrite of an exact match replaces the path", A + vs("v", "a.example", "http: [" + to("a.example", "{uri: {exact: /x}}", "rewrite: {uri: /y}") + "]"), "GET a.example/x", "outbound|80||a.example /y"),
    S("a redirect keeps what it does not name", A + vs("v", "a.example", "http: [{redirect: {authority: b.example}}]"), "GET a.example/x", "301 http://b.example/x"),
    S("a redirect to the port of the request", se("a", "a.example", "8080") + vs("v", "a.example", "http: [{redirect: {derivePort: FROM_REQUEST_PORT, authority: b.example}}]"), "GET a.example:8080/x", "301 http://b.example:8080/x"),
    # -- delegates
    S("a delegate gives its routes", A + vs("v", "a.example", "http: [{delegate: {name: d}}]") + "vs d: http: [" + answer("205") + "]\n", "GET a.example", "=205"),
    S("a delegate that is not there gives none; others stay", A + vs("v", "a.example", f"http: [{{delegate: {{name: d}}}}, {answer('206')}]"), "GET a.example", "=206"),
    S("a delegate that is not there, alone: the service serves", A + vs("v", "a.example", "http: [{delegate: {name: d}}]"), "GET a.example", IMPLICIT),
    S("a delegate without hosts is no VirtualService by itself", A + "vs d: http: [" + answer("205") + "]\n", "GET a.example", IMPLICIT),
    S("a delegate of another namespace", A + vs("v", "a.example", "http: [{delegate: {name: d, namespace: far}}]") + "vs far/d: http: [" + answer("205") + "]\n", "GET a.example", "=205"),
    S("conditions of root and delegate are both asked", A + vs("v", "a.example", "http: [{match: [{uri: {prefix: /x}}], delegate: {name: d}}]") + "vs d: http: [" + answer("205", "{headers: {x-a: {exact: z}}}") + "]\n", "GET a.example/x", "404"),
    S("a delegate's routes for other clients are out", A + vs("v", "a.example", "http: [{delegate: {name: d}}]") + "vs d: http: [" + answer("205", "{port: 9}") + "]\n", "GET a.example", IMPLICIT),
    # -- addresses
    S("a service by its address", se("a", "a.example", more="addresses: [10.5.0.1]"), "GET 10.5.0.1", IMPLICIT),
    S("a VirtualService of the host serves its address", se("a", "a.example", more="addresses: [10.5.0.1]") + SAYS_1, "GET 10.5.0.1", "=201"),
    S("an address of nobody", se("a", "a.example", more="addresses: [10.5.0.1]"), "GET 10.5.0.2", "502"),
    S("an address of the own namespace before a foreign one", se("far/b", "b.example", at="2020", more="addresses: [10.5.0.1]") + se("a", "a.example", at="2021", more="addresses: [10.5.0.1]"), "GET 10.5.0.1", IMPLICIT),
    S("an address that is not exported", se("far/a", "a.example", more="addresses: [10.5.0.1], exportTo: ['.']"), "GET 10.5.0.1", "502"),
    # -- mirrors and headers leave the destination alone
    S("a mirror is no destination", A + vs("v", "a.example", "http: [" + to("a.example", more="mirror: {host: b.example}") + "]"), "GET a.example", IMPLICIT),
    S("a route with a fault has its destination", A + vs("v", "a.example", "http: [" + to("a.example", more="fault: {abort: {httpStatus: 500, percentage: {value: 1}}}") + "]"), "GET a.example", IMPLICIT),
    # -- short names
    S("a short name is of the client's namespace", se("w", "web.default.svc.cluster.local"), "GET web", "outbound|80||web.default.svc.cluster.local /"),
    S("name.namespace", se("far/w", "web.far.svc.cluster.local"), "GET web.far", "outbound|80||web.far.svc.cluster.local /"),
    S("a short VirtualService host is of its namespace", se("far/w", "web.far.svc.cluster.local") + vs("far/v", "web", "=201"), "GET web.far", "=201"),
    S("a short VirtualService host is not of the client's namespace", se("w", "web.default.svc.cluster.local") + vs("far/v", "web", "=201"), "GET web", "outbound|80||web.default.svc.cluster.local /"),
    # -- DestinationRules of one name below a wildcard (better than Istio)
    S("a rule for one name below a wildcard gets a cluster of its own", se("w", "*.example") + "dr r: host: api.example, trafficPolicy: {tls: {mode: SIMPLE}}\n", "GET api.example", "outbound|80||api.example /"),
    S("and is applied", se("w", "*.example") + "dr r: host: api.example, trafficPolicy: {tls: {mode: SIMPLE}}\n", "cluster outbound|80||api.example tls", "SIMPLE api.example"),
    S("other names below it stay", se("w", "*.example") + "dr r: host: api.example, trafficPolicy: {tls: {mode: SIMPLE}}\n", "GET b.example", "outbound|80||*.example /"),
    S("a rule for a narrower wildcard", se("w", "*.example") + "dr r: host: '*.api.example', trafficPolicy: {tls: {mode: SIMPLE}}\n", "GET x.api.example", "outbound|80||*.api.example /"),
    S("a rule for a wider wildcard is the wildcard's", se("w", "*.foo.example") + "dr r: host: '*.example', trafficPolicy: {tls: {mode: SIMPLE}}\n", "GET x.foo.example", "outbound|80||*.foo.example /"),
    S("the client's wildcard rule comes before the service's narrower one (Istio)", se("far/w", "*.example") + "dr r: host: '*.example', trafficPolicy: {tls: {mode: SIMPLE}}\ndr far/q: host: api.example, trafficPolicy: {tls: {mode: DISABLE}}\n", "GET api.example", "outbound|80||*.example /"),
]  # fmt: skip
