"""Connections without HTTP through a real node: TCP and TLS listeners, CONNECT by tls and tcp routes."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from integration.byte_origin import ByteOrigin
from integration.node import Node, eventually
from integration.origins import Origin, service_entry


def tcp_entry(name: str, port: int, *endpoints: int, protocol: str = "TCP", more: str = "") -> str:
    listed = "".join(f"\n  - {{address: 127.0.0.1, ports: {{main: {e}}}}}" for e in endpoints)
    return (
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\n"
        f"metadata: {{name: {name}}}\nspec:\n  hosts: [{name}.example]\n"
        f"  ports: [{{number: {port}, name: main, protocol: {protocol}}}]\n"
        f"  resolution: STATIC\n{more}  endpoints:{listed}\n"
    )


def virtual(name: str, body: str) -> str:
    return (
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\n"
        f"metadata: {{name: {name}}}\nspec: {{hosts: [{name}.example], {body}}}\n"
    )


_given: set[int] = set()


def free_port() -> int:
    """A port that is free now and was not given before: the kernel may answer the same twice."""
    while True:
        with socket.socket() as sock:
            sock.bind(("127.0.0.1", 0))
            port = int(sock.getsockname()[1])
        if port not in _given:
            _given.add(port)
            return port


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ports() -> dict[str, int]:
    return {name: free_port() for name in ("tcp", "tls")}


@pytest.fixture
def node(tmp_path: Path, ports: dict[str, int]) -> Iterator[Node]:
    listeners = [
        {"name": "egress", "address": "127.0.0.1", "port": 0},
        {"name": "tcp", "address": "127.0.0.1", "port": ports["tcp"], "protocol": "TCP"},
        {"name": "tls", "address": "127.0.0.1", "port": ports["tls"], "protocol": "TLS"},
    ]
    with Node(tmp_path, listeners=listeners) as node:
        yield node


def say(port: int, data: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        sock.settimeout(5)
        if data:
            sock.sendall(data)
        try:
            return sock.recv(1000)
        except ConnectionResetError:
            return b""


def say_tls(port: int, name: str, data: bytes, roots: trustme.CA) -> bytes:
    context = ssl.create_default_context()
    roots.configure_trust(context)
    with socket.create_connection(("127.0.0.1", port), 5) as raw:
        with context.wrap_socket(raw, server_hostname=name) as sock:
            sock.sendall(data)
            return sock.recv(1000)


def test_a_server_that_speaks_first_is_heard_on_a_tcp_listener(
    node: Node, ports: dict[str, int]
) -> None:
    with ByteOrigin("mysql", greeting=True) as origin:
        node.write("db.yaml", tcp_entry("db", ports["tcp"], origin.port))
        assert eventually(lambda: say(ports["tcp"], b"")) == b"mysql greets\n"
    entry = eventually(lambda: [e for e in node.access_log() if e["upstream_host"]])[0]
    assert entry["upstream_cluster"] == f"outbound|{ports['tcp']}||db.example"
    assert entry["response_code"] == 0 and entry["response_flags"] == "-"


def test_a_tcp_route_chooses_by_port_and_an_unmatched_connection_is_closed(
    node: Node, ports: dict[str, int]
) -> None:
    with ByteOrigin("old") as old, ByteOrigin("new") as new:
        node.write(
            "db.yaml",
            tcp_entry("db", ports["tcp"], old.port)
            + tcp_entry("newdb", ports["tcp"] + 1, new.port)
            + virtual(
                "db",
                f"tcp: [{{match: [{{port: {ports['tcp']}}}], "
                "route: [{destination: {host: newdb.example}}]}]",
            ),
        )
        assert eventually(lambda: say(ports["tcp"], b"hello")) == b"new:hello"
        node.write(
            "db.yaml",
            tcp_entry("db", ports["tcp"], old.port)
            + virtual(
                "db",
                "tcp: [{match: [{destinationSubnets: [203.0.113.0/24]}], "
                "route: [{destination: {host: db.example}}]}]",
            ),
        )
        eventually(lambda: say(ports["tcp"], b"hello") == b"")


def test_an_unknown_connection_is_closed_and_logged_with_nr(
    node: Node, ports: dict[str, int]
) -> None:
    assert say(ports["tcp"], b"hello") == b""
    entry = eventually(node.access_log)[0]
    assert entry["response_flags"] == "NR"


def test_tls_is_routed_by_server_name_and_stays_closed(
    node: Node, ports: dict[str, int], authority: trustme.CA
) -> None:
    context, other = (ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) for _ in range(2))
    authority.issue_cert("pay.example").configure_cert(context)
    authority.issue_cert("pay.example").configure_cert(other)
    with ByteOrigin("pay", tls=context) as origin, ByteOrigin("v2", tls=other) as second:
        node.write(
            "pay.yaml",
            tcp_entry("pay", ports["tls"], origin.port, protocol="TLS")
            + tcp_entry("v2", ports["tls"], second.port, protocol="TLS"),
        )
        eventually(lambda: "pay.example" in node.cli("registry", "list").stdout)
        assert say_tls(ports["tls"], "pay.example", b"x", authority) == b"pay:x"
        assert origin.sni == ["pay.example"]
        node.write(
            "vs.yaml",
            virtual(
                "pay",
                "tls: [{match: [{sniHosts: [pay.example]}], "
                "route: [{destination: {host: v2.example}}]}]",
            ),
        )
        eventually(lambda: say_tls(ports["tls"], "pay.example", b"x", authority) == b"v2:x")


def test_plain_bytes_on_a_tls_listener_are_refused(node: Node, ports: dict[str, int]) -> None:
    assert say(ports["tls"], b"GET / HTTP/1.1\r\n\r\n") == b""
    entry = eventually(node.access_log)[0]
    assert entry["response_flags"] == "DPE"
    assert "not a TLS handshake" in str(entry["upstream_transport_failure_reason"])


def test_tls_is_originated_for_tcp_where_the_rule_says_so(
    node: Node, ports: dict[str, int], authority: trustme.CA, tmp_path: Path
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("db.example").configure_cert(context)
    roots = tmp_path / "roots.pem"
    authority.cert_pem.write_to_path(roots)
    rule = (
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: db}\n"
        f"spec: {{host: db.example, trafficPolicy: {{tls: {{mode: SIMPLE, "
        f"caCertificates: {roots}}}}}}}\n"
    )
    with ByteOrigin("db", tls=context) as origin:
        node.write("db.yaml", tcp_entry("db", ports["tcp"], origin.port) + rule)
        assert eventually(lambda: say(ports["tcp"], b"plain")) == b"db:plain"
        assert origin.sni[-1] == "db.example"


def test_connect_follows_tls_routes(node: Node, authority: trustme.CA) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("pay.example").configure_cert(context)
    with ByteOrigin("direct", tls=context) as direct, ByteOrigin("gate", tls=context) as gate:
        node.write(
            "pay.yaml",
            tcp_entry("pay", 443, direct.port, protocol="TLS")
            + tcp_entry("gate", 443, gate.port, protocol="TLS")
            + virtual(
                "pay",
                "tls: [{match: [{sniHosts: [pay.example], port: 443}], "
                "route: [{destination: {host: gate.example, port: {number: 443}}}]}]",
            ),
        )
        eventually(lambda: "pay" in node.cli("registry", "list").stdout)
        with socket.create_connection(("127.0.0.1", node.port), 5) as raw:
            raw.sendall(b"CONNECT pay.example:443 HTTP/1.1\r\nHost: pay.example:443\r\n\r\n")
            assert b" 200 " in raw.recv(1000)
            client = ssl.create_default_context()
            authority.configure_trust(client)
            with client.wrap_socket(raw, server_hostname="pay.example") as sock:
                sock.sendall(b"x")
                assert sock.recv(100) == b"gate:x"


def test_a_virtual_address_names_its_service(node: Node) -> None:
    with Origin("vip") as origin:
        text = service_entry("vip", origin.port).replace(
            "  resolution", "  addresses: [10.99.0.0/24]\n  resolution"
        )
        node.write("vip.yaml", text)
        eventually(lambda: node.get("10.99.0.7")[0] == 200)
        assert node.get("10.99.0.7")[2] == b"vip"
        assert node.get("10.98.0.7")[0] == 502


def _pipes(pid: int) -> int:
    found = 0
    for link in Path(f"/proc/{pid}/fd").iterdir():
        try:
            found += str(link.readlink()).startswith("pipe:")
        except OSError:
            continue  # closed meanwhile
    return found


def test_tunnels_cost_no_pipes(node: Node, ports: dict[str, int]) -> None:
    """A pipe a direction is worth two pages past the user's 32nd tunnel (pipe-user-pages-soft)."""
    with ByteOrigin("db") as origin:
        node.write("db.yaml", tcp_entry("db", ports["tcp"], origin.port))
        eventually(lambda: say(ports["tcp"], b"x") == b"db:x")
        pids = node.pids("worker").values()
        before = sum(map(_pipes, pids))
        tunnels = [socket.create_connection(("127.0.0.1", ports["tcp"]), 5) for _ in range(80)]
        for tunnel in tunnels:
            tunnel.settimeout(10)
            tunnel.sendall(b"hello")
        assert {tunnel.recv(100) for tunnel in tunnels} == {b"db:hello"}
        assert sum(map(_pipes, pids)) <= before + 2 * len(pids)
        for tunnel in tunnels:
            tunnel.close()
