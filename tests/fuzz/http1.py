"""Heads and chunks: against h11 and llhttp, which read the same bytes on other machines.

What this proxy accepts and a peer accepts too has to mean the same to both (RFC 9112 11.2, request
smuggling). What a peer refuses that we accept is no fault of this kind.
"""

from __future__ import annotations

import re

import h11
import httptools

from egressd.proxy.http1.chunked import ChunkedDecoder
from egressd.proxy.http1.fields import MalformedMessage, header_map
from egressd.proxy.http1.request import (
    RequestHead,
    parse_request,
    read_authority,
    read_target,
)
from egressd.proxy.http1.response import UNTIL_CLOSE, ResponseHead, parse_response
from egressd.routing.path import PathNormalization, PathNormalizer
from tests.fuzz.engine import Target

_PATHS = [PathNormalizer(mode) for mode in PathNormalization]
_WORDS = [
    b"\r\n", b"\n", b"\r", b" ", b"\t", b":", b"\x00", b"\x0b", b"\x7f", b"\x85", b"\xc3\xa9", b",",
    b";", b"Host: b.x\r\n", b"Content-Length: 3\r\n", b"Content-Length: 0\r\n", b"Content-Length",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n", b"transfer-encoding",
    b"chunked", b"Connection: close\r\n", b"Connection: keep-alive, x\r\n", b"Connection: upgrade\r\n",
    b"Upgrade: websocket\r\n", b"HTTP/1.1", b"HTTP/1.0", b"HTTP/0.9", b"\r\n\r\n", b"\r\n ", b"+3",
    b"0x3", b"3, 3", b"99999999999999999999", b"X-A: b\r\n", b"Expect: 100-continue\r\n",
    b"TE: trailers\r\n", b"Keep-Alive: 5\r\n", b"http://b.x/", b"*", b"/./", b"%2e", b"//", b"?", b"#",
    b"@", b"[::1]", b":80",
]  # fmt: skip


def _kind(refused: MalformedMessage) -> str:
    """The reason without what it quotes of the input."""
    return re.split(r"['\"0-9]", refused.reason)[0]


class _Read:
    """What llhttp says."""

    def __init__(self) -> None:
        self.url = self.body = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.is_complete = self.keeps = False
        self.parser: httptools.HttpResponseParser | None = None

    def on_url(self, url: bytes) -> None:
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self.fields.append((name.lower(), value.strip(b" \t")))

    def on_body(self, body: bytes) -> None:
        self.body += body

    def on_message_complete(self) -> None:
        self.is_complete = True
        if self.parser is not None:
            self.keeps = self.parser.should_keep_alive()

    def joined(self) -> dict[bytes, bytes]:
        joined: dict[bytes, bytes] = {}
        for name, value in self.fields:
            joined[name] = joined[name] + b"," + value if name in joined else value
        return joined


def check_request_head(data: bytes) -> str:
    head = data[: data.find(b"\r\n\r\n") + 4] or data
    try:
        ours = parse_request(head)
        authority = read_target(ours, _PATHS[0])[0]
        named = read_authority(authority)
    except MalformedMessage as refused:
        return f"{refused.status} {_kind(refused)}"
    assert read_authority(named.text) == named
    assert named.host == named.host.lower()
    assert "" not in named.host.split(".")
    assert named.port is None or 0 < named.port < 65536
    for paths in _PATHS:
        _path_is_normal(ours, paths)
    assert ours.length >= 0
    assert not (ours.chunked and ours.length)
    forwarded = parse_request(b"GET / HTTP/1.1\r\n" + _with_host(ours) + b"\r\n")
    hidden = header_map(forwarded.lines)
    for name in (b"connection", b"transfer-encoding", b"te", b"keep-alive", b"upgrade"):
        assert name not in hidden, f"{name!r} goes on"
    _request_as_llhttp(head, ours)
    _request_as_h11(head, ours)
    return f"{ours.chunked} {ours.length > 0} {ours.keep_alive} {bool(ours.upgrade)} {ours.minor}"


def _path_is_normal(ours: RequestHead, paths: PathNormalizer) -> None:
    """What goes on is left as it is by the next one that normalizes, and is a target."""
    try:
        _, path, query, compared = read_target(ours, paths)
    except MalformedMessage:
        return
    again = RequestHead(ours.method, path, 1, b"")
    assert read_target(again, paths) == (b"", path, b"", compared)
    assert not any(c in path + query for c in b" \t\r\n\x00#")
    if paths.mode is not PathNormalization.NONE:
        assert not any(part in (b".", b"..") for part in path.split(b"/"))
        assert b"/%2e" not in path.lower()


def _with_host(ours: RequestHead) -> bytes:
    lines = ours.end_to_end_lines()
    return lines if b"host" in header_map(lines) else b"Host: a.x\r\n" + lines


def _request_as_llhttp(head: bytes, ours: RequestHead) -> None:
    peer = _Read()
    parser = httptools.HttpRequestParser(peer)
    upgrades = False
    try:
        parser.feed_data(head)
    except httptools.HttpParserUpgrade:
        upgrades = True  # also in HTTP/1.0, where it is none (RFC 9110 7.8)
    except httptools.HttpParserError:
        return
    assert parser.get_method() == ours.method
    assert peer.url == ours.target
    assert header_map(ours.lines) == peer.joined()
    assert upgrades or peer.is_complete == (not ours.has_body), "where the body ends"


def _request_as_h11(head: bytes, ours: RequestHead) -> None:
    connection = h11.Connection(h11.SERVER)
    try:
        connection.receive_data(head)
        event = connection.next_event()
    except h11.RemoteProtocolError:
        return
    assert isinstance(event, h11.Request)
    assert (event.method, event.target) == (ours.method, ours.target)


def check_response_head(data: bytes) -> str:
    method = b"HEAD" if data[:1] == b"!" else b"GET"
    data = data.removeprefix(b"!")
    head = data[: data.find(b"\r\n\r\n") + 4] or data
    try:
        ours = parse_response(head, method)
    except MalformedMessage as refused:
        return _kind(refused)
    assert ours.length >= UNTIL_CLOSE
    assert not (ours.length == UNTIL_CLOSE and not ours.chunked and ours.keep_alive)
    again = parse_response(b"HTTP/1.1 200 OK\r\n" + ours.end_to_end_lines() + b"\r\n", b"GET")
    hidden = header_map(again.lines)
    for name in (b"connection", b"transfer-encoding", b"te", b"keep-alive", b"upgrade"):
        assert name not in hidden, f"{name!r} goes on"
    if method == b"GET":
        _response_as_llhttp(head, ours)
    return (
        f"{ours.chunked} {min(ours.length, 1)} {ours.keep_alive} {ours.status // 100} {ours.minor}"
    )


def _response_as_llhttp(head: bytes, ours: ResponseHead) -> None:
    peer = _Read()
    peer.parser = parser = httptools.HttpResponseParser(peer)
    try:
        parser.feed_data(head)
    except (httptools.HttpParserError, httptools.HttpParserUpgrade):
        return
    assert parser.get_status_code() == ours.status
    named, theirs = header_map(ours.lines), peer.joined()
    for name in (b"content-length", b"transfer-encoding"):
        assert named.get(name) == theirs.get(name)
    if ours.status >= 200:
        has_none = ours.length == 0 and not ours.chunked
        assert peer.is_complete == has_none, "where the body ends"
        assert peer.keeps or not ours.keep_alive or not has_none, "whether the connection goes on"


def check_chunked_body(data: bytes) -> str:
    whole, told = _decoded([data])
    for pieces in (
        [data[at : at + 1] for at in range(len(data))],
        [data[: len(data) // 2], data[len(data) // 2 :]],
    ):
        assert _decoded(pieces) == (whole, told), "a split changes what is read"
    if whole is None:
        return told
    _chunks_as_llhttp(data, whole)
    _chunks_as_h11(data, whole)
    return f"{told} {min(len(whole), 3)}"


def _decoded(pieces: list[bytes]) -> tuple[bytes | None, str]:
    """The body of what is whole; None, and why, of what is refused or not at its end."""
    decoder = ChunkedDecoder()
    body = b""
    try:
        for at, piece in enumerate(pieces):
            body += decoder.feed(piece)
            if decoder.done:
                rest = decoder.rest + b"".join(pieces[at + 1 :])
                return body, f"rest {bool(rest)} trailers {bool(decoder.trailers)}"
    except MalformedMessage as refused:
        return None, _kind(refused)
    return None, "more"


def _chunks_as_llhttp(data: bytes, body: bytes) -> None:
    peer = _Read()
    parser = httptools.HttpResponseParser(peer)
    try:
        parser.feed_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
    except httptools.HttpParserError:
        if not peer.is_complete:
            return  # what is refused behind the end is the next message
    assert peer.body[: len(body)] == body
    assert peer.is_complete


def _chunks_as_h11(data: bytes, body: bytes) -> None:
    connection = h11.Connection(h11.CLIENT)
    connection.send(h11.Request(method="GET", target="/", headers=[("Host", "a.x")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + data)
    read = b""
    try:
        while True:
            event = connection.next_event()
            if isinstance(event, h11.Data):
                read += event.data
            elif event is h11.NEED_DATA or isinstance(event, h11.EndOfMessage | h11.PAUSED):
                break
    except h11.RemoteProtocolError:
        return
    assert read == body


_GET = b"GET /a?b HTTP/1.1\r\nHost: a.x\r\n"
REQUEST_HEAD = Target(
    check_request_head,
    [
        _GET + b"\r\n",
        _GET + b"Connection: x, keep-alive\r\nX: 1\r\nTE: trailers\r\nX-Y: caf\xc3\xa9\r\n\r\n",
        b"POST http://a.x:80/ HTTP/1.1\r\nHost: b.x\r\nContent-Length: 3\r\n\r\n",
        b"POST / HTTP/1.1\r\nHost: [::1]:80\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        _GET + b"Connection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"OPTIONS * HTTP/1.1\r\nHost: a.x\r\nExpect: 100-continue\r\n\r\n",
    ],
    _WORDS,
)
_OK = b"HTTP/1.1 200 OK\r\n"
RESPONSE_HEAD = Target(
    check_response_head,
    [
        _OK + b"Content-Length: 3\r\n\r\n",
        _OK + b"Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n",
        b"!" + _OK + b"Content-Length: 3\r\n\r\n",
        b"HTTP/1.0 200\r\nConnection: close\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n",
        b"HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
        b"HTTP/1.1 103 Early Hints\r\nLink: </s>\r\n\r\n",
    ],
    _WORDS,
)
CHUNKED_BODY = Target(
    check_chunked_body,
    [
        b"4\r\nWiki\r\nA;ext=1\r\npedia in c\r\n0\r\n\r\n",
        b"1\r\na\r\n0\r\nX-Sum: 9\r\nHost: no\r\n\r\nNEXT",
        b"0\r\n\r\n",
        b"00003\r\nabc\r\n000\r\n\r\n",
    ],
    [*_WORDS, b"0\r\n", b"1\r\na\r\n", b"fffffff", b";x=y", b'"', b"A", b"0" * 20],
)
