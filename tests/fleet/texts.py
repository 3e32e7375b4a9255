"""Resources for tests of the fleet."""

from __future__ import annotations

from egressd.api.parse import parse_text
from egressd.api.resource import Resource


def resources(*texts: str) -> list[Resource]:
    """The resources of texts that are all valid."""
    parsed = parse_text("\n---\n".join(texts), "file.yaml")
    assert not parsed.errors, parsed.errors
    return list(parsed.resources)


def entry(name: str, port: int = 80) -> str:
    return f"""
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}, namespace: shop}}
spec:
  hosts: [{name}.example]
  ports: [{{number: {port}, name: http, protocol: HTTP}}]
  resolution: DNS
"""


def route(name: str, host: str = "a.example", to: str = "a.example", subset: str = "") -> str:
    named = f", subset: {subset}" if subset else ""
    return f"""
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: {name}, namespace: shop}}
spec:
  hosts: [{host}]
  http: [{{route: [{{destination: {{host: {to}{named}}}}}]}}]
"""


def rule(name: str, *subsets: str) -> str:
    listed = ", ".join(f"{{name: {subset}, labels: {{v: {subset}}}}}" for subset in subsets)
    return f"""
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: {name}, namespace: shop}}
spec: {{host: {name}.example, subsets: [{listed}]}}
"""
