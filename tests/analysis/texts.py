"""Resources for tests of the analysis, and the codes that it finds of them."""

from __future__ import annotations

from datetime import UTC, datetime

from egressd.analysis.analyze import analyze
from egressd.analysis.surroundings import alone
from egressd.api.parse import parse_text
from egressd.registry.profile import NodeProfile

NOW = datetime(2026, 11, 24, tzinfo=UTC)
NODE = NodeProfile(labels={"app": "edge"})
Row = tuple[str, list[str], list[str]]
"""A code, resources that show it, resources that come close and do not."""


def document(kind: str, name: str, spec: str) -> str:
    return (
        f"apiVersion: networking.istio.io/v1\nkind: {kind}\nmetadata: {{name: {name}}}\n"
        f"spec: {{{spec}}}\n"
    )


def entry(name: str, more: str = "", port: str = "{number: 80, name: http, protocol: HTTP}") -> str:
    more = more or "resolution: STATIC, endpoints: [{address: 10.0.0.1, labels: {v: one}}]"
    return document("ServiceEntry", name, f"hosts: [{name}.example], ports: [{port}], {more}")


def service(name: str, http: str, more: str = "") -> str:
    return document("VirtualService", name, f"hosts: [{name}.example], {more}http: [{http}]")


def rule(name: str, more: str) -> str:
    return document("DestinationRule", name, f"host: {name}.example, {more}")


def gateway(name: str, servers: str, selector: str = "{app: edge}") -> str:
    return document("Gateway", name, f"selector: {selector}, servers: [{servers}]")


TO = "route: [{destination: {host: a.example}}]"
HTTP = "{port: {number: 80, name: http, protocol: HTTP}, hosts: [a.example]}"
TLS = "{port: {number: 80, name: tls, protocol: TLS}, hosts: ['*'], tls: {mode: PASSTHROUGH}}"
MANY = "resolution: STATIC, endpoints: [{address: 10.0.0.1}, {address: 10.0.0.2}]"
TLS_PORT = "{number: 443, name: https, protocol: HTTPS}"


def match(text: str) -> str:
    return f"match: [{text}], {TO}"


TCP_PORT = "{number: 81, name: tcp, protocol: TCP}"
TWO_PORTS = f"{{number: 80, name: http, protocol: HTTP}}, {TLS_PORT}"
SUBSET = "route: [{destination: {host: a.example, subset: x}}]"
SUBSETS = [entry("a"), rule("a", "subsets: [{name: x, labels: {v: one}}]")]
HTTPS = ("{port: {number: 443, name: https, protocol: HTTPS}, hosts: [a.example], "
         "tls: {mode: SIMPLE, credentialName: c}}")  # fmt: skip


def again(host: str, protocol: str, more: str = "", number: int = 80) -> str:
    """A second entry for the host of an entry."""
    port = f"{{number: {number}, name: other, protocol: {protocol}}}"
    return document(
        "ServiceEntry", "again", f"hosts: [{host}.example], {more}ports: [{port}], {MANY}"
    )


def elsewhere(text: str, namespace: str) -> str:
    return text.replace("metadata: {", f"metadata: {{namespace: {namespace}, ")


def inner(route: str, hosts: str = "a.example", gateways: str = "g") -> str:
    """A VirtualService that is bound to gateways only."""
    spec = f"hosts: [{hosts}], gateways: [{gateways}], http: [{{{route}}}]"
    return document("VirtualService", "in", spec)


def tls(*matches: str) -> str:
    to = "route: [{destination: {host: a.example}}]"
    routes = ", ".join(f"{{match: [{match}], {to}}}" for match in matches)
    return document("VirtualService", "v", f"hosts: ['*.example'], tls: [{routes}]")


def tcp(*matches: str) -> str:
    routes = ", ".join(f"{{{match}{TO}}}" for match in matches)
    return document("VirtualService", "v", f"hosts: [a.example], tcp: [{routes}]")


def sidecar(name: str, labels: str = "") -> str:
    selector = f"workloadSelector: {{labels: {labels}}}, " if labels else ""
    return document("Sidecar", name, f"{selector}egress: [{{hosts: ['*/*']}}]")


def policy(name: str, selector: str = "") -> str:
    text = document("AuthorizationPolicy", name, f"{selector}rules: [{{}}], action: DENY")
    return text.replace("networking.istio.io", "security.istio.io")


def codes(documents: list[str], node: NodeProfile = NODE) -> set[str]:
    """The codes of what is found in documents, as a node finds it."""
    parsed = parse_text("---\n".join(documents), "test.yaml")
    assert not parsed.errors, parsed.errors
    return {found.code for found in analyze(alone(parsed.resources), NOW, node)}
