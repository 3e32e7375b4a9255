"""What Istio's analyzers find as well: a table of resources and codes."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from egressd.analysis.analyze import analyze
from egressd.analysis.codes import CODES, ISTIO
from egressd.analysis.surroundings import alone
from egressd.api.parse import parse_text
from egressd.api.resource import Place
from tests.analysis.texts import (
    HTTP,
    HTTPS,
    MANY,
    NODE,
    NOW,
    SUBSET,
    SUBSETS,
    TCP_PORT,
    TLS_PORT,
    TO,
    TWO_PORTS,
    Row,
    again,
    codes,
    document,
    elsewhere,
    entry,
    gateway,
    inner,
    match,
    policy,
    rule,
    service,
    sidecar,
    tcp,
    tls,
)

PRIVATE = elsewhere(service("a", f"{{{TO}}}", "exportTo: ['.'], "), "one")


def wild(host: str, namespace: str = "") -> str:
    """A VirtualService of a wildcard host, for one namespace or for all."""
    to = f"exportTo: [{namespace}], " if namespace else ""
    spec = f"hosts: [{host}], {to}http: [{{{TO}}}]"
    return document("VirtualService", namespace or f"v-{len(host)}", spec)


LOCAL = "resolution: STATIC, endpoints: [{address: 10.0.0.1, locality: eu/eu-1/r1}]"
HERE = elsewhere(entry("b", f"exportTo: ['.'], {MANY}"), "one")
TO_B = "{route: [{destination: {host: b.example}}]}"


def subsets(*labels: str) -> str:
    listed = ", ".join(f"{{name: s{n}, labels: {one}}}" for n, one in enumerate(labels))
    return rule("a", f"subsets: [{listed}]")


ROWS: list[Row] = [
    ("EG0101", [HERE, service("a", TO_B)], [HERE, elsewhere(service("a", TO_B), "one")]),
    ("EG0101", [HERE, elsewhere(service("a", TO_B, "exportTo: [two], "), "one")],
     [elsewhere(entry("b", f"exportTo: [two, three], {MANY}"), "one"),
      elsewhere(service("a", TO_B, "exportTo: [two], "), "one")]),
    ("EG0103", [entry("a", LOCAL), subsets("{topology.kubernetes.io/region: us}")],
     [entry("a", LOCAL), subsets("{topology.kubernetes.io/region: eu}",
      "{topology.kubernetes.io/zone: eu-1}", "{topology.istio.io/subzone: r1}")]),
    ("EG0103", [entry("a"), subsets("{topology.kubernetes.io/region: ''}")],
     [entry("a"), subsets("{v: one}")]),
    ("EG0106", [entry("a", port=TWO_PORTS), service("a", f"{{{TO}}}")],
     [entry("a", port=TWO_PORTS),
      service("a", "{route: [{destination: {host: a.example, port: {number: 80}}}]}")]),
    ("EG0106", [entry("a"), entry("b", port=TWO_PORTS),
                service("a", f"{{{TO}, mirror: {{host: b.example}}}}")],
     [entry("a"), entry("b"), service("a", f"{{{TO}, mirror: {{host: b.example}}}}")]),
    ("EG0106", [entry("b", port=TWO_PORTS), document("VirtualService", "b", "hosts: [b.example], tcp: "
                "[{route: [{destination: {host: b.example}}]}]")],
     [entry("b", port=TCP_PORT), document("VirtualService", "b", "hosts: [b.example], tcp: "
                                          "[{route: [{destination: {host: b.example}}]}]")]),
    ("EG0107", [entry("a", port=TCP_PORT)], [entry("a", f"addresses: [10.1.0.1], {MANY}", TCP_PORT)]),
    ("EG0107", [entry("a", port="{number: 443, name: x}")], [entry("a", port=TLS_PORT)]),
    ("EG0107", [entry("a", port="{number: 443, name: x, protocol: tcp}")],
     [entry("a", port="{number: 443, name: x, protocol: MONGO}")]),
    ("EG0108", [entry("a"), again("a", "HTTPS")], [entry("a"), again("a", "http")]),
    ("EG0108", [entry("a"), again("a", "HTTPS")], [entry("a"), again("a", "HTTPS", number=81)]),
    ("EG0108", [entry("a"), again("a", "HTTPS")],
     [elsewhere(entry("a", f"exportTo: ['.'], {MANY}"), "one"),
      elsewhere(again("a", "HTTPS", "exportTo: ['.'], "), "two")]),
    ("EG0108", [elsewhere(entry("a", f"exportTo: [two], {MANY}"), "one"),
                elsewhere(again("a", "HTTPS", "exportTo: ['.'], "), "two")],
     [elsewhere(entry("a", f"exportTo: [one], {MANY}"), "one"),
      again("a", "HTTPS", "exportTo: [x], ")]),
    ("EG0201", [tls("{sniHosts: [a.example]}", "{sniHosts: [a.example]}")],
     [tls("{sniHosts: [a.example]}", "{sniHosts: ['*.example']}")]),
    ("EG0201", [tls("{sniHosts: ['*.example']}", "{sniHosts: [a.example, b.example], port: 443}")],
     [tls("{sniHosts: ['*.example'], port: 443}", "{sniHosts: [a.example]}")]),
    ("EG0201", [tcp("", "match: [{port: 81}], ")], [tcp("match: [{port: 81}], ", "")]),
    ("EG0201", [tcp("match: [{port: 81}], ", "match: [{port: 81}], ")],
     [tcp("match: [{port: 81}], ", "match: [{port: 82}], ")]),
    ("EG0201", [tcp("match: [{destinationSubnets: [10.0.0.0/8]}], ",
                    "match: [{destinationSubnets: [10.1.0.0/16], port: 81}], ")],
     [tcp("match: [{destinationSubnets: [10.0.0.0/8]}], ",
          "match: [{destinationSubnets: [10.1.0.0/16, 11.0.0.0/8]}], ")]),
    ("EG0202", [tcp("match: [{port: 81}], ", "match: [{port: 81}, {port: 82}], ")],
     [tcp("match: [{port: 81, sourceLabels: {app: edge}}], ", "match: [{port: 81}, {port: 82}], ")]),
    ("EG0202", [tls("{sniHosts: [a.example]}", "{sniHosts: [a.example]}, {sniHosts: [b.example]}")],
     [tls("{sniHosts: [a.example], gateways: [mesh]}",
          "{sniHosts: [a.example]}, {sniHosts: [b.example]}")]),
    ("EG0206", [entry("a"), service("a", f"{{{match('{uri: {prefix: /api}}')}, rewrite: {{uri: /}}}}")],
     [entry("a"), service("a", f"{{{match('{uri: {prefix: /api/}}')}, rewrite: {{uri: /}}}}"),
      service("b", f"{{{match('{uri: {exact: /api}}')}, rewrite: {{uri: /}}}}"),
      service("c", f"{{{TO}, rewrite: {{uri: /}}}}"),
      service("d", f"{{{match('{uri: {prefix: /api}}')}, rewrite: {{uri: /v2}}}}")]),
    ("EG0207", [*SUBSETS, gateway("g", HTTP), service("a", f"{{{SUBSET}}}"),
                inner(TO)],
     [*SUBSETS, gateway("g", HTTP), service("a", f"{{{SUBSET}}}"),
      inner(SUBSET)]),
    ("EG0207", [*SUBSETS, gateway("g", HTTP), service("a", f"{{{SUBSET}}}"),
                inner(TO)],
     [*SUBSETS, gateway("g", HTTP), service("a", f"{{{TO}}}", "gateways: [g, mesh], ")]),
    ("EG0208", [entry("a"), gateway("g", HTTP), service("a", f"{{match: [{{headers: {{"
                f"'@request.auth.claims.group': {{exact: x}}}}}}], {TO}}}", "gateways: [g], ")],
     [entry("a"), gateway("g", HTTP), service("a", f"{{match: [{{headers: {{"
                                              f"group: {{exact: x}}}}}}], {TO}}}", "gateways: [g], ")]),
    ("EG0306", [gateway("g", HTTPS), gateway("h", HTTPS)],
     [gateway("g", HTTPS), gateway("h", HTTPS.replace("a.example", "b.example"))]),
    ("EG0306", [gateway("g", HTTPS), gateway("h", HTTPS)],
     [gateway("g", HTTPS), gateway("h", HTTPS.replace("443", "8443"))]),
    ("EG0306", [gateway("g", HTTPS), gateway("h", HTTPS, "{app: edge, zone: a}")],
     [gateway("g", HTTPS), gateway("h", HTTPS, "{app: other}")]),
    ("EG0306", [gateway("g", HTTPS), gateway("h", HTTPS)],
     [gateway("g", HTTPS), gateway("h", HTTPS.replace("hosts", "bind: 10.0.0.9, hosts"))]),
    ("EG0307", [gateway("g", HTTP), gateway("h", HTTP)],
     [gateway("g", HTTP), gateway("h", HTTP.replace("a.example", "b.example"))]),
    ("EG0307", [gateway("g", HTTP), gateway("h", HTTP.replace("a.example", "'*.example'"))],
     [gateway("g", HTTP.replace("a.example", "x/a.example")),
      gateway("h", HTTP.replace("a.example", "y/a.example"))]),
    ("EG0308", [entry("a"), inner(TO, "a.example, b.example"), gateway("g", HTTP)],
     [entry("a"), inner(TO, "a.example, b.example", "g, h"), gateway("g", HTTP),
      gateway("h", HTTP.replace("a.example", "'*.example'"))]),
    ("EG0308", [entry("a"), service("a", f"{{{TO}}}", "gateways: [g, h], "), gateway("g", HTTP),
                gateway("h", HTTP.replace("a.example", "b.example"))],
     [entry("a"), service("a", f"{{{TO}}}", "gateways: [g, mesh], "), gateway("g", HTTP)]),
    ("EG0404", [service("a", f"{{{TO}}}"), PRIVATE],
     [PRIVATE, PRIVATE.replace("namespace: one", "namespace: two")]),
    ("EG0404", [wild("'*.b.example'", "one"), wild("'*.example'")],
     [wild("'*.b.example'"), wild("'*.example'")]),
    ("EG0701", [sidecar("one"), sidecar("two")], [sidecar("one"), elsewhere(sidecar("two"), "other")]),
    ("EG0701", [sidecar("one", "{app: edge}"), sidecar("two", "{app: edge}")],
     [sidecar("one", "{app: edge}"), sidecar("two", "{app: web}"), sidecar("three")]),
    ("EG0702", [sidecar("one", "{app: web}")], [sidecar("one", "{app: edge}")]),
    ("EG0702", [elsewhere(sidecar("one", "{app: edge}"), "other")],
     [elsewhere(sidecar("one"), "other")]),
    ("EG0703", [policy("one", "selector: {matchLabels: {app: web}}, ")],
     [policy("one", "selector: {matchLabels: {app: edge}}, ")]),
    ("EG0703", [elsewhere(policy("one"), "other")],
     [policy("one"), elsewhere(policy("one"), "istio-system")]),
]  # fmt: skip


@pytest.mark.parametrize(("code", "shows", "close"), ROWS, ids=[row[0] for row in ROWS])
def test_a_finding_is_made_where_it_is_and_not_where_it_only_seems(
    code: str, shows: list[str], close: list[str]
) -> None:
    assert code in codes(shows)
    assert code not in codes(close)


def test_the_document_has_every_code_of_istio_that_a_finding_names() -> None:
    text = (Path(__file__).parents[2] / "docs" / "analyze.md").read_text()
    rows = [line for line in text.splitlines() if line.startswith("| IST")]
    assert ISTIO.keys() <= CODES.keys()
    for code, names in ISTIO.items():
        for name in names:
            row = next((row for row in rows if name in row), "")
            assert code in row or name in ("IST0110", "IST0111"), (name, code)


def test_a_catalog_is_not_asked_for_addresses_where_a_port_has_one_service() -> None:
    def found(*documents: str) -> set[str]:
        parsed = parse_text("---\n".join(documents), "")
        made = [msgspec.structs.replace(r, place=Place("http://consul/")) for r in parsed.resources]
        return {one.code for one in analyze(alone(made), NOW, NODE)}

    assert found(entry("a", port=TCP_PORT), entry("b")) == set()
    assert found(entry("a", port=TCP_PORT), entry("b", port=TCP_PORT)) == {"EG0107"}
