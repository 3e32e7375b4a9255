"""Statements on Gateways. Source: Istio Gateway, pilot `gateway.go` (core and model)."""

# ruff: noqa: E501 - a statement reads best on one line

from __future__ import annotations

from tests.semantics.lines import REDIRECT, answer, gw, http, tcp, tls, to, vs
from tests.semantics.world import Statement as S

G = gw("g", http("*"))
ON_G = "gateways: [g]"


def on(name: str, host: str, body: str, at: str = "", more: str = "") -> str:
    return vs(name, host, body, at=at, more=f"{ON_G}{more and f', {more}'}")


def routes(*listed: str) -> str:
    return f"http: [{', '.join(listed)}]"


X, Y = answer("201", "{uri: {prefix: /x}}"), answer("202", "{uri: {prefix: /y}}")
ALL_3, ALL_4 = answer("203"), answer("204")

STATEMENTS: list[S] = [
    # -- binding
    S("a VirtualService that lists the Gateway", G + on("v", "a.example", "=201"), "gw 80 GET a.example", "=201"),
    S("one that lists the mesh alone", G + vs("v", "a.example", "=201"), "gw 80 GET a.example", "404"),
    S("one that lists both", G + vs("v", "a.example", "=201", more="gateways: [mesh, g]"), "gw 80 GET a.example", "=201"),
    S("a Gateway is named relative to the VirtualService's namespace", G + vs("far/v", "a.example", "=201", more=ON_G), "gw 80 GET a.example", "404"),
    S("a Gateway of another namespace by namespace/name", G + vs("far/v", "a.example", "=201", more="gateways: [default/g]"), "gw 80 GET a.example", "=201"),
    S("name.namespace is the old form of a Gateway's name", G + vs("far/v", "a.example", "=201", more="gateways: [g.default]"), "gw 80 GET a.example", "=201"),
    S("a host that the server does not export", gw("g", http("b.example")) + on("v", "a.example", "=201"), "gw 80 GET a.example", "404"),
    S("a wildcard VirtualService on an exact server", gw("g", http("a.example")) + on("v", "*", "=201"), "gw 80 GET a.example", "=201"),
    S("a wildcard VirtualService serves no more than the server exports", gw("g", http("a.example")) + on("v", "*", "=201"), "gw 80 GET b.example", "404"),
    S("an exact VirtualService on a wildcard server", gw("g", http("*.example")) + on("v", "a.example", "=201"), "gw 80 GET a.example", "=201"),
    S("server hosts of a namespace", gw("g", http("far/*")) + on("v", "a.example", "=201"), "gw 80 GET a.example", "404"),
    S("server hosts of the VirtualService's namespace", gw("g", http("far/*")) + vs("far/v", "a.example", "=201", more="gateways: [default/g]"), "gw 80 GET a.example", "=201"),
    S("server hosts of the Gateway's own namespace", gw("g", http("./*")) + on("v", "a.example", "=201"), "gw 80 GET a.example", "=201"),
    S("server hosts of any namespace", gw("g", http("*/a.example")) + vs("far/v", "a.example", "=201", more="gateways: [default/g]"), "gw 80 GET a.example", "=201"),
    S("a service without a VirtualService is not on a Gateway", G + "se s: hosts: [a.example], ports: [{number: 80, name: http, protocol: HTTP}]\n", "gw 80 GET a.example", "404"),
    S("exportTo counts on Gateways", G + vs("far/v", "a.example", "=201", more="gateways: [default/g], exportTo: ['.']"), "gw 80 GET a.example", "404"),
    S("hosts of a Gateway compare without case", gw("g", http("A.Example")) + on("v", "a.EXAMPLE", "=201"), "gw 80 GET a.example", "=201"),
    S("the narrowest claim of a name wins", G + on("v", "a.example", "=201") + on("w", "*.example", "=202"), "gw 80 GET a.example", "=201"),
    S("the claim is the narrower of the two hosts", gw("g", http("a.example *.example")) + on("v", "*", "=201") + on("w", "*.example", "=202", at="2020"), "gw 80 GET b.example", "=202"),
    # -- conditions on the client
    S("match.gateways of this Gateway", G + on("v", "a.example", routes(answer("201", "{gateways: [g]}"))), "gw 80 GET a.example", "=201"),
    S("match.gateways of another Gateway", G + on("v", "a.example", routes(answer("201", "{gateways: [h]}"), ALL_3)), "gw 80 GET a.example", "=203"),
    S("match.gateways of the mesh", G + vs("v", "a.example", routes(answer("201", "{gateways: [mesh]}"), ALL_3), more="gateways: [g, mesh]"), "gw 80 GET a.example", "=203"),
    S("match.gateways is relative to the VirtualService's namespace", G + vs("far/v", "a.example", routes(answer("201", "{gateways: [g]}"), ALL_3), more="gateways: [default/g]"), "gw 80 GET a.example", "=203"),
    S("match.port is the server's", G + on("v", "a.example", routes(answer("201", "{port: 80}"))), "gw 80 GET a.example:8080", "=201"),
    S("match.port of another server", gw("g", http("*"), http("*", 8080)) + on("v", "a.example", routes(answer("201", "{port: 80}"), ALL_3)), "gw 8080 GET a.example", "=203"),
    S("nothing left on a Gateway: no such host", G + on("v", "a.example", routes(answer("201", "{port: 81}"))), "gw 80 GET a.example", "404"),
    S("nothing left on a Gateway: the next wider claim", G + on("v", "a.example", routes(answer("201", "{port: 81}"))) + on("w", "*.example", "=202"), "gw 80 GET a.example", "=202"),
    S("sourceLabels on a Gateway are the node's (pilot)", G + on("v", "a.example", routes(answer("201", "{sourceLabels: {app: x}}"), ALL_3)), "app=x gw 80 GET a.example", "=201"),
    # -- several VirtualServices of one host
    S("routes of two are merged", G + on("v", "a.example", routes(X), at="2020") + on("w", "a.example", routes(Y), at="2021"), "gw 80 GET a.example/y", "=202"),
    S("the first one's routes stay", G + on("v", "a.example", routes(X), at="2020") + on("w", "a.example", routes(Y), at="2021"), "gw 80 GET a.example/x", "=201"),
    S("no route of both matches", G + on("v", "a.example", routes(X)) + on("w", "a.example", routes(Y)), "gw 80 GET a.example/z", "404"),
    S("the older one's route comes first", G + on("v", "a.example", routes(answer("205", "{uri: {prefix: /x}}")), at="2021") + on("w", "a.example", routes(X), at="2020"), "gw 80 GET a.example/x", "=201"),
    S("of one age the order is by name", G + on("w", "a.example", routes(answer("205", "{uri: {prefix: /x}}"))) + on("v", "a.example", routes(X)), "gw 80 GET a.example/x", "=201"),
    S("of one age by name before namespace", G + vs("a/z", "a.example", routes(answer("205", "{uri: {prefix: /x}}")), more="gateways: [default/g]") + on("v", "a.example", routes(X)), "gw 80 GET a.example/x", "=201"),
    S("a catch-all of the older goes behind the younger's routes", G + on("v", "a.example", routes(ALL_3), at="2020") + on("w", "a.example", routes(Y), at="2021"), "gw 80 GET a.example/y", "=202"),
    S("of two catch-alls the older wins", G + on("v", "a.example", routes(ALL_3), at="2020") + on("w", "a.example", routes(ALL_4), at="2019"), "gw 80 GET a.example/z", "=204"),
    S("prefix / is a catch-all", G + on("v", "a.example", routes(answer("203", "{uri: {prefix: /}}")), at="2020") + on("w", "a.example", routes(Y), at="2021"), "gw 80 GET a.example/y", "=202"),
    S("regex .* is a catch-all", G + on("v", "a.example", routes(answer("203", '{uri: {regex: ".*"}}')), at="2020") + on("w", "a.example", routes(Y), at="2021"), "gw 80 GET a.example/y", "=202"),
    S("prefix / with a header is none", G + on("v", "a.example", routes(answer("203", "{uri: {prefix: /}, headers: {x-a: {}}}")), at="2020") + on("w", "a.example", routes(Y), at="2021"), "gw 80 GET a.example/y x-a: 1", "=203"),
    S("a method is a condition, too", G + on("v", "a.example", routes(answer("203", "{method: {exact: GET}}")), at="2020") + on("w", "a.example", routes(Y), at="2021"), "gw 80 GET a.example/y", "=203"),
    S("what stands behind a catch-all of its own stays unreachable", G + on("v", "a.example", routes(ALL_3, X), at="2020") + on("w", "a.example", routes(Y), at="2021"), "gw 80 GET a.example/x", "=203"),
    S("also behind a catch-all that has a match", G + on("v", "a.example", routes(answer("203", "{uri: {prefix: /}}"), X), at="2020") + on("w", "a.example", routes(Y), at="2021"), "gw 80 GET a.example/x", "=203"),
    S("the blocks of a route are sorted one by one", G + on("v", "a.example", routes(answer("203", "{uri: {prefix: /x}}, {uri: {prefix: /}}")), at="2020") + on("w", "a.example", routes(X, Y), at="2021"), "gw 80 GET a.example/x", "=203"),
    S("the catch-all block of a route goes behind", G + on("v", "a.example", routes(answer("203", "{uri: {prefix: /x}}, {uri: {prefix: /}}")), at="2020") + on("w", "a.example", routes(X, Y), at="2021"), "gw 80 GET a.example/y", "=202"),
    S("a private VirtualService's routes come first", G + on("v", "a.example", routes(X), at="2020") + on("w", "a.example", routes(answer("205", "{uri: {prefix: /x}}")), at="2021", more="exportTo: ['.']"), "gw 80 GET a.example/x", "=205"),
    S("one that has nothing left adds nothing", G + on("v", "a.example", routes(answer("201", "{port: 81}")), at="2020") + on("w", "a.example", routes(Y), at="2021"), "gw 80 GET a.example/y", "=202"),
    S("merged in spite of a conflict in the mesh", G + vs("v", "a.example", routes(X), at="2020", more="gateways: [g, mesh]") + vs("w", "a.example", routes(Y), at="2021", more="gateways: [g, mesh]"), "gw 80 GET a.example/y", "=202"),
    S("the mesh stays with one of them", G + vs("v", "a.example", routes(X), at="2020", more="gateways: [g, mesh]") + vs("w", "a.example", routes(Y), at="2021", more="gateways: [g, mesh]"), "GET a.example/y", "404"),
    S("an exact claim is not merged with a wildcard's", G + on("v", "a.example", routes(X)) + on("w", "*.example", routes(Y)), "gw 80 GET a.example/y", "404"),
    S("a wildcard VirtualService is merged where the server has the exact host", gw("g", http("a.example")) + on("v", "a.example", routes(X)) + on("w", "*.example", routes(Y)), "gw 80 GET a.example/y", "=202"),
    S("VirtualServices of two Gateways on one port are merged", gw("g", http("*"), at="2020") + gw("h", http("*"), at="2021") + on("v", "a.example", routes(X)) + vs("w", "a.example", routes(Y), more="gateways: [h]"), "gw 80 GET a.example/y", "=202"),
    S("the routes of the older Gateway come first", gw("g", http("*"), at="2021") + gw("h", http("*"), at="2020") + on("v", "a.example", routes(answer("205", "{uri: {prefix: /y}}")), at="2019") + vs("w", "a.example", routes(Y), at="2022", more="gateways: [h]"), "gw 80 GET a.example/y", "=202"),
    S("match.gateways is asked of the Gateway that each came by", gw("g", http("*")) + gw("h", http("*")) + on("v", "a.example", routes(answer("201", "{gateways: [h]}"))) + vs("w", "a.example", routes(answer("202", "{gateways: [h]}")), more="gateways: [h]"), "gw 80 GET a.example", "=202"),
    S("hosts of two servers of one port", gw("g", http("a.example"), http("b.example").replace("http80", "second")) + on("v", "b.example", "=201"), "gw 80 GET b.example", "=201"),
    # -- httpsRedirect
    S("httpsRedirect answers 301", gw("g", http("*", more=REDIRECT)) + on("v", "a.example", "=201"), "gw 80 GET a.example/x", "301 https://a.example/x"),
    S("httpsRedirect needs no VirtualService", gw("g", http("a.example", more=REDIRECT)), "gw 80 GET a.example", "301 https://a.example/"),
    S("httpsRedirect needs none for hosts of a namespace, either", gw("g", http("far/a.example", more=REDIRECT)), "gw 80 GET a.example", "301 https://a.example/"),
    S("httpsRedirect is for the server's hosts", gw("g", http("b.example", more=REDIRECT)) + on("v", "a.example", "=201"), "gw 80 GET a.example", "404"),
    S("a host of another server without httpsRedirect", gw("g", http("b.example", more=REDIRECT), http("a.example").replace("http80", "second")) + on("v", "a.example", "=201"), "gw 80 GET a.example", "=201"),
    S("httpsRedirect of a wildcard server holds for a VirtualService that it exports", gw("g", http("*.example", more=REDIRECT), http("a.example").replace("http80", "second")) + on("v", "a.example", "=201"), "gw 80 GET a.example", "301 https://a.example/"),
    S("httpsRedirect of one Gateway, the VirtualService of another", gw("g", http("*.example", more=REDIRECT)) + gw("h", http("a.example")) + vs("v", "a.example", "=201", more="gateways: [h]"), "gw 80 GET a.example", "=201"),
    S("the path and query stay", gw("g", http("*", more=REDIRECT)), "gw 80 GET a.example/x?y=1", "301 https://a.example/x?y=1"),
    # -- HTTPS
    S("HTTPS: http routes behind the terminated TLS", gw("g", tls("*", "SIMPLE")) + on("v", "a.example", "=201"), "gws 443 GET a.example", "=201"),
    S("HTTPS: match.port is 443", gw("g", tls("*", "SIMPLE")) + on("v", "a.example", routes(answer("201", "{port: 80}"), answer("202", "{port: 443}"))), "gws 443 GET a.example", "=202"),
    S("HTTPS: a name of no server is closed", gw("g", tls("b.example", "SIMPLE")) + on("v", "a.example", "=201"), "gws 443 GET a.example", "closed"),
    S("HTTPS: the server with the exact host", gw("g", tls("*.example", "SIMPLE", "one"), tls("a.example", "SIMPLE", "two")) + on("v", "*.example", "=201") + on("w", "a.example", "=202", at="2020"), "gws 443 GET a.example", "=202"),
    S("HTTPS: a VirtualService serves what its server exports", gw("g", tls("a.example", "SIMPLE")) + on("v", "*.example", "=201"), "gws 443 GET a.example", "=201"),
    S("HTTPS: merged as HTTP is", gw("g", tls("*", "SIMPLE")) + on("v", "a.example", routes(ALL_3), at="2020") + on("w", "a.example", routes(Y), at="2021"), "gws 443 GET a.example/y", "=202"),
    S("one VirtualService on the port of HTTP and that of HTTPS", gw("g", http("*"), tls("*", "SIMPLE")) + on("v", "a.example", "=201"), "gw 80 GET a.example", "=201"),
    S("HTTP redirects, HTTPS serves", gw("g", http("*", more=REDIRECT), tls("*", "SIMPLE")) + on("v", "a.example", "=201"), "gws 443 GET a.example", "=201"),
    S("tls routes are not for HTTPS servers", gw("g", tls("*", "SIMPLE")) + on("v", "a.example", f"tls: [{to('up.example:443', '{sniHosts: [a.example]}')}]"), "gws 443 GET a.example", "404"),
    S("an older Gateway keeps a port of another protocol", gw("g", tcp("*", 80), at="2021") + gw("h", http("*"), at="2020") + vs("v", "a.example", "=201", more="gateways: [h]"), "gw 80 GET a.example", "=201"),
    S("a Gateway that selects other labels is not this node's", "gw g: selector: {app: edge}, servers: [" + http("*") + "]\n" + gw("h", http("*")) + on("v", "a.example", "=201"), "gw 80 GET a.example", "404"),
    S("a Gateway whose selector is part of the labels", "gw g: selector: {app: edge}, servers: [" + http("*") + "]\n" + on("v", "a.example", "=201"), "app=edge zone=1 gw 80 GET a.example", "=201"),
    # -- destinations
    S("a destination without port: the server's port", G + "se s: hosts: [s.example], ports: [{number: 80, name: h, protocol: HTTP}, {number: 81, name: i, protocol: HTTP}]\n" + on("v", "a.example", "s.example"), "gw 80 GET a.example", "outbound|80||s.example /"),
    S("a destination without port: the only one of its service, whatever the server's", gw("g", http("*", 8080)) + "se s: hosts: [s.example], ports: [{number: 80, name: h, protocol: HTTP}]\n" + on("v", "a.example", "s.example"), "gw 8080 GET a.example", "outbound|80||s.example /"),
    S("a destination without port of several, none the server's", gw("g", http("*", 8080)) + "se s: hosts: [s.example], ports: [{number: 80, name: h, protocol: HTTP}, {number: 81, name: i, protocol: HTTP}]\n" + on("v", "a.example", "s.example"), "gw 8080 GET a.example", "outbound|8080||s.example /"),
    # -- TLS and TCP
    S("PASSTHROUGH goes by SNI", gw("g", tls("*")) + on("v", "a.example", f"tls: [{to('up.example:443', '{sniHosts: [a.example]}')}]"), "gwtls 443 a.example", "outbound|443||up.example"),
    S("PASSTHROUGH of a name without route is closed", gw("g", tls("*")) + on("v", "a.example", f"tls: [{to('up.example:443', '{sniHosts: [a.example]}')}]"), "gwtls 443 b.example", "closed"),
    S("PASSTHROUGH: match.port is the server's", gw("g", tls("*")) + on("v", "a.example", f"tls: [{to('up.example:443', '{sniHosts: [a.example], port: 444}')}]"), "gwtls 443 a.example", "closed"),
    S("PASSTHROUGH: source labels do not count on a Gateway (pilot)", gw("g", tls("*")) + on("v", "a.example", f"tls: [{to('up.example:443', '{sniHosts: [a.example], sourceLabels: {app: x}}')}]"), "gwtls 443 a.example", "outbound|443||up.example"),
    S("PASSTHROUGH: gateways of the match", gw("g", tls("*")) + on("v", "a.example", f"tls: [{to('up.example:443', '{sniHosts: [a.example], gateways: [h]}')}]"), "gwtls 443 a.example", "closed"),
    S("PASSTHROUGH: several VirtualServices of one host are merged", gw("g", tls("*")) + on("v", "*.example", f"tls: [{to('up.example:443', '{sniHosts: [a.example]}')}]") + on("w", "*.example", f"tls: [{to('down.example:443', '{sniHosts: [b.example]}')}]"), "gwtls 443 b.example", "outbound|443||down.example"),
    S("PASSTHROUGH: the older one's route for a name wins", gw("g", tls("*")) + on("v", "a.example", f"tls: [{to('up.example:443', '{sniHosts: [a.example]}')}]", at="2022") + on("w", "a.example", f"tls: [{to('down.example:443', '{sniHosts: [a.example]}')}]", at="2021"), "gwtls 443 a.example", "outbound|443||down.example"),
    S("an exact SNI before a wildcard", gw("g", tls("*.example", name="one"), tls("a.example", name="two")) + on("v", "*.example", "tls: [" + to("up.example:443", "{sniHosts: ['*.example']}") + "]"), "gwtls 443 a.example", "outbound|443||up.example"),
    S("an SNI that no server has is closed", gw("g", tls("a.example")), "gwtls 443 b.example", "closed"),
    S("TCP: the route of the bound VirtualService", gw("g", tcp("*", 5432)) + on("v", "db.example", f"tcp: [{to('db.example:5432')}]"), "gwtcp 5432", "outbound|5432||db.example"),
    S("TCP: match.port is the server's port", gw("g", tcp("*", 5432)) + on("v", "db.example", f"tcp: [{to('db.example:5432', '{port: 1}')}, {to('db.example:5433', '{port: 5432}')}]"), "gwtcp 5432", "outbound|5433||db.example"),
    S("TCP: without a bound VirtualService closed", gw("g", tcp("*", 5432)), "gwtcp 5432", "closed"),
    S("TCP: the older VirtualService first", gw("g", tcp("*", 5432)) + on("v", "a.example", f"tcp: [{to('db.example:1')}]", at="2022") + on("w", "b.example", f"tcp: [{to('db.example:2')}]", at="2021"), "gwtcp 5432", "outbound|2||db.example"),
    S("TCP: one with nothing for this port leaves the next", gw("g", tcp("*", 5432)) + on("v", "a.example", f"tcp: [{to('db.example:1', '{port: 9}')}]", at="2020") + on("w", "b.example", f"tcp: [{to('db.example:2')}]", at="2021"), "gwtcp 5432", "outbound|2||db.example"),
]  # fmt: skip
