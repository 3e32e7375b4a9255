"""A node whose policies and routes are tried with every spelling of names, paths, methods and upgrades:
what they keep out reaches no origin."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.byte_origin import ByteOrigin
from integration.node import Node, eventually
from integration.origins import Origin, service_entry
from integration.raw_client import Client
from integration.scripted import ScriptedOrigin, Talk, answer
from tests.proxy.hellos import extension, hello, message, records, server_names

TO_R = "route: [{destination: {host: r.example}}]"
DENY = (
    "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: d}\n"
    "spec: {action: DENY, rules: [{to: [{operation: {hosts: [h.example, t.example]}}, "
    "{operation: {hosts: [o.example], paths: ['/admin*']}}, {operation: {methods: [DELETE]}}]}]}\n"
)
DENY_NAME = (
    "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: {name: d}\n"
    "spec: {action: DENY, rules: [{when: [{key: connection.sni, values: [S.example]}]}]}\n"
)
ROUTES = (
    "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: r}\n"
    "spec: {hosts: [r.example], "
    "http: [{match: [{uri: {prefix: /admin}}], directResponse: {status: 418}}, "
    f"{{match: [{{uri: {{prefix: /api}}}}], rewrite: {{uri: /v1/}}, {TO_R}}}, {{{TO_R}}}]}}\n"
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("node")


@pytest.fixture(scope="module")
def origin() -> Iterator[Origin]:
    with Origin("o") as origin:
        yield origin


@pytest.fixture(scope="module")
def tls_origin() -> Iterator[ByteOrigin]:
    with ByteOrigin("free") as origin:
        yield origin


@pytest.fixture(scope="module")
def heads() -> list[bytes]:
    """What came to u.example, in lower case."""
    return []


@pytest.fixture(scope="module")
def plain_origin(heads: list[bytes]) -> Iterator[ScriptedOrigin]:
    def script(talk: Talk, number: int) -> None:
        while head := talk.head():
            heads.append(head.lower())
            talk.send(answer(b"plain"))

    with ScriptedOrigin(script) as origin:
        yield origin


@pytest.fixture(scope="module")
def tls_port(place: Path, tls_origin: ByteOrigin) -> Iterator[int]:
    """The TLS listener of a node where s.example is denied."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
    listeners = [
        {"name": "egress", "address": "127.0.0.1", "port": 0},
        {"name": "tls", "address": "127.0.0.1", "port": port, "protocol": "TLS"},
    ]
    files = {
        f"{name}.yaml": service_entry(name, tls_origin.port, port=port, protocol="TLS")
        for name in ("s", "free")
    }
    files["d.yaml"] = DENY_NAME
    with Node(place / "tls", files, workers=1, listeners=listeners):
        eventually(lambda: tls(port, hello(server_names(b"free.example"))) != b"")
        eventually(lambda: tls(port, hello(server_names(b"s.example"))) == b"")
        yield port


@pytest.fixture(scope="module")
def node(place: Path, origin: Origin, plain_origin: ScriptedOrigin) -> Iterator[Node]:
    files = {f"{name}.yaml": service_entry(name, origin.port) for name in "hor"}
    files["u.yaml"] = service_entry("u", plain_origin.port)
    files["t.yaml"] = service_entry("t", origin.port, protocol="TCP")
    files |= {"d.yaml": DENY, "v.yaml": ROUTES}
    with Node(place, files, workers=1) as node:
        eventually(lambda: node.get("o.example")[0] == 200)
        eventually(lambda: node.get("h.example")[0] == 403)
        eventually(lambda: node.get("r.example", "/admin")[0] == 418)
        yield node


def ask(node: Node, head: bytes) -> bytes:
    """The answer to one request on a connection of its own."""
    with Client(node) as client:
        client.send(head)
        client.sock.shutdown(socket.SHUT_WR)
        return client.rest()


def status(node: Node, head: bytes) -> int:
    return int(ask(node, head)[9:12] or b"0")


HOSTS = [
    b"h.example", b"H.EXAMPLE", b"h.Example.", b"h.example:80", b"h.example.:80", b"h.example:",
    b"h.example:9", b"h.example:443", b"h.example..", b"h.example..:80", b"h.example...",
    b".h.example", b"h..example", b"h.example:080", b"h.example:0080", b"h.example:0",
    b"h.example:00", b"h.example:65536", b"h.example:99999", b"h.example:80:80", b"h.example:+80",
    b"h.example:-80", b"h.example:0x50", b"h.example::80", b"u@h.example", b"u:p@h.example",
    b"h.example\\", b"h%2eexample", b"%68.example", b"h.example%00", b"h.example,o.example",
    b"h.example@o.example", b"h.example/", b"h.example#", b"[h.example]", b"h.example:80.",
    b"*.example", b"\xe2\x93\x97.example",
]  # fmt: skip


@pytest.mark.parametrize("host", HOSTS)
def test_no_spelling_of_a_host_gets_past_a_policy(node: Node, origin: Origin, host: bytes) -> None:
    seen = len(origin.seen)
    for head in (
        b"GET / HTTP/1.1\r\nHost: %b\r\n\r\n" % host,
        b"GET http://%b/ HTTP/1.1\r\nHost: o.example\r\n\r\n" % host,
        b"GET hTTp://%b HTTP/1.1\r\nHost: o.example\r\n\r\n" % host,
        b"GET http://%b?x HTTP/1.1\r\nHost: o.example\r\n\r\n" % host,
        b"CONNECT %b HTTP/1.1\r\nHost: o.example\r\n\r\nGET / HTTP/1.1\r\n\r\n" % host,
        b"CONNECT %b:80 HTTP/1.1\r\nHost: o.example\r\n\r\nGET / HTTP/1.1\r\n\r\n" % host,
        b"CONNECT %b HTTP/1.1\r\nHost: o.example\r\n\r\nGET / HTTP/1.1\r\n\r\n"
        % host.replace(b"h", b"t"),
    ):
        assert status(node, head) in (400, 403), head
    assert len(origin.seen) == seen


@pytest.mark.parametrize("host", HOSTS[8:])
def test_a_host_that_is_none_is_refused_though_it_does_not_count(node: Node, host: bytes) -> None:
    head = b"GET http://o.example/ HTTP/1.1\r\nHost: %b\r\n\r\n" % host
    assert status(node, head) == 400


PATHS = [
    b"/admin", b"/./admin", b"/x/../admin", b"/%61dmin", b"/%61%64%6d%69%6E", b"/x/..\\admin",
    b"/x\\..\\admin", b"/x/%2e%2e/admin", b"/x/%2E%2e/admin", b"/x/.%2e/admin", b"/%2e/admin",
    b"/../admin", b"/../../admin", b"/a/b/../../admin/", b"/./././admin?x=/../y", b"/admin;x=1",
    b"/admin/../admin", b"/x/..//../admin", b"/admin%2f", b"/admin%00", b"/%%32e%%32e/admin",
]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_no_spelling_of_a_path_gets_past_a_policy_or_route(
    node: Node, origin: Origin, path: bytes
) -> None:
    seen = len(origin.seen)
    for host, expected in ((b"o.example", 403), (b"r.example", 418)):
        for target in (
            path,
            b"http://%b%b" % (host, path),
            b"HTTP://%b.:80%b" % (host.upper(), path),
        ):
            head = b"GET %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (target, host)
            assert status(node, head) in (400, expected), head
    assert len(origin.seen) == seen


SENT = [
    (b"/x/../y?a=/../b", "/y?a=/../b"),
    (b"/%7euser/%2Fx/%c3%a9", "/~user/%2Fx/%c3%a9"),
    (b"/caf\xc3\xa9", "/caf%C3%A9"),
    (b"/a//b/./c", "/a//b/c"),
    (b"/api/%2e/x", "/v1//x"),
    (b"/100%", "/100%"),
    (b"http://r.example", "/"),
    (b"http://R.example.:80/a/..", "/"),
]


@pytest.mark.parametrize(("target", "sent"), SENT)
def test_the_origin_gets_the_path_that_was_routed(
    node: Node, origin: Origin, target: bytes, sent: str
) -> None:
    assert status(node, b"GET %b HTTP/1.1\r\nHost: R.Example.\r\n\r\n" % target) == 200
    _, path, headers, *_ = origin.seen[-1]
    assert path == sent
    assert headers["host"].partition(":")[0] == "r.example"


@pytest.mark.parametrize("path", [b"/api../x", b"/api..", b"/api.%2e/x", b"/api..\\x"])
def test_a_rewrite_is_not_led_out_of_its_prefix(node: Node, origin: Origin, path: bytes) -> None:
    seen = len(origin.seen)
    assert status(node, b"GET %b HTTP/1.1\r\nHost: r.example\r\n\r\n" % path) == 400
    assert len(origin.seen) == seen


@pytest.mark.parametrize(
    "method", [b"delete", b"Delete", b"DELETE", b"DELETe", b"DEL", b"FOO", b"PRI"]
)
def test_no_spelling_of_a_method_gets_past_a_policy(
    node: Node, origin: Origin, method: bytes
) -> None:
    seen = len(origin.seen)
    code = status(node, method + b" / HTTP/1.1\r\nHost: o.example\r\n\r\n")
    assert code == (403 if method == b"DELETE" else 400)
    assert len(origin.seen) == seen


UPGRADES = [
    b"h2c", b"H2C", b"TLS/1.2", b"foo", b"websocket, foo", b"foo, websocket",
    b"websocket\r\nUpgrade: foo", b"websocket/13", b"HTTP/2.0", b"h2c, foo", b"", b",",
]  # fmt: skip


@pytest.mark.parametrize("upgrade", UPGRADES)
@pytest.mark.parametrize(
    "connection", [b"Upgrade", b"upgrade, HTTP2-Settings", b"x\r\nConnection: UPGRADE"]
)
def test_only_websocket_is_tunnelled(
    node: Node, heads: list[bytes], upgrade: bytes, connection: bytes
) -> None:
    heads.clear()
    head = (
        b"GET /x HTTP/1.1\r\nHost: u.example\r\nConnection: %b\r\nUpgrade: %b\r\n"
        b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n" % (connection, upgrade)
    )
    found = status(node, head)
    assert (found, len(heads)) in ((200, 1), (403, 0))
    for seen in heads:
        assert b"upgrade" not in seen
        assert b"http2-settings" not in seen


def tls(port: int, data: bytes) -> bytes:
    """What comes back behind a ClientHello."""
    with socket.create_connection(("127.0.0.1", port), 10) as sock:
        sock.sendall(data)
        try:
            return sock.recv(6)
        except ConnectionResetError:
            return b""


VERSIONS = extension(43, b"\x02\x03\x04")


def test_a_server_name_reaches_its_service(tls_port: int) -> None:
    for name in (b"free.example", b"Free.Example", b"free.example."):
        assert tls(tls_port, hello(server_names(name), VERSIONS)) == b"free:\x16"
    data = message(server_names(b"free.example") + VERSIONS)
    assert tls(tls_port, records(data, *[1] * (len(data) - 1))) == b"free:\x16"


BAD_NAMES = [
    b"s.example", b"S.Example", b"s.example.", b"s.example..", b"s..example", b".s.example",
    b"s.example\0", b"s.example\0.free.example", b"s.example:443", b"",
]  # fmt: skip
BAD_HELLOS = [
    *(hello(server_names(name)) for name in BAD_NAMES),
    hello(server_names(b"free.example"), server_names(b"s.example")),
    hello(server_names(b"s.example"), server_names(b"free.example")),
    hello(server_names(b"free.example", b"s.example")),
    hello(server_names(b"free.example"), VERSIONS, VERSIONS),
    records(message(server_names(b"free.example"), tail=b"\0")),
    records(message(server_names(b"free.example")) + b"x"),
    records(message(server_names(b"free.example")[:-1])),
]


@pytest.mark.parametrize("data", BAD_HELLOS)
def test_no_client_hello_gets_past_a_policy(tls_port: int, data: bytes) -> None:
    assert tls(tls_port, data) == b""


def test_explain_shows_both_spellings(node: Node) -> None:
    said = node.cli("explain", "GET", "http://R.Example.:80/x/../admin").stdout
    assert "host R.Example.:80 is read as r.example:80" in said
    assert "path /x/../admin is read, and goes on, as /admin" in said
    assert "418" in said


def test_the_log_has_what_was_decided_on(node: Node) -> None:
    for target, code in ((b"/log/../y?b", 200), (b"http://o.example/%61dmin/log", 403)):
        assert status(node, b"GET %b HTTP/1.1\r\nHost: O.Example.\r\n\r\n" % target) == code
    for path in ("/y?b", "/admin/log"):
        entry = eventually(
            lambda path=path: next((e for e in node.access_log() if e["path"] == path), None)
        )
        assert entry["authority"] == "o.example"
