"""The HTTP/1.1 codec: strict heads and framing (RFC 9112), against tables and against peers."""

from __future__ import annotations

import h11
import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egressd.proxy.http1.chunked import ChunkedDecoder, encode_chunk, encode_last
from egressd.proxy.http1.fields import MalformedMessage, header_map
from egressd.proxy.http1.request import (
    METHODS,
    parse_request,
    read_connect,
    read_target,
    settle_upgrade,
)
from egressd.proxy.http1.response import UNTIL_CLOSE, parse_response
from egressd.routing.path import PathNormalizer

HOST = b"Host: a.example\r\n"


def request(lines: bytes = HOST, start: bytes = b"GET / HTTP/1.1") -> bytes:
    return start + b"\r\n" + lines + b"\r\n"


REFUSED: list[tuple[str, bytes, int]] = [
    ("Content-Length with Transfer-Encoding",
     request(HOST + b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n"), 400),
    ("differing lengths", request(HOST + b"Content-Length: 3\r\nContent-Length: 4\r\n"), 400),
    ("repeated length", request(HOST + b"Content-Length: 3\r\nContent-Length: 3\r\n"), 400),
    ("list of lengths", request(HOST + b"Content-Length: 3, 3\r\n"), 400),
    ("signed length", request(HOST + b"Content-Length: +3\r\n"), 400),
    ("negative length", request(HOST + b"Content-Length: -1\r\n"), 400),
    ("hexadecimal length", request(HOST + b"Content-Length: 0x3\r\n"), 400),
    ("empty length", request(HOST + b"Content-Length:\r\n"), 400),
    ("length past 64 bits", request(HOST + b"Content-Length: 99999999999999999999\r\n"), 400),
    ("bare LF in a value", request(HOST + b"X: a\nY: b\r\n"), 400),
    ("bare CR in a value", request(HOST + b"X: a\rY: b\r\n"), 400),
    ("obs-fold", request(HOST + b"X: a\r\n b\r\n"), 400),
    ("obs-fold by tab", request(HOST + b"X: a\r\n\tb\r\n"), 400),
    ("space before the colon", request(HOST + b"X : a\r\n"), 400),
    ("field without colon", request(HOST + b"Xa\r\n"), 400),
    ("empty field name", request(HOST + b": a\r\n"), 400),
    ("NUL in a value", request(HOST + b"X: a\x00b\r\n"), 400),
    ("control character in a value", request(HOST + b"X: a\x01\r\n"), 400),
    ("control character in a name", request(HOST + b"X\x01: a\r\n"), 400),
    ("non-ASCII name", request(HOST + b"X\xe9: a\r\n"), 400),
    ("unknown transfer coding", request(HOST + b"Transfer-Encoding: gzip\r\n"), 501),
    ("coding list", request(HOST + b"Transfer-Encoding: gzip, chunked\r\n"), 501),
    ("identity coding", request(HOST + b"Transfer-Encoding: identity\r\n"), 501),
    ("obscured chunked", request(HOST + b"Transfer-Encoding: xchunked\r\n"), 501),
    ("chunked twice",
     request(HOST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n"), 400),
    ("Transfer-Encoding in HTTP/1.0",
     request(HOST + b"Transfer-Encoding: chunked\r\n", b"POST / HTTP/1.0"), 400),
    ("several Hosts", request(HOST + HOST), 400),
    ("no Host", request(b""), 400),
    ("two spaces", request(start=b"GET  / HTTP/1.1"), 400),
    ("tab for space", request(start=b"GET\t/ HTTP/1.1"), 400),
    ("trailing space", request(start=b"GET / HTTP/1.1 "), 400),
    ("no version", request(start=b"GET /"), 400),
    ("fragment in the target", request(start=b"GET /#x HTTP/1.1"), 400),
    ("space in the target", request(start=b"GET /a b HTTP/1.1"), 400),
    ("HTTP/2.0", request(start=b"GET / HTTP/2.0"), 505),
    ("HTTP/0.9", request(start=b"GET / HTTP/0.9"), 505),
    ("lower-case version", request(start=b"GET / http/1.1"), 400),
    ("method that is no token", request(start=b"G(T / HTTP/1.1"), 400),
    ("Connection names Host", request(HOST + b"Connection: host\r\n"), 400),
    ("Connection names Content-Length", request(HOST + b"Connection: content-length\r\n"), 400),
    ("Connection names Authorization", request(HOST + b"Connection: authorization\r\n"), 400),
    ("Connection with no token", request(HOST + b"Connection: a b\r\n"), 400),
    ("Connection names X-Forwarded-For", request(HOST + b"Connection: X-Forwarded-For\r\n"), 400),
    ("Connection names X-Forwarded-Proto", request(HOST + b"Connection: a, x-forwarded-proto\r\n"), 400),
    ("unknown expectation", request(HOST + b"Expect: 200-ok\r\n"), 417),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "head", "status"), REFUSED, ids=[row[0] for row in REFUSED])
def test_refused(rule: str, head: bytes, status: int) -> None:
    with pytest.raises(MalformedMessage) as caught:
        parse_request(head)
    assert caught.value.status == status


@pytest.mark.parametrize(
    "head",
    [
        request(),
        request(b"hOsT: a.example\r\n"),
        request(b"Host:a.example\r\n"),
        request(b"Host: a.example \t\r\n"),
        request(start=b"PROPFIND /x HTTP/1.1"),
        request(start=b"GET /\xc3\xa9 HTTP/1.1"),
        request(HOST + b"X:\r\n"),
        request(HOST + b"X: caf\xc3\xa9\r\n"),
        request(HOST + b"X: a\tb\r\n"),
        request(HOST + b"Connection: , close ,\r\n"),
        request(b"", b"GET / HTTP/1.0"),
        request(HOST + b"Content-Length: 0\r\n"),
        request(HOST + b"TRANSFER-ENCODING: Chunked\r\n", b"POST / HTTP/1.1"),
    ],
)
def test_legal_oddities_are_accepted(head: bytes) -> None:
    parse_request(head)


@pytest.mark.parametrize(
    ("head", "keeps"),
    [
        (request(), True),
        (request(HOST + b"Connection: close\r\n"), False),
        (request(HOST + b"Connection: Close, x\r\n"), False),
        (request(HOST, b"GET / HTTP/1.0"), False),
        (request(HOST + b"Connection: keep-alive\r\n", b"GET / HTTP/1.0"), True),
    ],
)
def test_keep_alive(head: bytes, keeps: bool) -> None:
    assert parse_request(head).keep_alive is keeps


def test_hop_by_hop_fields_and_those_that_connection_names_end_here() -> None:
    head = parse_request(
        request(
            HOST
            + b"Connection: x-mine, keep-alive\r\nX-Mine: 1\r\nKeep-Alive: 5\r\nTE: trailers\r\n"
            b"Proxy-Authorization: secret\r\nProxy-Connection: x\r\nX-Other: 2\r\n"
        )
    )
    assert head.end_to_end_lines() == HOST + b"X-Other: 2\r\n"


@pytest.mark.parametrize(
    ("start", "expected"),
    [
        (b"GET /a?b=c HTTP/1.1", (b"a.example", b"/a", b"b=c")),
        (b"GET /a?b=c?d HTTP/1.1", (b"a.example", b"/a", b"b=c?d")),
        (b"GET /a? HTTP/1.1", (b"a.example", b"/a", b"")),
        (b"GET /%61/./b?../%61 HTTP/1.1", (b"a.example", b"/a/b", b"../%61")),
        (b"GET http://o.example/x?y HTTP/1.1", (b"o.example", b"/x", b"y")),
        (b"GET HTTPS://o.example/x/../y HTTP/1.1", (b"o.example", b"/y", b"")),
        (b"GET http://o.example HTTP/1.1", (b"o.example", b"/", b"")),
        (b"GET http://o.example?q HTTP/1.1", (b"o.example", b"/", b"q")),
        (b"GET //o.example/x HTTP/1.1", (b"a.example", b"//o.example/x", b"")),
        (b"OPTIONS * HTTP/1.1", (b"a.example", b"*", b"")),
        (b"OPTIONS http://o.example HTTP/1.1", (b"o.example", b"*", b"")),
    ],
)
def test_target(start: bytes, expected: tuple[bytes, bytes, bytes]) -> None:
    authority, path, query, compared = read_target(
        parse_request(request(start=start)), PathNormalizer()
    )
    assert (authority, path, query) == expected
    assert compared == path


@pytest.mark.parametrize(
    "start",
    [
        b"GET * HTTP/1.1",
        b"GET x HTTP/1.1",
        b"GET \\x HTTP/1.1",
        b"GET ../x HTTP/1.1",
        b"GET ftp://x/ HTTP/1.1",
        b"GET http:/x HTTP/1.1",
        b"GET /%00 HTTP/1.1",
        b"GET /%%32e%%32e/ HTTP/1.1",
    ],
)
def test_invalid_target_is_refused(start: bytes) -> None:
    with pytest.raises(MalformedMessage):
        read_target(parse_request(request(start=start)), PathNormalizer())


def test_a_host_field_is_refused_though_the_absolute_form_replaces_it() -> None:
    head = parse_request(request(b"Host: a..b\r\n", start=b"GET http://o.example/ HTTP/1.1"))
    with pytest.raises(MalformedMessage, match="empty label"):
        read_target(head, PathNormalizer())


def test_a_connect_names_a_host_and_a_port() -> None:
    head = parse_request(request(b"Host: x\r\n", start=b"CONNECT A.example.:443 HTTP/1.1"))
    authority, port = read_connect(head)
    assert (authority.host, authority.text, port) == ("a.example", b"a.example:443", 443)


@pytest.mark.parametrize(
    ("target", "host"),
    [
        (b"a.example", b"a.example"),
        (b"a.example:", b"a.example"),
        (b"a.example:0443", b"a.example"),
        (b"http://a.example:443/", b"a.example"),
        (b"/", b"a.example"),
        (b"*", b"a.example"),
        (b"a.example:443", b"a..example"),
    ],
)
def test_a_connect_without_them_is_refused(target: bytes, host: bytes) -> None:
    head = parse_request(request(b"Host: %b\r\n" % host, start=b"CONNECT %b HTTP/1.1" % target))
    with pytest.raises(MalformedMessage):
        read_connect(head)


@pytest.mark.parametrize("method", [b"get", b"Post", b"pOST", b"GETX", b"FOO", b"PRI", b"connect"])
def test_a_method_that_is_not_known_as_it_is_written_is_refused(method: bytes) -> None:
    with pytest.raises(MalformedMessage, match="unknown method") as caught:
        parse_request(request(start=method + b" / HTTP/1.1"))
    assert caught.value.status == 400


def test_extension_methods_are_known_where_they_are_configured() -> None:
    head = parse_request(request(start=b"FOO / HTTP/1.1"), METHODS | {b"FOO"})
    assert head.method == b"FOO"


UPGRADES: list[tuple[bytes, bool, bytes]] = [
    (b"Upgrade: websocket\r\n", True, b"websocket"),
    (b"Upgrade: WebSocket\r\n", True, b"websocket"),
    (b"Upgrade: websocket, h2c\r\n", True, b"websocket"),
    (b"Upgrade: h2c\r\nUpgrade: websocket\r\n", True, b"websocket"),
    (b"Upgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\n", True, b""),
    (b"Upgrade: TLS/1.2\r\n", True, b""),
    (b"Upgrade: TLS/1.2, H2C\r\n", True, b""),
    (b"Upgrade: ,\r\n", True, b""),
    (b"Upgrade: foo\r\n", False, b""),
    (b"Upgrade: websocket/13\r\n", False, b""),
    (b"Upgrade: websocket, foo\r\n", False, b""),
    (b"Upgrade: websocket\r\nUpgrade: foo\r\n", False, b""),
    (b"Upgrade: websocket websocket\r\n", False, b""),
]


@pytest.mark.parametrize(("lines", "is_allowed", "kept"), UPGRADES)
def test_only_what_is_allowed_is_left_of_upgrade(
    lines: bytes, is_allowed: bool, kept: bytes
) -> None:
    head = parse_request(request(HOST + b"Connection: Upgrade\r\n" + lines))
    assert settle_upgrade(head, frozenset({b"websocket"})) is is_allowed
    if is_allowed:
        assert head.upgrade == kept
    assert b"pgrade" not in head.end_to_end_lines()


RESPONSES: list[tuple[bytes, bytes, int, bool]] = [
    (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 5, True),
    (b"GET", b"HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n", 5, True),
    (b"GET", b"HTTP/1.1 200 OK\r\n\r\n", UNTIL_CLOSE, False),
    (b"HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", 0, True),
    (b"GET", b"HTTP/1.1 204 No Content\r\n\r\n", 0, True),
    (b"GET", b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n", 0, True),
    (b"GET", b"HTTP/1.0 200 OK\r\nContent-Length: 5\r\n\r\n", 5, False),
    (b"GET", b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\n", 5, True),
    (b"GET", b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\n", 5, False),
]


@pytest.mark.parametrize(("method", "head", "length", "keeps"), RESPONSES)
def test_response_framing(method: bytes, head: bytes, length: int, keeps: bool) -> None:
    response = parse_response(head, method)
    assert (response.length, response.keep_alive) == (length, keeps)


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX : y\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\n\r\n",
        b"HTTP/1.1 20 OK\r\n\r\n",
        b"HTTP/1.1 2000 OK\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1  200 OK\r\n\r\n",
        b"ICY 200 OK\r\n\r\n",
    ],
)
def test_malformed_response_is_refused(head: bytes) -> None:
    with pytest.raises(MalformedMessage):
        parse_response(head, b"GET")


def test_a_204_never_announces_a_length() -> None:
    head = b"HTTP/1.1 204 No Content\r\nContent-Length: 0\r\nX: y\r\n\r\n"
    assert parse_response(head, b"GET").end_to_end_lines() == b"X: y\r\n"


# -- chunked ---------------------------------------------------------------------------------------

CODED = (
    b"4\r\nWiki\r\nA;ext=1\r\npedia in c\r\n6\r\nhunks.\r\n0\r\nX-Sum: 9\r\nHost: no\r\n\r\nNEXT"
)


@pytest.mark.parametrize("at", range(len(CODED) + 1))
def test_chunked_decodes_at_every_split(at: int) -> None:
    decoder = ChunkedDecoder()
    body = decoder.feed(CODED[:at]) + (decoder.feed(CODED[at:]) if at < len(CODED) else b"")
    assert body == b"Wikipedia in chunks."
    assert decoder.done
    assert decoder.trailers == b"X-Sum: 9\r\n"
    assert decoder.rest == b"NEXT"


@pytest.mark.parametrize(
    "data",
    [
        b"zz\r\n", b"-1\r\n", b"+1\r\n", b"0x1\r\n", b" 1\r\na\r\n", b"\r\n",
        b"1\r\nab\r\n", b"1\r\na\n", b"1;\x00\r\n", b"1\nab", b"FFFFFFFFFFFFFFFF\r\n",
        b"0\r\nX : y\r\n\r\n", b"0\r\nX: a\r\n b\r\n\r\n", b"1" * 5000,
    ],
)  # fmt: skip
def test_malformed_chunks_are_refused(data: bytes) -> None:
    decoder = ChunkedDecoder()
    with pytest.raises(MalformedMessage):
        decoder.feed(data)
        decoder.feed(b"x" * 5000 + b"\r\n\r\n")


@given(st.lists(st.binary(min_size=1, max_size=40), max_size=6))
@settings(max_examples=50, deadline=None)
def test_what_is_encoded_decodes(pieces: list[bytes]) -> None:
    decoder = ChunkedDecoder()
    assert decoder.feed(b"".join(map(encode_chunk, pieces)) + encode_last()) == b"".join(pieces)
    assert decoder.done


# -- peers -----------------------------------------------------------------------------------------

TOKEN = st.text("abcXYZ-_09!#", min_size=1, max_size=8).map(str.encode)
VALUE = st.text('ab ,;=:/"\té', max_size=12).map(str.encode)
ODD = st.sampled_from([b"", b"\r", b"\n", b" ", b"\x00", b":", b"\t", b"Content-Length: 3\r\n"])


@st.composite
def heads(draw: st.DrawFn) -> bytes:
    """Heads that are nearly right."""
    lines = [b"Host: a.example"]
    for _ in range(draw(st.integers(0, 3))):
        lines.append(draw(TOKEN) + draw(ODD) + b":" + draw(VALUE) + draw(ODD))
    target = b"/" + draw(st.text("ab?=&%20", max_size=8)).encode()
    return b"GET " + target + b" HTTP/1.1\r\n" + b"\r\n".join(lines) + b"\r\n\r\n"


class _Llhttp:
    def __init__(self) -> None:
        self.url = b""
        self.headers: list[tuple[bytes, bytes]] = []

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value.strip(b" \t")))


@given(heads())
@settings(max_examples=300, deadline=None)
def test_what_we_accept_our_peers_read_alike(head: bytes) -> None:
    try:
        ours = parse_request(head)
    except MalformedMessage:
        return
    peer = _Llhttp()
    parser = httptools.HttpRequestParser(peer)
    parser.feed_data(head)
    assert parser.get_method() == ours.method
    assert peer.url == ours.target
    joined: dict[bytes, bytes] = {}
    for name, value in peer.headers:
        joined[name] = joined[name] + b"," + value if name in joined else value
    assert header_map(ours.lines) == joined
    if not head.isascii():
        return  # h11 knows ASCII targets only
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(head)
    event = connection.next_event()
    assert isinstance(event, h11.Request)
    assert event.target == ours.target
