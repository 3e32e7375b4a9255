"""AuthorizationPolicies on Gateways of a real node: principals of client certificates, SNI, TCP."""

from __future__ import annotations

import ssl
from pathlib import Path

import trustme

from integration.byte_origin import ByteOrigin
from integration.node import Node, eventually
from integration.origins import Origin, service_entry
from integration.test_node_authorization import policy
from integration.test_node_gateway import (
    authority,
    bound,
    gateway,
    get_tls,
    is_open,
    node,
    server,
    to,
    write_cert,
)
from integration.test_node_l4 import free_port, say, say_tls, tcp_entry

__all__ = ["authority", "node"]  # fixtures


def test_clients_are_told_apart_by_the_principal_of_their_certificate(
    node: Node, tmp_path: Path, authority: trustme.CA
) -> None:
    port = free_port()
    cert, key = write_cert(tmp_path, "s", authority.issue_cert("a.example"))
    roots = tmp_path / "roots.pem"
    authority.cert_pem.write_to_path(roots)
    tls = f"{{mode: MUTUAL, serverCertificate: {cert}, privateKey: {key}, caCertificates: {roots}}}"
    allow = (
        "{rules: [{from: [{source: {principals: [friend.example]}}], "
        f"to: [{{operation: {{ports: ['{port}']}}}}]}}]}}"
    )
    with Origin("a") as origin:
        node.write("a.yaml", service_entry("a", origin.port))
        node.write(
            "g.yaml",
            gateway("g", server(port, "HTTPS", tls=tls))
            + bound("v", "[a.example]", "[g]", to("a.example"))
            + "---\n"
            + policy("friends", allow),
        )
        eventually(lambda: is_open(port))
        friend, other = (
            authority.issue_cert("friend.example"),
            authority.issue_cert("other.example"),
        )
        assert get_tls(port, "a.example", authority, friend)[0].endswith(b"\r\n\r\na")
        answer = get_tls(port, "a.example", authority, other)[0]
        assert b" 403 " in answer
        assert answer.endswith(b"RBAC: access denied\n")


def test_tls_connections_are_denied_by_sni(node: Node, authority: trustme.CA) -> None:
    port = free_port()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("pay.example", "db.example").configure_cert(context)
    routes = "tls: [{match: [{sniHosts: [NAME]}], route: [{destination: {host: pay.example}}]}]"
    deny = "{action: DENY, rules: [{when: [{key: connection.sni, values: [db.example]}]}]}"
    with ByteOrigin("pay", tls=context) as origin:
        node.write("pay.yaml", tcp_entry("pay", 443, origin.port, protocol="TLS"))
        node.write(
            "g.yaml",
            gateway("g", server(port, "TLS", tls="{mode: PASSTHROUGH}"))
            + bound("p", "[pay.example]", "[g]", routes.replace("NAME", "pay.example"))
            + bound("d", "[db.example]", "[g]", routes.replace("NAME", "db.example")),
        )
        eventually(lambda: is_open(port))
        assert say_tls(port, "db.example", b"x", authority) == b"pay:x"
        node.write("p.yaml", policy("no-db", deny))

        def refused() -> bool:
            try:
                return say_tls(port, "db.example", b"x", authority) == b""
            except (ssl.SSLError, ConnectionError):
                return True

        eventually(refused)
        assert say_tls(port, "pay.example", b"x", authority) == b"pay:x"
        details = "rbac_access_denied_matched_policy[ns[default]-policy[no-db]-rule[0]]"
        denied = eventually(
            lambda: [e for e in node.access_log() if e.get("response_code_details") == details]
        )
        assert denied[0]["response_flags"] == "UAEX"


def test_a_deny_rule_of_http_alone_denies_every_tcp_connection(node: Node) -> None:
    port = free_port()
    routes = "tcp: [{route: [{destination: {host: db.example, port: {number: 5432}}}]}]"
    deny = "{action: DENY, rules: [{to: [{operation: {methods: [GET]}}]}]}"
    with ByteOrigin("db") as origin:
        node.write("db.yaml", tcp_entry("db", 5432, origin.port))
        node.write(
            "g.yaml",
            gateway("g", server(port, "TCP")) + bound("v", "['*']", "[g]", routes),
        )
        eventually(lambda: is_open(port))
        assert say(port, b"x") == b"db:x"
        node.write("p.yaml", policy("no-get", deny))
        eventually(lambda: say(port, b"x") == b"")
