"""PROXY headers, and the answer of a proxy further on, read byte by byte."""

from __future__ import annotations

import socket

import pytest

from egressd.net import Fiber, Readiness, Stream, StreamClosed
from egressd.upstream.preface import TunnelRefused, open_tunnel, proxy_header
from egressd.upstream.spec import TunnelSpec

CLIENT, HERE = ("10.0.0.1", 4000), ("10.0.0.2", 80)
SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


@pytest.mark.parametrize(
    ("source", "destination", "first", "second"),
    [
        (
            CLIENT,
            HERE,
            b"PROXY TCP4 10.0.0.1 10.0.0.2 4000 80\r\n",
            b"\x21\x11\x00\x0c\x0a\x00\x00\x01\x0a\x00\x00\x02\x0f\xa0\x00\x50",
        ),
        (
            ("fe80::1%eth0", 4000),
            ("fe80::2%2", 80),
            b"PROXY TCP6 fe80::1 fe80::2 4000 80\r\n",
            b"\x21\x21\x00\x24\xfe\x80" + bytes(13) + b"\x01\xfe\x80" + bytes(13)
            + b"\x02\x0f\xa0\x00\x50",
        ),
        (("", 0), HERE, b"PROXY UNKNOWN\r\n", b"\x20\x00\x00\x00"),
        (("::1", 1), HERE, b"PROXY UNKNOWN\r\n", b"\x20\x00\x00\x00"),
        (("/run/s", 0), ("/run/t", 0), b"PROXY UNKNOWN\r\n", b"\x20\x00\x00\x00"),
    ],
)  # fmt: skip
def test_header(
    source: tuple[str, int], destination: tuple[str, int], first: bytes, second: bytes
) -> None:
    assert proxy_header("V1", source, destination) == first
    assert proxy_header("V2", source, destination) == SIGNATURE + second


def asked(tunnel: TunnelSpec, *answer: bytes, ends: bool = True) -> tuple[bytes, bytes | Exception]:
    """What the proxy is asked, and what its answer leads to."""
    errors: list[Exception] = []
    loop = Readiness(errors.append)
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    outcome: list[bytes | Exception] = []

    async def run(fiber: Fiber) -> None:
        try:
            outcome.append(await open_tunnel(stream, fiber, tunnel))
        except (TunnelRefused, StreamClosed) as refused:
            outcome.append(refused)

    with theirs:
        stream = Stream(loop, ours)
        loop.spawn(run)
        request = theirs.recv(1000)
        for piece in answer:
            theirs.sendall(piece)
            while loop.turn():
                pass
        if ends:
            theirs.shutdown(socket.SHUT_WR)
        while loop.turn():
            pass
        stream.close()
    loop.close()
    assert not errors
    (found,) = outcome
    return request, found


def test_a_connect_reads_no_further_than_its_answer() -> None:
    head = b"HTTP/1.1 200 OK\r\nX: y\r\n\r\n"
    for at in range(len(head)):
        request, found = asked(TunnelSpec("a.x", 443), head[:at], head[at:] + b"the server speaks")
        assert request == b"CONNECT a.x:443 HTTP/1.1\r\nHost: a.x:443\r\n\r\n"
        assert found == head


def test_a_post_opens_a_body() -> None:
    request, _ = asked(TunnelSpec("::1", 443, "POST"), b"HTTP/1.1 200 OK\r\n\r\n")
    assert request == b"POST / HTTP/1.1\r\nHost: [::1]:443\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 403 No\r\n\r\n", "was answered 'HTTP/1.1 403 No'"),
        (b"SSH-2.0-x\r\n\r\n", "was answered 'SSH-2.0-x'"),
        (b"HTTP/1.1\r\n\r\n", "was answered 'HTTP/1.1'"),
        (b"x" * 17000, "has no end"),
        (b"HTTP/1.1 200", "closed before it answered"),
        (b"", "closed before it answered"),
    ],
)
def test_what_is_no_tunnel_is_refused(answer: bytes, why: str) -> None:
    _, found = asked(TunnelSpec("a.x", 443), answer)
    assert isinstance(found, TunnelRefused | StreamClosed)
    assert why in str(found)
