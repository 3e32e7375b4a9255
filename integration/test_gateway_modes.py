"""Gateways of the mesh on a real node: ISTIO_MUTUAL, OPTIONAL_MUTUAL, AUTO_PASSTHROUGH, and policies."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from integration.byte_origin import ByteOrigin
from integration.node import Node, eventually
from integration.origins import Origin, service_entry
from integration.spiffe import write_identity
from integration.test_node_authorization import policy
from integration.test_node_gateway import (
    authority,
    bound,
    gateway,
    is_open,
    server,
    to,
    write_cert,
)
from integration.test_node_l4 import free_port, tcp_entry

__all__ = ["authority"]  # a fixture


@pytest.fixture
def node(tmp_path: Path, authority: trustme.CA) -> Iterator[Node]:
    write_identity(authority, tmp_path / "identity", "spiffe://mesh.example/ns/default/sa/node")
    with Node(
        tmp_path,
        workers=1,
        node={"id": "node-under-test", "labels": {"app": "edge"}},
        gateways={"address": "127.0.0.1"},
        tls={"identityDir": str(tmp_path / "identity")},
    ) as node:
        yield node


def unverified(identity: Path | None = None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if identity is not None:
        context.load_cert_chain(identity / "cert-chain.pem", identity / "key.pem")
    return context


def say(port: int, name: str, data: bytes, context: ssl.SSLContext) -> bytes:
    """All of the answer, b"" where the connection was refused or closed without one."""
    try:
        with socket.create_connection(("127.0.0.1", port), 5) as raw:
            raw.settimeout(5)
            with context.wrap_socket(raw, server_hostname=name) as sock:
                sock.sendall(data)
                return sock.recv(1000)
    except (ssl.SSLError, ConnectionError):
        return b""


def ask(port: int, identity: Path | None, line: bytes = b"GET / HTTP/1.1") -> str:
    """Status of one request, "" where there was none."""
    head = line + b"\r\nHost: a.example\r\n\r\n"
    return say(port, "a.example", head, unverified(identity))[9:12].decode()


def test_principals_of_the_mesh_are_told_apart_in_every_mode(
    node: Node, tmp_path: Path, authority: trustme.CA
) -> None:
    mesh, optional = free_port(), free_port()
    cert, key = write_cert(tmp_path, "s", authority.issue_cert("a.example"))
    roots = tmp_path / "identity" / "root-cert.pem"
    tls = f"{{mode: OPTIONAL_MUTUAL, serverCertificate: {cert}, privateKey: {key}, "
    tls += f"caCertificates: {roots}}}"
    clients = {
        "sleep": ("spiffe://mesh.example/ns/dev/sa/sleep",),
        "two": ("spiffe://mesh.example/ns/other/sa/x", "spiffe://mesh.example/ns/dev/sa/y"),
        "other": ("spiffe://mesh.example/ns/other/sa/sleep",),
    }
    for name, uris in clients.items():
        write_identity(authority, tmp_path / name, *uris)
    write_identity(authority, tmp_path / "robot", name="robot")
    write_identity(trustme.CA(), tmp_path / "stranger", *clients["sleep"])
    allow = (
        "{rules: [{from: [{source: {namespaces: [dev]}}, {source: {principals: [CN=robot]}}]}, "
        f"{{to: [{{operation: {{methods: [CONNECT], ports: ['{optional}']}}}}]}}]}}"
    )
    with Origin("a") as origin:
        node.write("a.yaml", service_entry("a", origin.port))
        servers = ", ".join(
            (
                server(mesh, "HTTPS", tls="{mode: ISTIO_MUTUAL}"),
                server(optional, "HTTPS", tls=tls, name="o"),
            )
        )
        node.write(
            "g.yaml",
            gateway("g", servers)
            + bound("v", "[a.example]", "[g]", to("a.example"))
            + "---\n"
            + policy("dev", allow),
        )
        eventually(lambda: is_open(mesh) and is_open(optional))
        for port in (mesh, optional):
            got = {name: ask(port, tmp_path / name) for name in (*clients, "robot", "stranger")}
            assert got == {
                "sleep": "200", "two": "200", "other": "403", "robot": "200", "stranger": "",
            }  # fmt: skip
        assert (ask(mesh, None), ask(optional, None)) == ("", "403")
        # A CONNECT is addressed to the port of the Gateway, whatever port it names: allowed, and then
        # refused, since only http routes are bound.
        assert ask(optional, tmp_path / "other", b"CONNECT a.example:80 HTTP/1.1") == "405"
        assert ask(mesh, tmp_path / "other", b"CONNECT a.example:80 HTTP/1.1") == "403"


def test_auto_passthrough_goes_where_the_server_name_says(
    node: Node, authority: trustme.CA
) -> None:
    port = free_port()
    names = [f"outbound_.443_.{subset}_.pay.example" for subset in ("", "v1", "v2", "none")] + [
        "outbound_.444_._.pay.example",
        "outbound_.443_._.unknown.example",
        "pay.example",
    ]
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("pay.example").configure_cert(context)
    subsets = (
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: pay}\n"
        "spec: {host: pay.example, subsets: [{name: v1, labels: {v: '1'}}, "
        "{name: v2, labels: {v: '2'}}]}\n"
    )

    def said(name: str) -> bytes:
        return say(port, name, b"x", unverified())

    with ByteOrigin("one", tls=context) as one, ByteOrigin("two", tls=context) as two:
        entry = tcp_entry("pay", 443, one.port, two.port, protocol="TLS")
        for at, origin in ((1, one), (2, two)):
            entry = entry.replace(
                f"{{main: {origin.port}}}}}", f"{{main: {origin.port}}}, labels: {{v: '{at}'}}}}"
            )
        node.write("pay.yaml", entry + subsets)
        node.write("g.yaml", gateway("g", server(port, "TLS", tls="{mode: AUTO_PASSTHROUGH}")))
        eventually(lambda: is_open(port))
        eventually(lambda: said(names[1]) == b"one:x")
        assert said(names[2]) == b"two:x"
        assert {said(names[0]) for _ in range(20)} == {b"one:x", b"two:x"}
        assert [said(name) for name in names[3:]] == [b""] * 4
        for name, kind in zip(names, ("forwarded",) * 3 + ("closed",) * 4, strict=True):
            asked = node.cli("explain", "--sni", name, "--gateway", "default/g", "-o", "json")
            assert json.loads(asked.stdout)["outcome"]["kind"] == kind, (name, asked.stdout)
        condition = "{key: connection.sni, values: ['outbound_.443_.v2_*']}"
        deny = f"{{action: DENY, rules: [{{when: [{condition}]}}]}}"
        node.write("p.yaml", policy("no-v2", deny))
        eventually(lambda: said(names[2]) == b"")
        assert said(names[1]) == b"one:x"
