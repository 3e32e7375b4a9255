"""TLS origination and what goes first on a connection, on a real node: identity, secrets, rotation,
PROXY headers, tunnels through a proxy."""

from __future__ import annotations

import socket
import ssl
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from cryptography import x509

from integration.byte_origin import ByteOrigin
from integration.node import Node, eventually
from integration.origins import Origin, service_entry
from integration.spiffe import server_context, write_identity
from integration.test_node_gateway import Load, write_cert
from integration.test_node_l4 import free_port, say, tcp_entry

PEER = "spiffe://mesh.example/ns/default/sa/server"


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def node(tmp_path: Path, authority: trustme.CA) -> Iterator[Node]:
    write_identity(authority, tmp_path / "identity", "spiffe://mesh.example/ns/default/sa/node")
    port = free_port()
    with Node(
        tmp_path,
        tls={
            "identityDir": str(tmp_path / "identity"),
            "credentialsDir": str(tmp_path / "credentials"),
        },
        listeners=[
            {"name": "egress", "address": "127.0.0.1", "port": 0},
            {"name": "tcp", "address": "127.0.0.1", "port": port, "protocol": "TCP"},
        ],
    ) as node:
        yield node


def tcp_port(node: Node) -> int:
    listeners = node.status()["listeners"]
    assert isinstance(listeners, list)
    return int(listeners[1]["port"])


def rule(name: str, policy: str) -> str:
    return (
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\n"
        f"metadata: {{name: {name}}}\nspec: {{host: {name}.example, trafficPolicy: {policy}}}\n"
    )


def test_istio_mutual_shows_the_nodes_identity_and_checks_the_peers(
    node: Node, tmp_path: Path, authority: trustme.CA
) -> None:
    write_identity(authority, tmp_path / "peer", PEER)
    context = server_context(tmp_path / "peer")
    names: list[str | None] = []
    context.sni_callback = lambda _sock, name, _context: names.append(name)
    with Origin("mesh", tls=context) as origin:
        text = service_entry("mesh", origin.port)
        node.write("mesh.yaml", text + rule("mesh", "{tls: {mode: ISTIO_MUTUAL}}"))
        eventually(lambda: node.get("mesh.example")[0] == 200)
        assert names[0] == "outbound_.80_._.mesh.example"
        wanted = "{tls: {mode: ISTIO_MUTUAL, subjectAltNames: ['%s']}}"
        node.write("mesh.yaml", text + rule("mesh", wanted % PEER.replace("server", "other")))
        eventually(lambda: b"SAN matcher" in node.get("mesh.example")[2])
        node.write("mesh.yaml", text + rule("mesh", wanted % PEER))
        eventually(lambda: node.get("mesh.example")[0] == 200)


def test_istio_mutual_checks_the_service_accounts_of_the_endpoints(
    node: Node, tmp_path: Path, authority: trustme.CA
) -> None:
    write_identity(authority, tmp_path / "peer", PEER)
    with Origin("acc", tls=server_context(tmp_path / "peer")) as origin:
        for account, status in (("server", 200), ("other", 503)):
            endpoints = service_entry("acc", origin.port, labels=f", serviceAccount: {account}")
            node.write("acc.yaml", endpoints + rule("acc", "{tls: {mode: ISTIO_MUTUAL}}"))
            eventually(lambda: node.get("acc.example")[0] == status)  # noqa: B023
        eventually(lambda: b"sa/other" in node.get("acc.example")[2])


def test_a_credential_is_looked_up_and_may_come_later(
    node: Node, tmp_path: Path, authority: trustme.CA
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("pay.example").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    with Origin("pay", tls=context) as origin:
        node.write(
            "pay.yaml",
            service_entry("pay", origin.port)
            + rule("pay", "{tls: {mode: MUTUAL, credentialName: partner}}"),
        )
        eventually(lambda: b"credentialName partner" in node.get("pay.example")[2])
        secret = tmp_path / "credentials" / "partner"
        secret.mkdir(parents=True)
        client = authority.issue_cert("client.example")
        client.private_key_pem.write_to_path(secret / "tls.key")
        authority.cert_pem.write_to_path(secret / "ca.crt")
        client.cert_chain_pems[0].write_to_path(secret / "tls.crt")
        eventually(lambda: node.get("pay.example")[0] == 200)


def test_certificates_rotate_under_load_without_a_failed_request(
    node: Node, tmp_path: Path, authority: trustme.CA
) -> None:
    """Both sides: the Gateway's own certificate, and the client certificate and roots upstream."""
    port = free_port()
    cert, key = write_cert(tmp_path, "gate", authority.issue_cert("pay.example"))
    client, client_key = write_cert(tmp_path, "client", authority.issue_cert("client.example"))
    roots = tmp_path / "roots.pem"
    authority.cert_pem.write_to_path(roots)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("pay.example").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    gateway = (
        "---\napiVersion: networking.istio.io/v1\nkind: Gateway\nmetadata: {name: g}\n"
        f"spec: {{servers: [{{port: {{number: {port}, name: https, protocol: HTTPS}}, "
        f"bind: 127.0.0.1, hosts: [pay.example], tls: {{mode: SIMPLE, serverCertificate: {cert}, "
        f"privateKey: {key}}}}}]}}\n---\napiVersion: networking.istio.io/v1\n"
        "kind: VirtualService\nmetadata: {name: v}\nspec: {hosts: [pay.example], "
        "gateways: [g, mesh], http: [{route: [{destination: {host: pay.example}}]}]}\n"
    )
    mutual = (
        f"{{tls: {{mode: MUTUAL, clientCertificate: {client}, privateKey: {client_key}, "
        f"caCertificates: {roots}}}, connectionPool: {{http: {{maxRequestsPerConnection: 7}}}}}}"
    )
    with Origin("pay", tls=context) as origin:
        node.write("pay.yaml", service_entry("pay", origin.port) + rule("pay", mutual) + gateway)
        eventually(lambda: node.get("pay.example")[0] == 200)
        eventually(lambda: _used_by_both(node))
        with Load(node.port, "pay.example", 3) as load:
            for turn in range(6):
                write_cert(tmp_path, "client", authority.issue_cert("client.example"))
                gate = authority.issue_cert("pay.example", f"t{turn}.example")
                write_cert(tmp_path, "gate", gate)
                beside = roots.with_suffix(".new")
                beside.write_bytes(authority.cert_pem.bytes() + trustme.CA().cert_pem.bytes())
                beside.replace(roots)
                # Half written files, as a careless deployment leaves them for a moment.
                (tmp_path / "client.key").write_bytes(b"not yet")
                before = load.sent
                eventually(lambda: load.sent > before + 40, 30)  # noqa: B023
                wanted = x509.load_pem_x509_certificate(gate.cert_chain_pems[0].bytes())
                eventually(lambda: _serial(port, authority) == wanted.serial_number, 30)  # noqa: B023
        assert load.failures == []
        assert load.sent > 200


def _used_by_both(node: Node) -> bool:
    """Forty connections: both workers have loaded the files, so that later broken ones do no harm."""
    return all(node.get("pay.example")[0] == 200 for _ in range(40))


def _serial(port: int, authority: trustme.CA) -> int:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    with socket.create_connection(("127.0.0.1", port), 5) as raw:
        with context.wrap_socket(raw, server_hostname="pay.example") as sock:
            certificate = sock.getpeercert() or {}
            return int(str(certificate["serialNumber"]), 16)


@pytest.mark.parametrize("version", ["V1", "V2"])
def test_a_proxy_header_names_the_client(node: Node, version: str) -> None:
    heads: list[bytes] = []
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for _ in range(2):
            sock, _ = server.accept()
            with sock:
                data = b""
                while not data.endswith(b"\r\n\r\n") or b"GET" not in data:
                    data += sock.recv(1000)
                heads.append(data)
                sock.sendall(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n")

    thread = threading.Thread(target=serve)
    thread.start()
    port = int(server.getsockname()[1])
    policy = f"{{proxyProtocol: {{version: {version}}}}}"
    node.write("p.yaml", service_entry("p", port) + rule("p", policy))
    eventually(lambda: "p.example" in node.cli("registry", "list").stdout)
    for _ in range(2):  # two clients: a connection each, as each has a header of its own
        assert node.get("p.example")[0] == 200
    thread.join(10)
    server.close()
    for head in heads:
        if version == "V1":
            assert head.startswith(b"PROXY TCP4 127.0.0.1 127.0.0.1 ")
        else:
            assert head.startswith(b"\r\n\r\n\x00\r\nQUIT\n\x21\x11")
            source, target = struct.unpack_from("!4s4s", head, 16)
            assert source == target == bytes([127, 0, 0, 1])
    assert heads[0][:60] != heads[1][:60]


class ConnectProxy:
    """An upstream proxy that opens tunnels to a fixed port, and keeps what it was asked."""

    def __init__(self, target: int, answer: bytes = b"HTTP/1.1 200 OK\r\n\r\n") -> None:
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self._target, self._answer = target, answer
        self.asked: list[bytes] = []
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> ConnectProxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(5)

    def _run(self) -> None:
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        with sock:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                data = sock.recv(1000)
                if not data:
                    return
                head += data
            self.asked.append(head)
            sock.sendall(self._answer)
            if b" 200 " not in self._answer:
                return
            with socket.create_connection(("127.0.0.1", self._target)) as other:
                back = threading.Thread(target=_pump, args=(other, sock), daemon=True)
                back.start()
                _pump(sock, other)


def _pump(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass


def test_a_tunnel_goes_through_the_proxy_that_the_rule_names(node: Node) -> None:
    port = tcp_port(node)
    with ByteOrigin("far", greeting=True) as far, ConnectProxy(far.port) as proxy:
        node.write(
            "t.yaml",
            tcp_entry("t", port, proxy.port)
            + rule("t", "{tunnel: {protocol: CONNECT, targetHost: far.example, targetPort: 99}}"),
        )
        assert eventually(lambda: say(port, b"")) == b"far greets\n"
        assert proxy.asked[-1].startswith(b"CONNECT far.example:99 HTTP/1.1\r\n")


def _chunks(sock: socket.socket, buffered: bytes) -> Iterator[bytes]:
    """The bodies of chunks as they come, to the last one."""
    file = sock.makefile("rb")
    assert not buffered
    while size := int(file.readline(), 16):
        yield file.read(size)
        assert file.read(2) == b"\r\n"


def test_a_tunnel_by_post_carries_bytes_as_bodies(node: Node) -> None:
    port = tcp_port(node)
    asked: list[bytes] = []
    got: list[int] = []

    def serve(server: socket.socket) -> None:
        sock, _ = server.accept()
        with sock:
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += sock.recv(1)
            asked.append(head)
            sock.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
            for chunk in _chunks(sock, b""):  # each comes back, split where it hurts
                got.append(len(chunk))
                framed = b"%x\r\n%b\r\n" % (len(chunk), chunk)
                sock.sendall(framed[:-1])
                sock.sendall(framed[-1:])
            sock.sendall(b"0\r\n\r\n")
            sock.recv(1)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,), daemon=True)
        node.write(
            "t.yaml",
            tcp_entry("t", port, server.getsockname()[1])
            + rule("t", "{tunnel: {protocol: POST, targetHost: far.example, targetPort: 99}}"),
        )
        eventually(lambda: "t.example" in node.admin("/registry")[1].decode())
        thread.start()
        sent = bytes(range(256)) * 4000
        with socket.create_connection(("127.0.0.1", port), 10) as client:
            client.settimeout(20)
            writer = threading.Thread(
                target=lambda: (client.sendall(sent), client.shutdown(socket.SHUT_WR))
            )
            writer.start()
            received = b""
            while data := client.recv(65536):
                received += data
            writer.join()
        thread.join(10)
        assert asked[0].startswith(b"POST / HTTP/1.1\r\nHost: far.example:99\r\n")
        assert received == sent and sum(got) == len(sent)


def test_a_tunnel_that_the_proxy_refuses_is_told(node: Node) -> None:
    port = tcp_port(node)
    with ConnectProxy(1, b"HTTP/1.1 403 Forbidden\r\n\r\n") as proxy:
        node.write(
            "t.yaml",
            tcp_entry("t", port, proxy.port)
            + rule("t", "{tunnel: {protocol: CONNECT, targetHost: far.example, targetPort: 99}}"),
        )

        def refused() -> bool:
            say(port, b"x")
            return any(
                "403 Forbidden" in str(e["upstream_transport_failure_reason"])
                for e in node.access_log()
            )

        eventually(refused)
