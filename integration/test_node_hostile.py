"""Hostile peers and unlucky orders of events, through a real node: nothing crosses, nothing stays."""

from __future__ import annotations

import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from integration.node import Node, eventually
from integration.raw_client import Client, serve
from integration.scripted import ScriptedOrigin, Talk, answer, answers

_BEHIND = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nCROSSED"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One node for all tests of this file; an exchange is idle soon."""
    limits = {"streamIdleTimeout": "2s"}
    with Node(tmp_path_factory.mktemp("hostile"), workers=1, limits=limits) as running:
        yield running


def protocol_errors(node: Node) -> int:
    text = node.admin("/metrics")[1].decode()
    found = [line for line in text.splitlines() if 'protocol_errors_total{side="upstream"}' in line]
    return int(float(found[0].split()[-1])) if found else 0


def path_of(head: bytes) -> bytes:
    return head.split(b" ")[1]


# What an origin sends behind its answer to /first: answer, pause in between.
BEHIND: dict[str, tuple[list[bytes], bytes]] = {
    "a second response in the segment of the end": (
        [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", b"lo" + _BEHIND],
        b"hello",
    ),
    "half a head behind a body": (
        [b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel", b"loHTTP/1.1 200 OK\r\nX: "],
        b"hello",
    ),
    "behind 204": ([b"HTTP/1.1 204 No Content\r\n\r\n", _BEHIND], b""),
    "behind 204, together": ([b"HTTP/1.1 204 No Content\r\n\r\n" + _BEHIND], b""),
    "behind 304": ([b"HTTP/1.1 304 Not Modified\r\n\r\n" + _BEHIND], b""),
    "behind chunked": (
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n" + _BEHIND],
        b"abc",
    ),
    "behind a large body": (
        [b"HTTP/1.1 200 OK\r\nContent-Length: 400000\r\n\r\n" + b"z" * 400_000 + _BEHIND],
        b"z" * 400_000,
    ),
    "a moment later": ([answer(b"whole"), _BEHIND], b"whole"),
}
LATER = {"behind 204", "a moment later"}


def _origin_with_more(pieces: list[bytes]) -> Callable[[Talk, int], None]:
    def script(talk: Talk, number: int) -> None:
        while head := talk.head():
            if path_of(head) != b"/first":
                talk.send(answer(path_of(head)))
                continue
            for piece in pieces:
                talk.send(piece)
                time.sleep(0.03)  # so that a piece is a segment, or a TLS record, of its own

    return script


def _read_answer(client: Client, size: int) -> bytes:
    head, _, body = client.until(b"\r\n\r\n").partition(b"\r\n\r\n")
    if b"chunked" in head:
        while not body.endswith(b"0\r\n\r\n"):
            body += client.sock.recv(65536)
        return body
    while len(body) < size:
        body += client.sock.recv(65536)
    return body


def _first_then_others(node: Node, host: bytes, case: str) -> None:
    body = BEHIND[case][1]
    before = protocol_errors(node)
    with Client(node) as first:
        first.send(b"GET /first HTTP/1.1\r\n" + host + b"\r\n")
        assert body in _read_answer(first, len(body))
        if case in LATER:  # what comes behind the next request cannot be told from its answer
            eventually(lambda: protocol_errors(node) > before)
        for at in range(4):
            path = b"/next%d" % at
            with Client(node) as other:
                for client in (first, other):
                    client.send(b"GET " + path + b" HTTP/1.1\r\n" + host + b"\r\n")
                    assert _read_answer(client, len(path)) == path
    eventually(lambda: protocol_errors(node) > before)


@pytest.mark.parametrize("case", list(BEHIND))
def test_what_comes_behind_an_answer_reaches_nobody(node: Node, case: str) -> None:
    pieces, _ = BEHIND[case]
    with ScriptedOrigin(_origin_with_more(pieces)) as origin:
        host = serve(node, origin.port)
        _first_then_others(node, host, case)


@pytest.mark.parametrize("case", list(BEHIND))
def test_what_comes_behind_an_answer_over_tls_reaches_nobody(
    node: Node, tmp_path: Path, case: str
) -> None:
    pieces, _ = BEHIND[case]
    ca = trustme.CA()
    ca.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(context)
    rule = (
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: NAME}\n"
        "spec: {host: NAME.example, trafficPolicy: {tls: {mode: SIMPLE, "
        f"caCertificates: {tmp_path}/ca.pem, subjectAltNames: [127.0.0.1]}}}}}}\n"
    )

    with ScriptedOrigin(_origin_with_more(pieces), tls=context) as origin:
        host = serve(node, origin.port, extra=rule)
        _first_then_others(node, host, case)


NO_HTTP = {
    "an SSH banner": b"SSH-2.0-OpenSSH_9.2p1\r\n",
    "an SMTP banner": b"220 mail.example ESMTP\r\n",
    "a TLS alert": b"\x15\x03\x01\x00\x02\x02\x50",
    "HTTP/2 settings": b"\x00\x00\x00\x04\x00\x00\x00\x00\x00",
    "a status of two digits": b"HTTP/1.1 20\r\n",
    "a head without end": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 20_000,
    "a bare CR": b"HTTP/1.1 200 OK\rX: y\r\n\r\n",
}


@pytest.mark.parametrize("speaks_first", [False, True])
@pytest.mark.parametrize("case", list(NO_HTTP))
def test_an_upstream_that_is_no_http_server_is_refused_at_once(
    node: Node, case: str, speaks_first: bool
) -> None:
    def script(talk: Talk, number: int) -> None:
        if not speaks_first:
            talk.head()
        talk.send(NO_HTTP[case])
        talk.sock.settimeout(60)
        talk.sock.recv(1)  # and then nothing, until the node closes

    with ScriptedOrigin(script) as origin, Client(node) as client:
        host = serve(node, origin.port)
        client.send(b"GET / HTTP/1.1\r\n" + host + b"Connection: close\r\n\r\n")
        got = client.rest()
        assert got.startswith(b"HTTP/1.1 502 "), got
        assert b"\r\nx-egressd-response-flags: UPE\r\n" in got


def test_a_tunnel_waits_for_a_connection_that_comes_free_no_longer_than_a_request(
    node: Node,
) -> None:
    rule = (
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: NAME}\n"
        "spec: {host: NAME.example, trafficPolicy: {connectionPool: {tcp: {maxConnections: 1}}}}\n"
    )
    entry = (
        "---\napiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: NAME-t}\n"
        "spec: {hosts: [NAME.example], resolution: STATIC, location: MESH_EXTERNAL,\n"
        "  ports: [{number: 443, name: tls, protocol: TLS}],\n"
        "  endpoints: [{address: 127.0.0.1, ports: {tls: %d}}]}\n"
    )
    with ScriptedOrigin(lambda talk, number: talk.body(1) and None) as origin:
        host = serve(node, origin.port, extra=entry % origin.port + rule)
        name = host.split()[1].removesuffix(b"\r\n") + b":443"
        asks = b"CONNECT %b HTTP/1.1\r\nHost: %b\r\n\r\n" % (name, name)
        with Client(node) as first, Client(node) as second:
            first.send(asks)
            assert first.until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
            second.send(asks)
            got = second.rest()
            assert got.startswith(b"HTTP/1.1 504 "), got
            assert b"\r\nx-egressd-response-flags: SI\r\n" in got


def test_bare_line_feeds_of_an_upstream_are_taken(node: Node) -> None:
    def script(talk: Talk, number: int) -> None:
        while talk.head():
            talk.send(b"HTTP/1.1 200 OK\nContent-Length: 2\nX-A: b\n\nok")

    with ScriptedOrigin(script) as origin, Client(node) as client:
        host = serve(node, origin.port)
        for _ in range(2):
            client.send(b"GET / HTTP/1.1\r\n" + host + b"\r\n")
            got = client.until(b"\r\n\r\nok")
            assert got.startswith(b"HTTP/1.1 200 OK\r\n")
            assert b"\r\nX-A: b\r\n" in got


def test_an_origin_that_stops_reading_an_upload_is_the_one_that_is_idle(node: Node) -> None:
    def script(talk: Talk, number: int) -> None:
        talk.head()
        talk.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        time.sleep(6)

    with ScriptedOrigin(script) as origin, Client(node) as client:
        host = serve(node, origin.port)
        client.send(b"PUT / HTTP/1.1\r\n" + host + b"Content-Length: 100000000\r\n\r\n")
        client.sock.setblocking(False)
        sent = 0
        until = time.monotonic() + 1
        while time.monotonic() < until:
            try:
                sent += client.sock.send(b"z" * 65536)
            except BlockingIOError:
                time.sleep(0.01)
        client.sock.settimeout(10)
        assert client.until(b"\r\n").startswith(b"HTTP/1.1 504 ")
    entry = eventually(lambda: [e for e in node.access_log() if e["method"] == "PUT"])[-1]
    assert entry["response_flags"] == "SI"


def test_a_response_head_that_dribbles_in_is_not_idle(node: Node) -> None:
    def script(talk: Talk, number: int) -> None:
        talk.head()
        for piece in (b"HTTP/1.1 200 OK\r\n", b"A: ", b"b\r\n", b"Content-Length: 2\r\n\r\nok"):
            talk.send(piece)
            time.sleep(1.0)

    with ScriptedOrigin(script) as origin, Client(node) as client:
        host = serve(node, origin.port)
        client.send(b"GET / HTTP/1.1\r\n" + host + b"\r\n")
        assert client.until(b"\r\n\r\nok").startswith(b"HTTP/1.1 200")


def test_a_client_that_closes_behind_half_a_body_leaves_nothing(node: Node) -> None:
    def script(talk: Talk, number: int) -> None:
        talk.head()
        talk.body(100)  # waits for the rest, or for the end

    with ScriptedOrigin(script) as origin:
        host = serve(node, origin.port)
        before = len(node.access_log())
        for at in range(51):
            sock = socket.create_connection(("127.0.0.1", node.port))
            if at % 2:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            sock.sendall(b"POST / HTTP/1.1\r\n" + host + b"Content-Length: 100\r\n\r\nhalf")
            sock.close()
        entries = eventually(lambda: (e := node.access_log()[before:]) and len(e) == 51 and e)
        assert {entry["response_flags"] for entry in entries} == {"DC"}
        eventually(lambda: b"downstream_cx_active 0" in _active(node))


def _active(node: Node) -> bytes:
    lines = node.admin("/metrics")[1].splitlines()
    found = [line for line in lines if line.startswith(b"egressd_downstream_connections_active")]
    return b"downstream_cx_active %d" % sum(int(float(line.split()[-1])) for line in found)


def test_empty_lines_before_a_request_are_refused_after_a_few(node: Node) -> None:
    with ScriptedOrigin(answers()) as origin:
        host = serve(node, origin.port)
        with Client(node) as client:
            client.send(b"\r\n\r\nGET / HTTP/1.1\r\n" + host + b"\r\n")
            assert client.until(b"\r\n\r\nok").startswith(b"HTTP/1.1 200")
        with Client(node) as client:
            client.send(b"\r\n" * 1000)
            assert client.rest().startswith(b"HTTP/1.1 400 ")
