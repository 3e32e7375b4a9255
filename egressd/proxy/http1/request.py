"""Request heads: strict parsing, and the head that goes upstream (RFC 9112 3, 6; RFC 9110 7)."""

from __future__ import annotations

import re

from egressd.proxy.http1.fields import (
    ENVOY_PREFIX,
    FIELD_LINES,
    TOKEN,
    MalformedMessage,
    connection_options,
    content_length,
    without_envoy_headers,
    without_hop_by_hop,
)
from egressd.routing.authority import Authority, InvalidName, parse_authority
from egressd.routing.path import PLAIN, InvalidPath, PathNormalizer, comparable_path

# The target: visible characters but '#', which has no place on the wire (RFC 9112 3.2).
_HEAD = re.compile(
    rb"(" + TOKEN + rb") ([\x21\x22\x24-\x7e\x80-\xff]++) HTTP/1\.([01])(\r\n"
    rb"(?:" + FIELD_LINES + rb"))\r\n"
).fullmatch
_SPECIAL = re.compile(
    rb"\r\n(host|connection|content-length|transfer-encoding|x-request-id|x-envoy-[^:\r]*+|expect|upgrade|te"
    rb"|keep-alive|proxy-connection|proxy-authorization|http2-settings):[ \t]*+([^\r]*+)",
    re.IGNORECASE,
).findall
_NONE: frozenset[bytes] = frozenset()

METHODS = frozenset(
    b"ACL BASELINE-CONTROL BIND CHECKIN CHECKOUT CONNECT COPY DELETE GET HEAD LABEL LINK LOCK MERGE "
    b"MKACTIVITY MKCALENDAR MKCOL MKREDIRECTREF MKWORKSPACE MOVE OPTIONS ORDERPATCH PATCH POST PROPFIND "
    b"PROPPATCH PUT REBIND REPORT SEARCH TRACE UNBIND UNCHECKOUT UNLINK UNLOCK UPDATE UPDATEREDIRECTREF "
    b"VERSION-CONTROL M-SEARCH MSEARCH NOTIFY PURGE SOURCE SUBSCRIBE UNSUBSCRIBE".split()
)
"""Methods that a request may have: those of IANA's registry, and those that Envoy knows besides. They
are compared with case (RFC 9110 9.1)."""


class RequestHead:
    """One request head. `lines` is the raw field block, each line ending in CRLF."""

    __slots__ = (
        "chunked",
        "envoy",
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
        self.request_id = b""
        self.envoy: dict[bytes, bytes] | None = None  # `x-envoy-*` fields, lower-cased names

    @property
    def has_body(self) -> bool:
        return self.length > 0 or self.chunked

    def end_to_end_lines(self) -> bytes:
        """The field lines that go on to the next hop."""
        lines = self.lines if self.envoy is None else without_envoy_headers(self.lines)
        if not self.has_hop_by_hop:
            return lines
        return without_hop_by_hop(lines, self.options)

    def ignore_envoy_headers(self) -> None:
        """Drop `x-envoy-*` fields before anything looks at them: the client may override nothing."""
        if self.envoy is not None:
            self.lines, self.envoy = without_envoy_headers(self.lines), None


def parse_request(head: bytes, methods: frozenset[bytes] = METHODS) -> RequestHead:
    """Parse a whole head, final empty line included. Raises `MalformedMessage`."""
    parts = _HEAD(head)
    if parts is None:
        raise MalformedMessage("malformed request head", _status_of_malformed(head))
    method, target, minor, lines = parts.groups()
    if method not in methods:
        raise MalformedMessage(f"unknown method {method.decode()[:40]!r} (http.extensionMethods)")
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
        elif name.startswith(ENVOY_PREFIX):
            envoy = request.envoy = request.envoy or {}
            envoy[name] = b"%b,%b" % (envoy[name], value) if name in envoy else value
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
        request.upgrade = b"%b,%b" % (request.upgrade, value) if request.upgrade else value


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


_ABSOLUTE = re.compile(rb"(?i:https?)://([^/?]*+)([^\r\n]*+)").fullmatch


def read_authority(raw: bytes) -> Authority:
    """`parse_authority` for what a client sent. Raises `MalformedMessage`."""
    try:
        return parse_authority(raw)
    except InvalidName as error:
        raise MalformedMessage(str(error)) from None


Target = tuple[bytes, bytes, bytes, bytes]
"""What a request that is not CONNECT is for: authority, path, query, and the path as it is compared.

The authority is as it was sent; the absolute form's replaces Host (RFC 9112 3.2.2). The path is
normalized, and goes on; routes and policies look at the last one, see `comparable_path`.
"""


def read_target(request: RequestHead, paths: PathNormalizer) -> Target:
    """Raises `MalformedMessage` for what is no target (RFC 9112 3.2), or one whose path is refused."""
    target = request.target
    path, _, query = target.partition(b"?")
    if (
        target[0] == 0x2F  # "/"
        and path.translate(PLAIN).isalnum()
        and (0x2E not in path or path.find(b"/.") < 0)
        and (not paths.merges or path.find(b"//") < 0)
    ):
        return request.host, path, query, path
    authority, target = _split_authority(request)
    path, _, query = target.partition(b"?")
    if path == b"*":
        return authority, path, query, path
    try:
        path = paths(path)
    except InvalidPath as error:
        raise MalformedMessage(str(error)) from None
    return authority, path, query, comparable_path(path)


def _split_authority(request: RequestHead) -> tuple[bytes, bytes]:
    target = request.target
    if target[0] == 0x2F:  # "/"
        return request.host, target
    if target == b"*":
        if request.method != b"OPTIONS":
            raise MalformedMessage("target '*' is for OPTIONS only")
        return request.host, target
    parts = _ABSOLUTE(target)
    if parts is None:
        raise MalformedMessage("invalid request target")
    _check_replaced_host(request)
    authority, target = parts.groups()
    if not target:
        target = b"*" if request.method == b"OPTIONS" else b"/"
    elif target[0] == 0x3F:  # "?"
        target = b"/" + target
    return authority, target


def read_connect(request: RequestHead) -> tuple[Authority, int]:
    """What a CONNECT is for, and its port (RFC 9110 9.3.6). Raises `MalformedMessage`."""
    _check_replaced_host(request)
    authority = read_authority(request.target)
    if authority.port is None:
        raise MalformedMessage("CONNECT needs host:port")
    return authority, authority.port


def _check_replaced_host(request: RequestHead) -> None:
    """A Host field that the target replaces is not looked at, and still refused (RFC 9112 3.2)."""
    if request.host:
        read_authority(request.host)


_GIVES_WAY = re.compile(rb"h2c|tls/.*").fullmatch


def settle_upgrade(request: RequestHead, allowed: frozenset[bytes]) -> bool:
    """Keep of Upgrade the one protocol that is allowed (RFC 9110 7.8). False: it asks for another.

    h2c and TLS/x go unheeded, as in Envoy and Istio: the request is served as it is.
    """
    offered = [part.strip(b" \t") for part in request.upgrade.lower().split(b",")]
    wanted = [one for one in offered if one and not _GIVES_WAY(one)]
    request.upgrade = wanted[0] if wanted else b""
    return not wanted or (len(wanted) == 1 and wanted[0] in allowed)
