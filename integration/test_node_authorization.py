"""AuthorizationPolicies on a real node: denied, dry-run, changed while serving, tunnels."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.node import Node, eventually
from integration.origins import Origin, service_entry
from integration.raw_client import Client


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with Node(tmp_path, workers=1) as running:
        yield running


def policy(name: str, spec: str, annotations: str = "{}") -> str:
    return (
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
        f"metadata: {{name: {name}, annotations: {annotations}}}\nspec: {spec}\n"
    )


def count(node: Node, result: str) -> float:
    text = node.admin("/metrics")[1].decode()
    found = re.search(rf'egressd_rbac_total{{result="{result}"}} ([0-9.e+]+)', text)
    return float(found[1]) if found else 0.0


DENY_ADMIN = "{action: DENY, rules: [{to: [{operation: {paths: ['/admin*']}}]}]}"


def test_a_policy_denies_from_when_it_comes_until_it_goes(node: Node) -> None:
    with Origin("a") as origin:
        node.write("a.yaml", service_entry("a", origin.port))
        eventually(lambda: node.get("a.example", "/admin")[0] == 200)
        node.write("p.yaml", policy("closed", DENY_ADMIN))
        eventually(lambda: node.get("a.example", "/admin")[0] == 403)
        seen = len(origin.seen)
        status, _, body = node.get("a.example", "/x/../admin/1")
        assert (status, body) == (403, b"RBAC: access denied\n")
        assert node.get("unknown.example", "/admin")[0] == 403
        assert len(origin.seen) == seen
        assert node.get("a.example", "/open")[0] == 200
        details = "rbac_access_denied_matched_policy[ns[default]-policy[closed]-rule[0]]"
        entry = eventually(
            lambda: next((e for e in node.access_log() if e["response_code"] == 403), None)
        )
        assert (entry["response_code_details"], entry["response_flags"]) == (details, "UAEX")
        assert count(node, "denied") >= 3
        assert count(node, "allowed") >= 1
        (node.resources / "p.yaml").unlink()
        eventually(lambda: node.get("a.example", "/admin")[0] == 200)


def test_a_dry_run_passes_and_is_counted(node: Node) -> None:
    with Origin("a") as origin:
        node.write("a.yaml", service_entry("a", origin.port))
        node.write("p.yaml", policy("dry", DENY_ADMIN, '{istio.io/dry-run: "true"}'))
        eventually(lambda: node.get("a.example", "/admin")[0] == 200)
        eventually(lambda: node.get("a.example", "/admin") and count(node, "shadow_denied"))
        node.get("a.example", "/")
        eventually(lambda: count(node, "shadow_allowed"))
        assert count(node, "denied") == 0


def test_allow_by_address_keeps_others_out(node: Node) -> None:
    with Origin("a") as origin:
        node.write("a.yaml", service_entry("a", origin.port))
        node.write(
            "p.yaml", policy("some", "{rules: [{from: [{source: {ipBlocks: [127.0.0.0/8]}}]}]}")
        )
        eventually(lambda: node.get("a.example")[0] == 200 and count(node, "allowed"))
        node.write(
            "p.yaml", policy("some", "{rules: [{from: [{source: {ipBlocks: [10.9.9.9]}}]}]}")
        )
        eventually(lambda: node.get("a.example")[0] == 403)


def test_a_tunnel_is_denied_before_it_opens(node: Node) -> None:
    with Origin("a") as origin:
        node.write("a.yaml", service_entry("a", origin.port, protocol="TCP"))
        spec = (
            "{action: DENY, rules: [{to: [{operation: {hosts: ['a.example:*'], ports: ['80']}}]}]}"
        )
        eventually(lambda: node.get("a.example")[0] == 200)

        def connect() -> bytes:
            with Client(node) as client:
                client.send(b"CONNECT a.example:80 HTTP/1.1\r\nHost: a.example:80\r\n\r\n")
                return client.until(b"\r\n\r\n")

        assert b" 200 " in connect()
        node.write("p.yaml", policy("no-tunnels", spec))
        eventually(lambda: b" 403 " in connect())
        assert node.get("a.example")[0] == 200
