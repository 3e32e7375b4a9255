"""HTTP/1.1 through a real node: what clients and origins do that is not plain request, answer."""

from __future__ import annotations

import socket
import time

import pytest

from integration.node import Node
from integration.raw_client import TO, Client, serve, virtual
from integration.scripted import ScriptedOrigin, Talk, answer, answers

GET = b"GET / HTTP/1.1\r\nHost: web.example\r\n"


def test_pipelined_requests_are_answered_in_order(node: Node) -> None:
    def script(talk: Talk, number: int) -> None:
        while head := talk.head():
            size = 3 if b"POST" in head else 0
            talk.send(answer(head.split()[1] + talk.body(size)))

    with ScriptedOrigin(script) as origin, Client(node) as client:
        host = serve(node, origin.port)
        client.send(
            b"GET /1 HTTP/1.1\r\n" + host + b"\r\n"
            b"POST /2 HTTP/1.1\r\n" + host + b"Content-Length: 3\r\n\r\nabc"
            b"GET /3 HTTP/1.1\r\n" + host + b"Connection: close\r\n\r\n"
        )
        bodies = [part.partition(b"\r\n\r\n")[2] for part in client.rest().split(b"HTTP/1.1 ")[1:]]
        assert bodies == [b"/1", b"/2abc", b"/3"]


def test_a_chunked_body_and_its_trailers_go_both_ways(node: Node) -> None:
    seen: list[bytes] = []

    def script(talk: Talk, number: int) -> None:
        seen.append(talk.head())
        data = b""
        while not data.endswith(b"\r\n\r\n"):
            data += talk.body(1)
        seen.append(data)
        talk.send(
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n"
        )

    with ScriptedOrigin(script) as origin, Client(node) as client:
        host = serve(node, origin.port)
        client.send(
            b"POST / HTTP/1.1\r\n" + host + b"Transfer-Encoding: chunked\r\n\r\n"
            b"4\r\nwiki\r\n0\r\nX-In: 2\r\n\r\n"
        )
        got = client.until(b"X-Sum: 1\r\n\r\n")
        assert b"\r\n\r\n3\r\nabc\r\n0\r\n" in got
        assert b"transfer-encoding: chunked" in seen[0].lower()
        assert seen[1] == b"4\r\nwiki\r\n0\r\nX-In: 2\r\n\r\n"


def test_large_bodies_stream_both_ways(node: Node) -> None:
    size = 5 << 20

    def script(talk: Talk, number: int) -> None:
        talk.head()
        body = talk.body(size)
        talk.send(answer(body))

    with ScriptedOrigin(script) as origin, Client(node) as client:
        host = serve(node, origin.port)
        head = b"PUT / HTTP/1.1\r\n" + host + b"Connection: close\r\n"
        client.send(head + b"Content-Length: %d\r\n\r\n" % size + b"z" * size)
        assert client.rest().partition(b"\r\n\r\n")[2] == b"z" * size


def test_interim_answers_are_forwarded(node: Node) -> None:
    def script(talk: Talk, number: int) -> None:
        talk.head()
        talk.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" + answer())

    with ScriptedOrigin(script) as origin, Client(node) as client:
        client.send(b"GET / HTTP/1.1\r\n" + serve(node, origin.port) + b"\r\n")
        got = client.until(b"\r\n\r\nok")
        assert got.startswith(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200")


@pytest.mark.parametrize("origin_speaks", [True, False])
def test_expect_continue_goes_end_to_end(node: Node, origin_speaks: bool) -> None:
    seen: list[bytes] = []

    def script(talk: Talk, number: int) -> None:
        seen.append(talk.head())
        if origin_speaks:
            talk.send(b"HTTP/1.1 100 Continue\r\n\r\n")
        talk.send(answer(talk.body(4)))

    with ScriptedOrigin(script) as origin, Client(node) as client:
        host = serve(node, origin.port)
        client.send(
            b"POST / HTTP/1.1\r\n" + host + b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        )
        assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 Continue")
        client.send(b"body")
        assert client.until(b"\r\n\r\nbody").startswith(b"HTTP/1.1 200")
        assert b"expect" in seen[0].lower()


def test_an_early_refusal_of_an_expectation_reaches_the_client(node: Node) -> None:
    def script(talk: Talk, number: int) -> None:
        talk.head()
        talk.send(b"HTTP/1.1 417 Expectation Failed\r\nContent-Length: 0\r\n\r\n")

    with ScriptedOrigin(script) as origin, Client(node) as client:
        host = serve(node, origin.port)
        client.send(
            b"POST / HTTP/1.1\r\n" + host + b"Content-Length: 4\r\nExpect: 100-continue\r\n\r\n"
        )
        assert client.rest().startswith(b"HTTP/1.1 417")


def test_an_early_answer_arrives_while_the_body_is_on_its_way(node: Node) -> None:
    def script(talk: Talk, number: int) -> None:
        talk.head()
        talk.send(b"HTTP/1.1 413 Content Too Large\r\nContent-Length: 2\r\n\r\nno")

    with ScriptedOrigin(script) as origin, Client(node) as client:
        host = serve(node, origin.port)
        client.send(
            b"POST / HTTP/1.1\r\n" + host + b"Content-Length: 9000000\r\n\r\n" + b"x" * 70000
        )
        got = client.rest()
        assert got.startswith(b"HTTP/1.1 413")
        assert got.endswith(b"no")
        assert b"connection: close" in got.lower()


def test_a_client_that_ends_its_side_still_gets_the_answer(node: Node) -> None:
    def script(talk: Talk, number: int) -> None:
        talk.head()
        time.sleep(0.2)
        talk.send(answer(b"late"))

    with ScriptedOrigin(script) as origin, Client(node) as client:
        client.send(b"GET / HTTP/1.1\r\n" + serve(node, origin.port) + b"\r\n")
        client.sock.shutdown(socket.SHUT_WR)
        assert client.rest().endswith(b"late")


@pytest.mark.parametrize(
    "start",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n",
    ],
)
def test_a_response_that_breaks_off_never_looks_complete(node: Node, start: bytes) -> None:
    def script(talk: Talk, number: int) -> None:
        talk.head()
        talk.send(start)

    with ScriptedOrigin(script) as origin, Client(node) as client:
        client.send(b"GET / HTTP/1.1\r\n" + serve(node, origin.port) + b"\r\n")
        got = client.rest()
        assert b"abc" in got or got.endswith(b"<reset>")
        assert b"\r\n0\r\n" not in got


def test_a_body_that_ends_with_the_connection_is_delimited(node: Node) -> None:
    def script(talk: Talk, number: int) -> None:
        talk.head()
        talk.send(b"HTTP/1.1 200 OK\r\n\r\nuntil the end")

    with ScriptedOrigin(script) as origin, Client(node) as client:
        client.send(b"GET / HTTP/1.1\r\n" + serve(node, origin.port) + b"\r\n")
        got = client.until(b"0\r\n\r\n")
        assert b"d\r\nuntil the end\r\n" in got


@pytest.mark.parametrize(
    "bad",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        b"garbage\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    ],
)
def test_a_malformed_answer_is_502_and_its_connection_is_not_used_again(
    node: Node, bad: bytes
) -> None:
    def script(talk: Talk, number: int) -> None:
        while talk.head():
            talk.send(bad if number == 0 else answer())

    with ScriptedOrigin(script) as origin, Client(node) as client:
        request = b"GET / HTTP/1.1\r\n" + serve(node, origin.port) + b"\r\n"
        client.send(request)
        got = client.until(b"UPE\r\n")
        assert got.startswith(b"HTTP/1.1 502")
        client.until(b"upstream protocol error") if b"protocol error" not in got else None
        with Client(node) as second:
            second.send(request)
            assert second.until(b"ok").startswith(b"HTTP/1.1 200")
        assert origin.connections == 2


@pytest.mark.parametrize(("method", "status"), [(b"GET", b"200"), (b"POST", b"503")])
def test_a_stale_pooled_connection_is_replaced_for_idempotent_methods(
    node: Node, method: bytes, status: bytes
) -> None:
    def script(talk: Talk, number: int) -> None:
        talk.head()
        talk.send(answer())
        if number == 0:
            talk.head()  # the second request is read and not answered
            return
        while talk.head():
            talk.send(answer())

    policy = virtual(f"[{{retries: {{attempts: 0}}, {TO}}}]")
    with ScriptedOrigin(script) as origin, Client(node) as client:
        host = serve(node, origin.port, extra=policy)
        client.send(b"GET / HTTP/1.1\r\n" + host + b"\r\n")
        client.until(b"ok")
        client.send(method + b" / HTTP/1.1\r\n" + host + b"Content-Length: 0\r\n\r\n")
        assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 " + status)


def test_http_1_0_is_served_and_closed(node: Node) -> None:
    with ScriptedOrigin(answers()) as origin, Client(node) as client:
        client.send(b"GET / HTTP/1.0\r\n" + serve(node, origin.port) + b"\r\n")
        assert client.rest().endswith(b"\r\n\r\nok")


def test_head_has_no_body_and_keeps_the_connection(node: Node) -> None:
    def script(talk: Talk, number: int) -> None:
        while head := talk.head():
            talk.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n")
            if head.startswith(b"GET"):
                talk.send(b"ok")

    with ScriptedOrigin(script) as origin, Client(node) as client:
        host = serve(node, origin.port)
        client.send(b"HEAD / HTTP/1.1\r\n" + host + b"\r\n")
        assert client.until(b"\r\n\r\n").lower().count(b"content-length: 2") == 1
        client.send(b"GET / HTTP/1.1\r\n" + host + b"\r\n")
        assert client.until(b"\r\n\r\nok").startswith(b"HTTP/1.1 200")


def test_connect_tunnels_bytes_both_ways_with_half_close(node: Node) -> None:
    def script(talk: Talk, number: int) -> None:
        got = talk.body(1 << 30)
        talk.send(b"got " + got)

    with ScriptedOrigin(script) as origin, Client(node) as client:
        host = serve(node, origin.port, protocol="TCP")
        name = host[6:-2]
        client.send(b"CONNECT " + name + b":80 HTTP/1.1\r\nHost: " + name + b":80\r\n\r\nearly ")
        assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 200")
        client.send(b"late")
        client.sock.shutdown(socket.SHUT_WR)
        assert client.rest() == b"got early late"


def test_an_upgraded_connection_becomes_a_tunnel(node: Node) -> None:
    def script(talk: Talk, number: int) -> None:
        head = talk.head().lower()
        assert b"upgrade: websocket" in head
        assert b"connection: upgrade" in head
        talk.send(
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n"
        )
        talk.send(b"echo " + talk.body(4))

    with ScriptedOrigin(script) as origin, Client(node) as client:
        host = serve(node, origin.port)
        client.send(
            b"GET / HTTP/1.1\r\n" + host + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
        )
        assert client.until(b"\r\n\r\n").startswith(b"HTTP/1.1 101")
        client.send(b"ping")
        assert client.until(b"ping") == b"echo ping"


def test_a_slow_head_is_408_and_a_large_one_431(node: Node) -> None:
    with Client(node) as slow, Client(node) as large:
        slow.send(GET)
        large.send(GET + b"X: " + b"a" * 9000 + b"\r\n\r\n")
        assert large.rest().startswith(b"HTTP/1.1 431")
        assert slow.rest().startswith(b"HTTP/1.1 408")


@pytest.mark.parametrize(
    "attack",
    [
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"Content-Length: 3\r\nContent-Length: 30\r\n\r\nabc",
        b"X: a\r\n b\r\n\r\n",
        b"X: a\nY: b\r\n\r\n",
        b"X : a\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n\r\nzz\r\n\r\n",
    ],
)
def test_an_ambiguous_request_is_refused_and_not_forwarded(node: Node, attack: bytes) -> None:
    heads: list[bytes] = []

    def script(talk: Talk, number: int) -> None:
        while head := talk.head():
            heads.append(head)
            talk.send(answer())

    with ScriptedOrigin(script) as origin, Client(node) as client:
        host = serve(node, origin.port)
        client.send(b"POST / HTTP/1.1\r\n" + host + attack + b"GET /smuggled HTTP/1.1\r\n\r\n")
        got = client.rest()
        assert got.startswith(b"HTTP/1.1 400")
        assert got.count(b"HTTP/1.1") == 1
        assert not heads
