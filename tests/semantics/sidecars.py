"""Statements on Sidecars and on ServiceEntries. Source: Istio Sidecar, ServiceEntry, pilot `sidecar.go`,
`push_context.go`, `serviceentry`."""

# ruff: noqa: E501 - a statement reads best on one line

from __future__ import annotations

from tests.semantics.lines import answer, sc, se, vs
from tests.semantics.world import Statement as S

OWN, FAR = se("a", "a.example"), se("far/b", "b.far.example")
TWO = OWN + FAR
IS_A, IS_B = "outbound|80||a.example /", "outbound|80||b.far.example /"
VS_B = vs("far/v", "b.far.example", "=201")

STATEMENTS: list[S] = [
    # -- Sidecar
    S("without a Sidecar every namespace is seen", TWO, "GET b.far.example", IS_B),
    S("./*: the own namespace", TWO + sc("s", "./*"), "GET a.example", IS_A),
    S("./*: no other", TWO + sc("s", "./*"), "GET b.far.example", "502"),
    S("*/*: everything", TWO + sc("s", "*/*"), "GET b.far.example", IS_B),
    S("namespace/*", TWO + sc("s", "far/*"), "GET b.far.example", IS_B),
    S("namespace/*: not the own one", TWO + sc("s", "far/*"), "GET a.example", "502"),
    S("*/host", TWO + sc("s", "*/b.far.example"), "GET b.far.example", IS_B),
    S("*/*.suffix", TWO + sc("s", "*/*.far.example"), "GET b.far.example", IS_B),
    S("namespace/host of another namespace", TWO + sc("s", "default/b.far.example"), "GET b.far.example", "502"),
    S("~/*: nothing", TWO + sc("s", "~/*"), "GET a.example", "502"),
    S("what is hidden passes under ALLOW_ANY", TWO + sc("s", "./*"), "any GET b.far.example", "passed"),
    S("~namespace/* takes a namespace away", TWO + sc("s", "*/* ~far/*"), "GET b.far.example", "502"),
    S("~namespace/* leaves the others", TWO + sc("s", "*/* ~far/*"), "GET a.example", IS_A),
    S("~namespace/host takes a host of it away", TWO + sc("s", "*/* ~far/b.far.example"), "GET b.far.example", "502"),
    S("~namespace/host of another namespace takes nothing", TWO + sc("s", "*/* ~default/b.far.example"), "GET b.far.example", IS_B),
    S("~/host takes a host of every namespace away", TWO + sc("s", "*/* ~/b.far.example"), "GET b.far.example", "502"),
    S("~/*.suffix", TWO + sc("s", "*/* ~/*.far.example"), "GET b.far.example", "502"),
    S("an exclusion before what it is taken from", TWO + sc("s", "~far/* */*"), "GET b.far.example", "502"),
    S("an exclusion alone shows nothing", TWO + sc("s", "~far/*"), "GET a.example", "502"),
    S("an exclusion wins over the same host", TWO + sc("s", "far/b.far.example ~/b.far.example"), "GET b.far.example", "502"),
    S("an exclusion hides VirtualServices, too", TWO + VS_B + sc("s", "*/* ~far/*"), "GET b.far.example", "502"),
    S("one of several hosts of a VirtualService is excluded: it stays", TWO + vs("far/v", "b.far.example c.far.example", "=201") + sc("s", "*/* ~/c.far.example"), "GET b.far.example", "=201"),
    S("a VirtualService is seen when a host of it overlaps", TWO + vs("v", "*.far.example", "=201") + sc("s", "*/b.far.example"), "GET b.far.example", "=201"),
    S("a VirtualService of another namespace is seen by its own", TWO + VS_B + sc("s", "far/*"), "GET b.far.example", "=201"),
    S("a ServiceEntry is seen when its host lies within", se("w", "*.example") + sc("s", "./a.example"), "GET a.example", "502"),
    S("where a seen VirtualService leads to may be anywhere", TWO + vs("v", "a.example", "b.far.example") + sc("s", "./*"), "GET a.example", IS_B),
    S("the name that it leads to is not seen for that", TWO + vs("v", "a.example", "b.far.example") + sc("s", "./*"), "GET b.far.example", "502"),
    S("it may lead to what is excluded", TWO + vs("v", "a.example", "b.far.example") + sc("s", "*/* ~far/*"), "GET a.example", IS_B),
    S("of two services of a host the one that is seen", se("far/a", "a.example", at="2020", ends="10.0.0.9") + se("other/a", "a.example", at="2021") + sc("s", "*/* ~far/*"), "cluster outbound|80||a.example endpoints", "10.0.0.1:80"),
    S("a cluster of a service that is not seen is that of its own namespace", se("far/a", "a.example", ends="10.0.0.9") + se("a", "a.example") + sc("s", "~/*"), "cluster outbound|80||a.example endpoints", "10.0.0.1:80"),
    S("a Sidecar's workloadSelector that is this node", TWO + sc("s", "./*") + sc("t", "*/*", "workloadSelector: {labels: {app: x}}"), "app=x GET b.far.example", IS_B),
    S("a Sidecar's workloadSelector that is another", TWO + sc("s", "./*") + sc("t", "*/*", "workloadSelector: {labels: {app: x}}"), "GET b.far.example", "502"),
    S("a Sidecar of the root namespace is the default", TWO + sc("root/s", "./*"), "GET b.far.example", "502"),
    S("a Sidecar of the own namespace comes before it", TWO + sc("root/s", "./*") + sc("t", "*/*"), "GET b.far.example", IS_B),
    S("a Sidecar of a third namespace does not count", TWO + sc("far/s", "./*"), "GET a.example", IS_A),
    S("of two Sidecars the older counts", TWO + sc("s", "./*", at="2022") + sc("t", "*/*", at="2021"), "GET b.far.example", IS_B),
    S("a Sidecar's REGISTRY_ONLY", OWN + sc("s", "*/*", "outboundTrafficPolicy: {mode: REGISTRY_ONLY}"), "any GET x.example", "502"),
    S("a Sidecar's ALLOW_ANY", OWN + sc("s", "*/*", "outboundTrafficPolicy: {mode: ALLOW_ANY}"), "GET x.example", "passed"),
    S("Sidecars do not count on Gateways", "gw g: selector: {}, servers: [{port: {number: 80, name: http, protocol: HTTP}, hosts: ['*']}]\n" + vs("far/v", "b.far.example", "=201", more="gateways: [default/g]") + sc("s", "./*"), "gw 80 GET b.far.example", "=201"),
    # -- ServiceEntries
    S("exportTo of a ServiceEntry: its own namespace", se("far/b", "b.far.example", more="exportTo: ['.']"), "GET b.far.example", "502"),
    S("exportTo of a ServiceEntry: this namespace", se("far/b", "b.far.example", more="exportTo: [default]"), "GET b.far.example", IS_B),
    S("exportTo of a ServiceEntry: nobody", se("b", "b.far.example", more="exportTo: ['~']"), "GET b.far.example", "502"),
    S("one host in two namespaces: the client's own", se("far/a", "a.example", at="2020", ends="10.0.0.9") + se("a", "a.example", at="2021"), "cluster outbound|80||a.example endpoints", "10.0.0.1:80"),
    S("one host in two foreign namespaces: the older", se("far/a", "a.example", at="2022", ends="10.0.0.9") + se("other/a", "a.example", at="2021"), "cluster outbound|80||a.example endpoints", "10.0.0.1:80"),
    S("one host in two foreign namespaces: of one age the first", se("other/a", "a.example", ends="10.0.0.9") + se("far/a", "a.example"), "cluster outbound|80||a.example endpoints", "10.0.0.1:80"),
    S("a timestamp comes before none", se("far/a", "a.example", ends="10.0.0.9") + se("other/a", "a.example", at="2021"), "cluster outbound|80||a.example endpoints", "10.0.0.1:80"),
    S("the older is not exported: the other one", se("far/a", "a.example", at="2022") + se("other/a", "a.example", at="2021", ends="10.0.0.9", more="exportTo: ['.']"), "cluster outbound|80||a.example endpoints", "10.0.0.1:80"),
    S("two of one namespace have their endpoints together", se("a", "a.example") + se("b", "a.example", ends="10.0.0.2"), "cluster outbound|80||a.example endpoints", "10.0.0.1:80,10.0.0.2:80"),
    S("two of one namespace have their ports together", se("a", "a.example") + se("b", "a.example", "8080"), "GET a.example:8080", "outbound|8080||a.example /"),
    S("of two of one namespace the older says the protocol of a port", se("a", "a.example", "80/HTTP2", at="2022") + se("b", "a.example", "80", at="2021"), "cluster outbound|80||a.example protocol", "HTTP"),
    S("one ServiceEntry of several hosts", se("a", "a.example c.example"), "GET c.example", "outbound|80||c.example /"),
    S("targetPort", "se a: hosts: [a.example], ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}], resolution: STATIC, endpoints: [{address: 10.0.0.1}]\n", "cluster outbound|80||a.example endpoints", "10.0.0.1:8080"),
    S("an endpoint's port before targetPort", "se a: hosts: [a.example], ports: [{number: 80, name: http, protocol: HTTP, targetPort: 8080}], resolution: STATIC, endpoints: [{address: 10.0.0.1, ports: {http: 9090}}]\n", "cluster outbound|80||a.example endpoints", "10.0.0.1:9090"),
    S("resolution DNS without endpoints: the host itself", "se a: hosts: [a.example], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS\n", "cluster outbound|80||a.example endpoints", "a.example:80"),
    S("resolution NONE: no endpoints", "se a: hosts: [a.example], ports: [{number: 80, name: http, protocol: HTTP}]\n", "cluster outbound|80||a.example resolution", "NONE"),
    S("workloadSelector joins WorkloadEntries of the namespace", "se a: hosts: [a.example], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, workloadSelector: {labels: {app: x}}\nwe w: address: 10.0.0.7, labels: {app: x}\nwe u: address: 10.0.0.8, labels: {app: z}\nwe far/w: address: 10.0.0.9, labels: {app: x}\n", "cluster outbound|80||a.example endpoints", "10.0.0.7:80"),
    S("a VirtualService hides behind exportTo, its ServiceEntry does not", FAR + vs("far/v", "b.far.example", f"http: [{answer('201')}]", more="exportTo: ['.']"), "GET b.far.example", IS_B),
]  # fmt: skip
