"""Gateways on a real node: ports that open and close with the resources, TLS ended or left closed."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from integration.byte_origin import ByteOrigin
from integration.node import Node, eventually
from integration.origins import Origin, service_entry
from integration.test_node_l4 import free_port, say, say_tls, tcp_entry


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with Node(
        tmp_path,
        node={"id": "node-under-test", "labels": {"app": "edge"}},
        gateways={"address": "127.0.0.1"},
    ) as node:
        yield node


def gateway(name: str, servers: str, selector: str = "{app: edge}") -> str:
    return (
        "---\napiVersion: networking.istio.io/v1\nkind: Gateway\n"
        f"metadata: {{name: {name}}}\nspec: {{selector: {selector}, servers: [{servers}]}}\n"
    )


def server(port: int, protocol: str, hosts: str = "['*']", tls: str = "", name: str = "p") -> str:
    tls = f", tls: {tls}" if tls else ""
    return f"{{port: {{number: {port}, name: {name}, protocol: {protocol}}}, hosts: {hosts}{tls}}}"


def bound(name: str, hosts: str, gateways: str, body: str) -> str:
    return (
        "---\napiVersion: networking.istio.io/v1\nkind: VirtualService\n"
        f"metadata: {{name: {name}}}\nspec: {{hosts: {hosts}, gateways: {gateways}, {body}}}\n"
    )


def to(host: str) -> str:
    return f"http: [{{route: [{{destination: {{host: {host}}}}}]}}]"


def get(port: int, host: str, path: str = "/") -> bytes:
    """One request, and the whole answer."""
    with socket.create_connection(("127.0.0.1", port), 5) as sock:
        sock.settimeout(5)
        return exchange(sock, host, path)


def exchange(sock: socket.socket, host: str, path: str) -> bytes:
    sock.sendall(f"GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n".encode())
    answer = b""
    while data := sock.recv(65536):
        answer += data
    return answer


def get_tls(
    port: int, host: str, roots: trustme.CA, client: trustme.LeafCert | None = None
) -> tuple[bytes, dict[str, object]]:
    context = ssl.create_default_context()
    roots.configure_trust(context)
    if client is not None:
        client.configure_cert(context)
    with socket.create_connection(("127.0.0.1", port), 5) as raw:
        raw.settimeout(5)
        with context.wrap_socket(raw, server_hostname=host, suppress_ragged_eofs=True) as sock:
            return exchange(sock, host, "/"), dict(sock.getpeercert() or {})


def is_open(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 2).close()
    except ConnectionRefusedError:
        return False
    return True


def write_cert(directory: Path, name: str, cert: trustme.LeafCert) -> tuple[str, str]:
    chain, key = directory / f"{name}.crt", directory / f"{name}.key"
    for path, blobs in ((chain, cert.cert_chain_pems), (key, [cert.private_key_pem])):
        beside = path.with_suffix(".new")
        beside.write_bytes(b"".join(blob.bytes() for blob in blobs))
        beside.replace(path)
    return str(chain), str(key)


def test_a_port_opens_and_closes_with_its_gateway(node: Node) -> None:
    port = free_port()
    with Origin("a") as origin:
        node.write("a.yaml", service_entry("a", origin.port))
        text = gateway("g", server(port, "HTTP")) + bound(
            "v", "[a.example]", "[g]", to("a.example")
        )
        node.write("g.yaml", text)
        eventually(lambda: is_open(port))
        assert get(port, "a.example").endswith(b"\r\n\r\na")
        assert b" 404 " in get(port, "b.example")  # nothing is bound for it
        names = [one["name"] for one in node.status()["listeners"]]  # type: ignore[attr-defined]
        assert "Gateway/default/g" in names
        (node.resources / "g.yaml").unlink()
        eventually(lambda: not is_open(port))
        assert node.get("a.example")[0] == 200


def test_a_gateway_of_other_nodes_opens_nothing_here(node: Node) -> None:
    port, own = free_port(), free_port()
    node.write(
        "g.yaml",
        gateway("other", server(port, "HTTP"), "{app: web}") + gateway("own", server(own, "HTTP")),
    )
    eventually(lambda: is_open(own))
    assert not is_open(port)


def test_plain_http_is_redirected_to_https_with_301(node: Node) -> None:
    port = free_port()
    node.write("g.yaml", gateway("g", server(port, "HTTP", tls="{httpsRedirect: true}")))
    eventually(lambda: is_open(port))
    answer = get(port, "a.example", "/x?y=1")
    assert answer.startswith(b"HTTP/1.1 301 ")
    assert b"location: https://a.example/x?y=1\r\n" in answer


def test_certificates_on_one_port_are_chosen_by_sni_and_re_read(
    node: Node, tmp_path: Path, authority: trustme.CA
) -> None:
    port = free_port()
    one = write_cert(tmp_path, "one", authority.issue_cert("one.example"))
    two = write_cert(tmp_path, "two", authority.issue_cert("two.example"))
    servers = ", ".join(
        server(
            port, "HTTPS", f"[{name}.example]",
            f"{{mode: SIMPLE, serverCertificate: {cert}, privateKey: {key}}}", name,
        )
        for name, (cert, key) in (("one", one), ("two", two))
    )  # fmt: skip
    with Origin("a") as origin:
        node.write("a.yaml", service_entry("a", origin.port))
        node.write(
            "g.yaml",
            gateway("g", servers) + bound("v", "['*.example']", "[g]", to("a.example")),
        )
        eventually(lambda: is_open(port))
        for name in ("one.example", "two.example"):
            answer, certificate = get_tls(port, name, authority)
            assert answer.endswith(b"\r\n\r\na")
            assert certificate["subjectAltName"] == (("DNS", name),)
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            get_tls(port, "three.example", authority)
        write_cert(tmp_path, "one", authority.issue_cert("one.example", "fresh.example"))
        eventually(
            lambda: (
                ("DNS", "fresh.example")
                in get_tls(port, "one.example", authority)[1]["subjectAltName"]
            )  # type: ignore[operator]
        )


def test_mutual_tls_asks_for_a_certificate_that_the_ca_signed(
    node: Node, tmp_path: Path, authority: trustme.CA
) -> None:
    port = free_port()
    cert, key = write_cert(tmp_path, "s", authority.issue_cert("a.example"))
    roots = tmp_path / "roots.pem"
    authority.cert_pem.write_to_path(roots)
    tls = f"{{mode: MUTUAL, serverCertificate: {cert}, privateKey: {key}, caCertificates: {roots}}}"
    with Origin("a") as origin:
        node.write("a.yaml", service_entry("a", origin.port))
        node.write(
            "g.yaml",
            gateway("g", server(port, "HTTPS", tls=tls))
            + bound("v", "[a.example]", "[g]", to("a.example")),
        )
        eventually(lambda: is_open(port))
        client = authority.issue_cert("client.example")
        assert get_tls(port, "a.example", authority, client)[0].endswith(b"\r\n\r\na")
        stranger = trustme.CA().issue_cert("client.example")
        for wrong in (None, stranger):
            with pytest.raises((ssl.SSLError, ConnectionResetError, BrokenPipeError)):
                answer, _ = get_tls(port, "a.example", authority, wrong)
                assert answer, "closed without an answer"
                pytest.fail("a stranger was served")


def test_insecure_skip_verify_asks_clients_for_nothing(
    node: Node, tmp_path: Path, authority: trustme.CA
) -> None:
    port = free_port()
    cert, key = write_cert(tmp_path, "a", authority.issue_cert("a.example"))
    authority.cert_pem.write_to_path(str(tmp_path / "ca.crt"))
    tls = f"{{mode: MUTUAL, serverCertificate: {cert}, privateKey: {key}, "
    tls += f"caCertificates: {tmp_path / 'ca.crt'}, insecureSkipVerify: true}}"
    with Origin("a") as origin:
        node.write("a.yaml", service_entry("a", origin.port))
        text = gateway("g", server(port, "HTTPS", tls=tls))
        node.write("g.yaml", text + bound("v", "[a.example]", "[g]", to("a.example")))
        eventually(lambda: is_open(port))
        assert get_tls(port, "a.example", authority)[0].endswith(b"\r\n\r\na")
        other = trustme.CA().issue_cert("client.example")
        assert get_tls(port, "a.example", authority, other)[0].endswith(b"\r\n\r\na")


def test_passthrough_routes_by_sni_and_leaves_tls_to_the_endpoint(
    node: Node, authority: trustme.CA
) -> None:
    port = free_port()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("pay.example").configure_cert(context)
    with ByteOrigin("pay", tls=context) as origin:
        node.write("pay.yaml", tcp_entry("pay", 443, origin.port, protocol="TLS"))
        node.write(
            "g.yaml",
            gateway("g", server(port, "TLS", tls="{mode: PASSTHROUGH}"))
            + bound(
                "v", "[pay.example]", "[g]",
                "tls: [{match: [{sniHosts: [pay.example]}], "
                "route: [{destination: {host: pay.example, port: {number: 443}}}]}]",
            ),
        )  # fmt: skip
        eventually(lambda: is_open(port))
        assert say_tls(port, "pay.example", b"x", authority) == b"pay:x"
        with pytest.raises((ssl.SSLError, ConnectionResetError)):
            say_tls(port, "other.example", b"x", authority)


def test_tls_ends_and_tcp_goes_on(node: Node, tmp_path: Path, authority: trustme.CA) -> None:
    port = free_port()
    cert, key = write_cert(tmp_path, "s", authority.issue_cert("db.example"))
    tls = f"{{mode: SIMPLE, serverCertificate: {cert}, privateKey: {key}}}"
    with ByteOrigin("db") as origin:
        node.write("db.yaml", tcp_entry("db", 5432, origin.port))
        node.write(
            "g.yaml",
            gateway("g", server(port, "TLS", tls=tls))
            + bound(
                "v", "[db.example]", "[g]",
                "tcp: [{route: [{destination: {host: db.example, port: {number: 5432}}}]}]",
            ),
        )  # fmt: skip
        eventually(lambda: is_open(port))
        assert say_tls(port, "db.example", b"x", authority) == b"db:x"


def test_tcp_goes_where_the_bound_route_says(node: Node) -> None:
    port = free_port()
    with ByteOrigin("db", greeting=True) as origin:
        node.write("db.yaml", tcp_entry("db", 5432, origin.port))
        node.write(
            "g.yaml",
            gateway("g", server(port, "TCP"))
            + bound(
                "v", "['*']", "[g]",
                f"tcp: [{{match: [{{port: {port}}}], "
                "route: [{destination: {host: db.example, port: {number: 5432}}}]}]",
            ),
        )  # fmt: skip
        eventually(lambda: is_open(port))
        assert say(port, b"") == b"db greets\n"


def test_a_port_that_is_taken_is_told_and_had_when_it_is_free(node: Node) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = int(taken.getsockname()[1])
        node.write("g.yaml", gateway("g", server(port, "HTTP")))

        def refused() -> bool:
            listeners = node.status()["listeners"]
            assert isinstance(listeners, list)
            return any("another process has this port" in one["error"] for one in listeners)

        eventually(refused)
    eventually(lambda: is_open(port) and b" 404 " in get(port, "a.example"))


def test_a_killed_workers_queue_is_served_by_its_replacement(tmp_path: Path) -> None:
    port = free_port()
    with (
        Origin("a") as origin,
        Node(
            tmp_path,
            {
                "a.yaml": service_entry("a", origin.port)
                + gateway("g", server(port, "HTTP"), "{}")
                + bound("v", "[a.example]", "[g]", to("a.example"))
            },
            workers=1,
            gateways={"address": "127.0.0.1"},
        ) as node,
    ):
        assert is_open(port)  # ready means that the ports of Gateways are open
        pid = node.pids("worker")[0]
        os.kill(pid, signal.SIGSTOP)
        socks = [socket.create_connection(("127.0.0.1", port), 5) for _ in range(5)]
        for sock in socks:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n\r\n")
        os.kill(pid, signal.SIGKILL)
        for sock in socks:
            sock.settimeout(10)
            assert sock.recv(100).startswith(b"HTTP/1.1 200 ")
            sock.close()


class Load:
    """Requests on kept connections from a few threads, until stopped; failures are kept."""

    def __init__(self, port: int, host: str, threads: int = 4) -> None:
        self.sent = 0
        self.failures: list[str] = []
        self._port, self._host = port, host
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]

    def __enter__(self) -> Load:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        import http.client

        connection: http.client.HTTPConnection | None = None
        while not self._stop.is_set():
            if connection is None:
                connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
                try:
                    connection.connect()
                except ConnectionRefusedError:
                    connection = None  # the port is closed: nothing was accepted, nothing lost
                    self._stop.wait(0.005)
                    continue
                except OSError as error:
                    self.failures.append(f"connect: {error!r}")
                    connection = None
                    continue
            try:
                connection.request("GET", "/", headers={"Host": self._host})
                response = connection.getresponse()
                response.read()
                self.sent += 1
                if response.status != 200:
                    self.failures.append(str(response.status))
                if response.getheader("connection") == "close":
                    connection.close()
                    connection = None
            except OSError as error:
                self.failures.append(repr(error))
                connection = None
            except http.client.HTTPException as error:
                self.failures.append(repr(error))
                connection = None
        if connection is not None:
            connection.close()


def test_a_listener_comes_and_goes_under_load_without_a_failed_request_on_others(
    node: Node,
) -> None:
    steady, flapping = free_port(), free_port()
    with Origin("a") as origin:
        node.write(
            "a.yaml",
            service_entry("a", origin.port)
            + gateway("steady", server(steady, "HTTP"))
            + bound("v", "[a.example]", "[steady, flapping, mesh]", to("a.example")),
        )
        eventually(lambda: is_open(steady))
        with Load(steady, "a.example") as gate, Load(node.port, "a.example", 2) as egress:
            with Load(flapping, "a.example", 2) as comes_and_goes:
                for _ in range(8):
                    node.write("f.yaml", gateway("flapping", server(flapping, "HTTP")))
                    before = comes_and_goes.sent
                    eventually(lambda: comes_and_goes.sent > before + 20)  # noqa: B023
                    (node.resources / "f.yaml").unlink()
                    eventually(lambda: not is_open(flapping))
        assert gate.sent > 100 and egress.sent > 100
        assert gate.failures == []
        assert egress.failures == []
        # What the listener had accepted was answered, the last one with `connection: close`.
        assert comes_and_goes.failures == []
