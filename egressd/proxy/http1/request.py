"""Request heads: strict parsing, and the head that goes upstream (RFC 9112 3, 6; RFC 9110 7)."""

from __future__ import annotations

import re

from egressd.proxy.http1.fields import (
    FIELD_LINES,
    TOKEN,
    MalformedMessage,
    connection_options,
    content_length,
    without_hop_by_hop,
)

# The target: visible characters but '#', which has no place on the wire (RFC 9112 3.2).
_HEAD = re.compile(
    rb"(" + TOKEN + rb") ([\x21\x22\x24-\x7e\x80-\xff]++) HTTP/1\.([01])(\r\n"
    rb"(?:" + FIELD_LINES + rb"))\r\n"
).fullmatch
_SPECIAL = re.compile(
    rb"\r\n(host|connection|content-length|transfer-encoding|x-request-id|expect|upgrade|te"
    rb"|keep-alive|proxy-connection|proxy-authorization|http2-settings):[ \t]*+([^\r]*+)",
    re.IGNORECASE,
).findall
_NONE: frozenset[bytes] = frozenset()


class RequestHead:
    """One request head. `lines` is the raw field block, each line ending in CRLF."""

    __slots__ = (
        "chunked",
        "expects_continue",
        "has_hop_by_hop",
        "host",
        "keep_alive",
        "length",
        "lines",
        "method",
        "minor",
        "options",
        "request_id",
        "target",
        "te_trailers",
        "upgrade",
    )

    def __init__(self, method: bytes, target: bytes, minor: int, lines: bytes) -> None:
        self.method = method
        self.target = target
        self.minor = minor
        self.lines = lines
        self.host = b""
        self.length = 0  # of the body; 0 also when it is chunked
        self.chunked = False
        self.keep_alive = minor == 1
        self.options = _NONE
        self.has_hop_by_hop = False
        self.expects_continue = False
        self.upgrade = b""
        self.te_trailers = False
        self.request_id = b""

    @property
    def has_body(self) -> bool:
        return self.length > 0 or self.chunked

    def end_to_end_lines(self) -> bytes:
        """The field lines that go on to the next hop."""
        if not self.has_hop_by_hop:
            return self.lines
        return without_hop_by_hop(self.lines, self.options)


def parse_request(head: bytes) -> RequestHead:
    """Parse a whole head, final empty line included. Raises `MalformedMessage`."""
    parts = _HEAD(head)
    if parts is None:
        raise MalformedMessage("malformed request head", _status_of_malformed(head))
    method, target, minor, lines = parts.groups()
    request = RequestHead(method, target, 1 if minor == b"1" else 0, lines[2:])
    hosts = lengths = 0
    for raw_name, raw_value in _SPECIAL(lines):
        name = raw_name.lower()
        value = raw_value.rstrip(b" \t")
        if name == b"host":
            hosts += 1
            request.host = value
        elif name == b"x-request-id":
            request.request_id = value
        elif name == b"content-length":
            lengths += 1
            request.length = content_length(value)
        elif name == b"expect":
            request.expects_continue = _expects_continue(value, request.minor)
        else:
            _read_hop_by_hop(request, name, value)
    if hosts > 1:
        raise MalformedMessage("several Host fields")
    if hosts == 0 and request.minor == 1:
        raise MalformedMessage("no Host field")
    if lengths > 1:
        raise MalformedMessage("several Content-Length fields")
    if request.chunked and lengths:
        raise MalformedMessage("Content-Length with Transfer-Encoding")
    if request.has_hop_by_hop:
        _settle_connection(request)
    return request


def _expects_continue(value: bytes, minor: int) -> bool:
    if value.lower() != b"100-continue":
        raise MalformedMessage("unknown expectation", 417)
    return minor == 1  # RFC 9110 10.1.1: ignored in HTTP/1.0


def _read_hop_by_hop(request: RequestHead, name: bytes, value: bytes) -> None:
    request.has_hop_by_hop = True
    if name == b"connection":
        request.options = connection_options(value, request.options)
    elif name == b"transfer-encoding":
        if request.minor == 0:
            raise MalformedMessage("Transfer-Encoding in HTTP/1.0")
        if request.chunked:
            raise MalformedMessage("several Transfer-Encoding fields")
        if value.lower() != b"chunked":
            raise MalformedMessage("unknown transfer coding", 501)
        request.chunked = True
    elif name == b"upgrade":
        request.upgrade = value
    elif name == b"te" and b"trailers" in value.lower():
        request.te_trailers = True


def _settle_connection(request: RequestHead) -> None:
    options = request.options
    if b"close" in options:
        request.keep_alive = False
    elif request.minor == 0 and b"keep-alive" in options:
        request.keep_alive = True
    if b"upgrade" not in options or request.minor == 0:
        request.upgrade = b""


def _status_of_malformed(head: bytes) -> int:
    """505 for a version that is not ours (RFC 9110 15.6.6), 400 for all else."""
    line = head[: head.find(b"\r\n")]
    version = line.rpartition(b" ")[2]
    if re.fullmatch(rb"HTTP/[0-9]\.[0-9]", version) and version[5:7] != b"1.":
        return 505
    return 400


_AUTHORITY = re.compile(
    rb"(?:[A-Za-z0-9_](?:[A-Za-z0-9_.\-]{0,252}[A-Za-z0-9_.])?|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?"
).fullmatch
_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]*+)([^\r\n]*+)").fullmatch


def split_authority(authority: bytes) -> tuple[str, int | None]:
    """Host (lower case, without brackets and trailing dot) and port of an authority (RFC 3986 3.2).

    Raises `MalformedMessage` for anything else than a DNS name or address with an optional port;
    user information is refused (RFC 9110 4.2.4).
    """
    if _AUTHORITY(authority) is None:
        raise MalformedMessage(f"invalid Host {authority.decode('latin-1')!r}")
    text = authority.decode("ascii").lower()
    port: int | None = None
    if text.startswith("["):
        host, _, rest = text[1:].partition("]")
        port_text = rest[1:]
    else:
        host, _, port_text = text.partition(":")
        host = host.removesuffix(".")
    if port_text:
        port = int(port_text)
        if not 0 < port < 65536:
            raise MalformedMessage(f"invalid port {port}")
    if not host:
        raise MalformedMessage("empty Host")
    return host, port


def split_target(request: RequestHead) -> tuple[bytes, bytes, bytes]:
    """Authority, path and query of a request that is not CONNECT (RFC 9112 3.2).

    The absolute form's authority replaces Host (RFC 9112 3.2.2). Raises `MalformedMessage`.
    """
    target = request.target
    authority = request.host
    if target[0] != 0x2F:  # "/"
        if target == b"*":
            if request.method != b"OPTIONS":
                raise MalformedMessage("target '*' is for OPTIONS only")
            return authority, target, b""
        parts = _ABSOLUTE(target)
        if parts is None:
            raise MalformedMessage("invalid request target")
        authority, target = parts.groups()
        if not target:
            target = b"*" if request.method == b"OPTIONS" else b"/"
        elif target[0] == 0x3F:  # "?"
            target = b"/" + target
    path, _, query = target.partition(b"?")
    return authority, path, query
