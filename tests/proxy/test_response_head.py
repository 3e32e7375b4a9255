"""Response heads as they come: in pieces, with bare LF, without end, or from what is no HTTP server."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressd.proxy.http1.fields import MalformedMessage
from egressd.proxy.http1.response import ENVOY_LIMITS, HeadLimits, ResponseHead, take_response

HEADS = [
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n",
    b"HTTP/1.0 404 \r\n\r\n",
    b"HTTP/1.1 204\r\nA: b\r\nC:\r\n\r\n",
    b"HTTP/1.1 200 OK\nContent-Length: 2\n\n",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\n\r\n",
    b"HTTP/1.1 200 OK\nContent-Length: 2\r\n\n",
]
NO_HTTP = [
    b"SSH-2.0-OpenSSH_9.2p1\r\n",
    b"220 mail.example ESMTP\r\n",
    b"\x15\x03\x01\x00\x02\x02\x50",
    b"\x16\x03\x03\x00\x7a",
    b"+OK POP3\r\n",
    b"* OK IMAP4rev1\r\n",
    b"\x4a\x00\x00\x00\x0a5.7.33\x00",
    b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    b"HTTP/2.0 200 OK\r\n",
    b"HTTP/1.2 200 OK\r\n",
    b"HTTP/1.1  200 OK\r\n",
    b"HTTP/1.1 099 OK\r\n",
    b"HTTP/1.1 20x OK\r\n",
    b"HTTP/1.1 2000 OK\r\n",
    b"http/1.1 200 OK\r\n",
    b"HTTP/1.1\t200 OK\r\n",
    b"ICY 200 OK\r\n",
    b"\r\nHTTP/1.1 200 OK\r\n",
    b"\nHTTP/1.1 200 OK\r\n",
    b" HTTP/1.1 200 OK\r\n",
    b"GET / HTTP/1.1\r\n",
    b"\x00",
    b"{}",
]


def piecewise(data: bytes, step: int) -> tuple[ResponseHead, int] | None:
    """As the proxy calls it: with what has come, and how much an earlier call has seen."""
    looked_at = 0
    for end in [*range(step, len(data), step), len(data)]:
        taken = take_response(data[:end], b"GET", ENVOY_LIMITS, looked_at)
        if taken is not None:
            return taken
        looked_at = end
    return None


@pytest.mark.parametrize("head", HEADS)
@given(behind=st.binary(max_size=20), step=st.integers(1, 60))
def test_a_head_is_found_whatever_it_is_split_into(head: bytes, behind: bytes, step: int) -> None:
    taken = piecewise(head + behind, step)
    assert taken is not None
    response, end = taken
    assert end == len(head)
    assert b"\n" not in response.lines.replace(b"\r\n", b"")
    whole = take_response(head, b"GET", ENVOY_LIMITS)
    assert whole is not None
    assert whole[0].lines == response.lines
    assert whole[0].length == response.length


@pytest.mark.parametrize("head", HEADS)
def test_a_beginning_of_a_head_waits_for_more(head: bytes) -> None:
    for end in range(1, len(head)):
        assert take_response(head[:end], b"GET", ENVOY_LIMITS) is None


@pytest.mark.parametrize("data", NO_HTTP)
@pytest.mark.parametrize("step", [1, 5, 1000])
def test_what_cannot_become_a_status_line_is_refused_at_once(data: bytes, step: int) -> None:
    with pytest.raises(MalformedMessage, match="status line"):
        piecewise(data, step)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
        b"HTTP/1.1 200 OK\nA : b\n\n",
        b"HTTP/1.1 200 OK\r\nA: b\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\nA: b\n folded\n\n",
        b"HTTP/1.1 200 OK\r\nA: b\rC: d\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nA: \x00\r\n\r\n",
        b"HTTP/1.1 200 O\rK\r\n\r\n",
        b"HTTP/1.1 200 OK\nContent-Length: 1\nContent-Length: 2\n\n",
        b"HTTP/1.1 200 OK\nContent-Length: 1\nTransfer-Encoding: chunked\n\n",
    ],
)
def test_bare_line_feeds_make_nothing_else_acceptable(head: bytes) -> None:
    with pytest.raises(MalformedMessage):
        take_response(head, b"GET", ENVOY_LIMITS)


@pytest.mark.parametrize("ending", [b"\r\n", b"\n"])
def test_heads_are_bounded_in_bytes_and_fields(ending: bytes) -> None:
    limits = HeadLimits(most_bytes=200, most_fields=5)
    line = b"HTTP/1.1 200 OK" + ending
    fits = line + (b"A: b" + ending) * 5 + ending
    assert take_response(fits, b"GET", limits) is not None
    with pytest.raises(MalformedMessage, match="5 fields"):
        take_response(line + (b"A: b" + ending) * 6 + ending, b"GET", limits)
    long = line + b"A: " + b"b" * 200
    with pytest.raises(MalformedMessage, match="200 bytes"):
        take_response(long, b"GET", limits)
    with pytest.raises(MalformedMessage, match="200 bytes"):
        take_response(long + ending + ending, b"GET", limits)
