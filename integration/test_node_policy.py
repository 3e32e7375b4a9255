"""Policies of a route and a cluster through a real node: time, retries, limits, headers."""

from __future__ import annotations

import time

from integration.node import Node
from integration.raw_client import TO, Client, serve, virtual
from integration.scripted import ScriptedOrigin, Talk, answer, answers


def test_a_route_timeout_is_504_ut(node: Node) -> None:
    def script(talk: Talk, number: int) -> None:
        talk.head()
        time.sleep(1)

    with ScriptedOrigin(script) as origin, Client(node) as client:
        host = serve(node, origin.port, extra=virtual(f"[{{timeout: 100ms, {TO}}}]"))
        client.send(b"GET / HTTP/1.1\r\n" + host + b"\r\n")
        got = client.until(b"timeout")
        assert got.startswith(b"HTTP/1.1 504")
        assert b"x-egressd-response-flags: UT" in got


def test_a_try_that_times_out_is_tried_again_elsewhere(node: Node) -> None:
    def slow(talk: Talk, number: int) -> None:
        talk.head()
        time.sleep(1.5)

    retries = "retries: {attempts: 1, perTryTimeout: 200ms, retryOn: gateway-error}"
    with ScriptedOrigin(slow) as one, ScriptedOrigin(answers(b"fast")) as two:
        host = serve(node, one.port, two.port, extra=virtual(f"[{{{retries}, {TO}}}]"))
        for _ in range(4):
            with Client(node) as client:
                client.send(b"GET / HTTP/1.1\r\n" + host + b"\r\n")
                assert client.until(b"fast").startswith(b"HTTP/1.1 200")


def test_retries_end_and_say_so(node: Node) -> None:
    def script(talk: Talk, number: int) -> None:
        while talk.head():
            talk.send(b"HTTP/1.1 503 Busy\r\ncontent-length: 0\r\n\r\n")

    with ScriptedOrigin(script) as origin, Client(node) as client:
        host = serve(
            node, origin.port, extra=virtual(f"[{{retries: {{attempts: 2, retryOn: 5xx}}, {TO}}}]")
        )
        client.send(b"GET /r HTTP/1.1\r\n" + host + b"Connection: close\r\n\r\n")
        assert client.rest().startswith(b"HTTP/1.1 503")
    time.sleep(0.5)
    (entry,) = [e for e in node.access_log() if e["authority"] == host[6:-2].decode()]
    assert entry["response_flags"] == "URX"


def test_over_the_limit_of_requests_is_503_uo_without_touching_an_endpoint(node: Node) -> None:
    rule = (
        "---\napiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {name: NAME}\n"
        "spec: {host: NAME.example, trafficPolicy: "
        "{connectionPool: {http: {http2MaxRequests: 1}}}}\n"
    )

    def script(talk: Talk, number: int) -> None:
        while talk.head():
            time.sleep(0.5)
            talk.send(answer())

    with ScriptedOrigin(script) as origin, Client(node) as first, Client(node) as second:
        request = b"GET / HTTP/1.1\r\n" + serve(node, origin.port, extra=rule) + b"\r\n"
        first.send(request)
        time.sleep(0.2)
        second.send(request)
        got = second.until(b"\r\n\r\n")
        assert got.startswith(b"HTTP/1.1 503")
        assert b"x-envoy-overloaded: true" in got
        assert b"x-egressd-response-flags: UO" in got
        assert first.until(b"ok").startswith(b"HTTP/1.1 200")
        assert origin.connections == 1


def test_header_operations_and_host_rewrite_reach_the_origin(node: Node) -> None:
    heads: list[bytes] = []

    def script(talk: Talk, number: int) -> None:
        while head := talk.head():
            heads.append(head)
            talk.send(answer(lines=b"X-Gone: 1\r\nConnection: x-hop\r\nX-Hop: 1\r\n"))

    http = (
        "[{rewrite: {authority: other.test}, headers: {request: {set: {x-a: new}, add: {x-b: more}, "
        f"remove: [x-c]}}, response: {{remove: [x-gone], set: {{x-d: set}}}}}}, {TO}}}]"
    )
    with ScriptedOrigin(script) as origin, Client(node) as client:
        host = serve(node, origin.port, extra=virtual(http))
        client.send(b"GET / HTTP/1.1\r\n" + host + b"X-A: old\r\nX-B: one\r\nX-C: 1\r\n\r\n")
        got = client.until(b"\r\n\r\nok").lower()
        sent = heads[0].lower()
        assert b"host: other.test\r\n" in sent
        assert b"x-a: new" in sent
        assert b"old" not in sent
        assert b"x-b: one" in sent
        assert b"x-b: more" in sent
        assert b"x-c" not in sent
        assert b"x-gone" not in got
        assert b"x-hop" not in got
        assert b"x-d: set" in got


def test_a_request_id_is_kept_or_made(node: Node) -> None:
    heads: list[bytes] = []

    def script(talk: Talk, number: int) -> None:
        while head := talk.head():
            heads.append(head)
            talk.send(answer())

    with ScriptedOrigin(script) as origin, Client(node) as client:
        host = serve(node, origin.port)
        client.send(b"GET / HTTP/1.1\r\n" + host + b"X-Request-Id: mine\r\n\r\n")
        client.until(b"ok")
        client.send(b"GET / HTTP/1.1\r\n" + host + b"\r\n")
        client.until(b"ok")
        assert heads[0].lower().count(b"x-request-id: mine") == 1
        assert heads[1].lower().count(b"x-request-id: ") == 1
