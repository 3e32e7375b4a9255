"""A Sidecar on a real node: what clients see, and what becomes of other names, while it serves."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.node import Node, eventually
from integration.origins import Origin, service_entry
from integration.raw_client import Client
from integration.test_gateway_unix import get_unix


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


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def ask(port: int, host: str) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        connection.request("GET", "/", headers={"Host": host})
        return connection.getresponse().status
    except OSError:
        return 0
    finally:
        connection.close()


def test_a_listener_on_a_unix_socket_shows_its_own_hosts(node: Node, tmp_path: Path) -> None:
    path = str(tmp_path / "s.sock")
    spec = (
        f"{{egress: [{{port: {{number: 0, protocol: HTTP}}, bind: 'unix://{path}', "
        "hosts: [./b.example]}, {hosts: [./a.example]}], outboundTrafficPolicy: {mode: REGISTRY_ONLY}}"
    )
    with Origin("a") as a, Origin("b") as b:
        node.write("a.yaml", service_entry("a", a.port))
        node.write("b.yaml", service_entry("b", b.port))
        node.write("s.yaml", sidecar(spec))
        assert eventually(lambda: get_unix(path, "b.example")).endswith(b"\r\n\r\nb")
        assert b" 502 " in get_unix(path, "a.example")
        eventually(lambda: node.get("b.example")[0] == 502)
        assert node.get("a.example")[0] == 200


def test_a_listener_with_a_port_opens_shows_its_own_hosts_and_closes(node: Node) -> None:
    port = free_port()

    def spec(host: str, protocol: str = "HTTP") -> str:
        return sidecar(
            f"{{egress: [{{port: {{number: {port}, protocol: {protocol}}}, hosts: [./{host}]}}, "
            "{hosts: [./a.example]}], outboundTrafficPolicy: {mode: REGISTRY_ONLY}}"
        )

    with Origin("a") as a, Origin("b") as b:
        node.write("a.yaml", service_entry("a", a.port))
        node.write("b.yaml", service_entry("b", b.port, port=port))
        eventually(lambda: node.get("a.example")[0] == 200)
        node.write("s.yaml", spec("b.example"))
        eventually(lambda: ask(port, "b.example") == 200)
        assert ask(port, "a.example") == 502
        assert (node.get("a.example")[0], node.get("b.example")[0]) == (200, 502)
        node.write("s.yaml", spec("a.example"))
        eventually(lambda: ask(port, "b.example") == 502)
        tcp = service_entry("b", b.port, port=port).replace("protocol: HTTP", "protocol: TCP")
        node.write("b.yaml", tcp)
        node.write("s.yaml", spec("b.example", "TCP"))
        eventually(lambda: ask(port, "whatever.example") == 200)
        (node.resources / "s.yaml").unlink()
        eventually(lambda: ask(port, "b.example") == 0)
        assert node.get("a.example")[0] == 200
