"""A Sidecar on a real node: what clients see, and what becomes of other names, while it serves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.node import Node, eventually
from integration.origins import Origin, service_entry
from integration.raw_client import Client


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    policy = {"mode": "ALLOW_ANY"}
    with Node(tmp_path, workers=1, outboundTrafficPolicy=policy, limits=OPEN) as running:
        yield running


OPEN = {"deniedAddresses": [], "connectPorts": [80, 443]}


def sidecar(spec: str) -> str:
    return (
        f"apiVersion: networking.istio.io/v1\nkind: Sidecar\nmetadata: {{name: s}}\nspec: {spec}\n"
    )


def test_hosts_that_a_sidecar_hides_are_unknown_until_it_goes(node: Node) -> None:
    closed = "{egress: [{hosts: [./a.example]}], outboundTrafficPolicy: {mode: REGISTRY_ONLY}}"
    with Origin("a") as a, Origin("b") as b:
        node.write("a.yaml", service_entry("a", a.port))
        node.write("b.yaml", service_entry("b", b.port))
        eventually(lambda: node.get("a.example")[0] == node.get("b.example")[0] == 200)
        node.write("s.yaml", sidecar(closed))
        eventually(lambda: node.get("b.example")[0] == 502)
        assert node.get("a.example")[0] == 200
        assert node.get("unknown.example")[0] == 502
        entry = eventually(
            lambda: next((e for e in node.access_log() if e["response_code"] == 502), None)
        )
        assert entry["response_flags"] == "NR"
        with Client(node) as client:
            client.send(b"CONNECT b.example:80 HTTP/1.1\r\nHost: b.example:80\r\n\r\n")
            assert b" 502 " in client.until(b"\r\n\r\n")
        (node.resources / "s.yaml").unlink()
        eventually(lambda: node.get("b.example")[0] == 200)


def test_unknown_names_go_to_the_egress_proxy(node: Node) -> None:
    to_proxy = (
        "{outboundTrafficPolicy: {mode: ALLOW_ANY, "
        "egressProxy: {host: proxy.example, port: {number: 80}}}}"
    )
    with Origin("proxy") as proxy:
        node.write("proxy.yaml", service_entry("proxy", proxy.port))
        node.write("s.yaml", sidecar(to_proxy))
        eventually(lambda: node.get("unknown.example", "/x")[2] == b"proxy")
        assert proxy.seen[-1][2]["host"] == "unknown.example"
