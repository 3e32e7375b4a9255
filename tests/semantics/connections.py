"""Statements on TLS and TCP of the mesh. Source: Istio TLSRoute, TCPRoute, pilot `tls.go`."""

# ruff: noqa: E501 - a statement reads best on one line

from __future__ import annotations

from tests.semantics.lines import se, to, vs
from tests.semantics.world import Statement as S

T = se("t", "t.example", "443/TLS")
D = se("d", "d.example", "5432/TCP", more="addresses: [10.5.0.0/16]")
SELF_T, SELF_D = "outbound|443||t.example", "outbound|5432||d.example"


def sni(match: str, host: str = "up.example:443", hosts: str = "t.example") -> str:
    names = ", ".join(f"'{one}'" for one in hosts.split())
    return to(host, f"{{sniHosts: [{names}]{match and f', {match}'}}}")


def tls(*routes: str, hosts: str = "t.example") -> str:
    return T + vs("v", hosts, f"tls: [{', '.join(routes)}]")


def tcp(*routes: str) -> str:
    return D + vs("v", "d.example", f"tcp: [{', '.join(routes)}]")


UP = "outbound|443||up.example"
DOWN = "outbound|9||down.example"

STATEMENTS: list[S] = [
    S("TLS of a service without VirtualService", T, "tls t.example:443", SELF_T),
    S("TLS of an unknown name is closed", T, "tls x.example:443", "closed"),
    S("TLS of an unknown name passes under ALLOW_ANY", T, "any tls x.example:443", "passed"),
    S("a tls route of the name", tls(sni("")), "tls t.example:443", UP),
    S("a tls route for this port", tls(sni("port: 443")), "tls t.example:443", UP),
    S("a tls route for another port leaves the service", tls(sni("port: 8443")), "tls t.example:443", SELF_T),
    S("a tls route for other source labels leaves the service", tls(sni("sourceLabels: {app: x}")), "tls t.example:443", SELF_T),
    S("a tls route for these source labels", tls(sni("sourceLabels: {app: x}")), "app=x tls t.example:443", UP),
    S("a tls route for another namespace leaves the service", tls(sni("sourceNamespace: far")), "tls t.example:443", SELF_T),
    S("a tls route for another gateway leaves the service", tls(sni("gateways: [edge]")), "tls t.example:443", SELF_T),
    S("gateways and source labels of a tls match are ANDed", tls(sni("gateways: [mesh], sourceLabels: {app: x}")), "tls t.example:443", SELF_T),
    S("only http routes: TLS goes to the service", T + vs("v", "t.example", "=201"), "tls t.example:443", SELF_T),
    S("only tcp routes: a TLS port goes to the service", T + vs("v", "t.example", f"tcp: [{to('down.example:9')}]"), "tls t.example:443", SELF_T),
    S("a tls route whose server name is another closes", tls(sni("", hosts="x.t.example"), hosts="t.example x.t.example"), "tls t.example:443", "closed"),
    S("a tls match for a client that is out leaves the next block", T + vs("v", "t.example", "tls: [{match: [{sniHosts: [t.example], port: 1}, {sniHosts: [t.example]}], route: [{destination: {host: up.example, port: {number: 443}}}]}]"), "tls t.example:443", UP),
    S("of two tls routes with one server name the first wins", tls(sni(""), sni("", "down.example:9")), "tls t.example:443", UP),
    S("a tls route out for this client leaves the second", tls(sni("port: 1"), sni("", "down.example:9")), "tls t.example:443", DOWN),
    S("the first tls route wins, not the more specific server name (the reference)", T + vs("v", "*.example", f"tls: [{sni('', hosts='*.example')}, {sni('', 'down.example:9')}]"), "tls t.example:443", UP),
    S("a wildcard server name", tls(sni("", hosts="*.t.example"), hosts="*.t.example") + se("u", "a.t.example", "443/TLS"), "tls a.t.example:443", UP),
    S("a wildcard VirtualService has tls routes where the exact one has none left", tls(sni("port: 1")) + vs("w", "*.example", f"tls: [{sni('', 'down.example:9', '*.example')}]"), "tls t.example:443", DOWN),
    S("exportTo of a ServiceEntry counts for connections", se("far/t", "t.example", "443/TLS", more="exportTo: ['.']"), "tls t.example:443", "closed"),
    S("a port that the service does not have is closed", T, "tls t.example:444", "closed"),
    S("TCP by the service's address", D, "tcp 10.5.1.1:5432", SELF_D),
    S("TCP to an unknown address is closed", D, "tcp 10.6.1.1:5432", "closed"),
    S("TCP to an unknown address passes under ALLOW_ANY", D, "any tcp 10.6.1.1:5432", "passed"),
    S("a tcp route without match", tcp(to("down.example:9")), "tcp 10.5.1.1:5432", DOWN),
    S("a tcp route for this port", tcp(to("down.example:9", "{port: 5432}")), "tcp 10.5.1.1:5432", DOWN),
    S("a tcp route for another port leaves the service", tcp(to("down.example:9", "{port: 1}")), "tcp 10.5.1.1:5432", SELF_D),
    S("a tcp route for other source labels leaves the service", tcp(to("down.example:9", "{sourceLabels: {app: x}}")), "tcp 10.5.1.1:5432", SELF_D),
    S("a tcp route for these source labels", tcp(to("down.example:9", "{sourceLabels: {app: x}}")), "app=x tcp 10.5.1.1:5432", DOWN),
    S("a tcp route for another namespace leaves the service", tcp(to("down.example:9", "{sourceNamespace: far}")), "tcp 10.5.1.1:5432", SELF_D),
    S("a tcp route for another gateway leaves the service", tcp(to("down.example:9", "{gateways: [edge]}")), "tcp 10.5.1.1:5432", SELF_D),
    S("a tcp route for a destination subnet", tcp(to("down.example:9", "{destinationSubnets: [10.5.1.0/24]}")), "tcp 10.5.1.1:5432", DOWN),
    S("an address that no tcp route takes is closed (docs/differences.md)", tcp(to("down.example:9", "{destinationSubnets: [10.5.2.0/24]}")), "tcp 10.5.1.1:5432", "closed"),
    S("a tcp route that is out leaves the second", tcp(to("down.example:9", "{port: 1}"), to("up.example:443")), "tcp 10.5.1.1:5432", UP),
    S("blocks of a tcp route are ORed", tcp(to("down.example:9", "{port: 1}, {port: 5432}")), "tcp 10.5.1.1:5432", DOWN),
    S("only http routes: TCP goes to the service", D + vs("v", "d.example", "=201"), "tcp 10.5.1.1:5432", SELF_D),
    S("only tls routes: a TCP port goes to the service", D + vs("v", "d.example", f"tls: [{sni('', hosts='d.example')}]"), "tcp 10.5.1.1:5432", SELF_D),
    S("of two services of an address the narrower block", D + se("e", "e.example", "5432/TCP", more="addresses: [10.5.1.1]"), "tcp 10.5.1.1:5432", "outbound|5432||e.example"),
    S("of two services of one address the older", se("f", "f.example", "5432/TCP", at="2021", more="addresses: [10.5.0.0/16]") + se("e", "e.example", "5432/TCP", at="2022", more="addresses: [10.5.0.0/16]"), "tcp 10.5.1.1:5432", "outbound|5432||f.example"),
    S("weights of a tcp route", D + vs("v", "d.example", "tcp: [{route: [{destination: {host: d.example}, weight: 1}, {destination: {host: e.example, port: {number: 1}}, weight: 3}]}]"), "tcp 10.5.1.1:5432", "outbound|5432||d.example outbound|1||e.example"),
]  # fmt: skip
