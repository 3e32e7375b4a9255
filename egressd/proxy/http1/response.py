"""Response heads: strict parsing and body framing (RFC 9112 4, 6.3)."""

from __future__ import annotations

import re

from egressd.proxy.http1.fields import (
    FIELD_LINES,
    MalformedMessage,
    connection_options,
    content_length,
    without_hop_by_hop,
)

_HEAD = re.compile(
    rb"HTTP/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*+))?(\r\n"
    rb"(?:" + FIELD_LINES + rb"))\r\n"
).fullmatch
_SPECIAL = re.compile(
    rb"\r\n(connection|content-length|transfer-encoding|keep-alive|upgrade|te|proxy-connection"
    rb"|proxy-authenticate):[ \t]*+([^\r]*+)",
    re.IGNORECASE,
).findall
_NONE: frozenset[bytes] = frozenset()
_PLAIN_KEEP_ALIVE = b"\r\nConnection: keep-alive\r\n"

UNTIL_CLOSE = -1


class ResponseHead:
    """One response head. `length` is the body's, UNTIL_CLOSE where only the end tells."""

    __slots__ = (
        "chunked",
        "has_hop_by_hop",
        "keep_alive",
        "length",
        "lines",
        "minor",
        "options",
        "reason",
        "status",
        "upgrade",
    )

    def __init__(self, minor: int, status: int, reason: bytes, lines: bytes) -> None:
        self.minor = minor
        self.status = status
        self.reason = reason
        self.lines = lines
        self.length = UNTIL_CLOSE
        self.chunked = False
        self.keep_alive = minor == 1
        self.options = _NONE
        self.has_hop_by_hop = False
        self.upgrade = b""

    def end_to_end_lines(self) -> bytes:
        """The field lines that go on to the client."""
        lines = self.lines
        if self.has_hop_by_hop:
            lines = without_hop_by_hop(lines, self.options)
        if self.status == 204 or self.status < 200:
            lines = _without_length(lines)  # RFC 9110 8.6: never in these
        return lines


def parse_response(head: bytes, method: bytes) -> ResponseHead:
    """Parse a whole head; `method` is the request's, which decides on the body (RFC 9112 6.3).

    Raises `MalformedMessage`; the status in it is not for the client, who gets 502.
    """
    parts = _HEAD(head)
    if parts is None:
        raise MalformedMessage("malformed response head")
    minor, status, reason, lines = parts.groups()
    # The one hop-by-hop line that nearly every server sends, taken out without splitting.
    plain = _PLAIN_KEEP_ALIVE in lines
    if plain:
        lines = lines.replace(_PLAIN_KEEP_ALIVE, b"\r\n", 1)
    response = ResponseHead(1 if minor == b"1" else 0, int(status), reason or b"", lines[2:])
    if plain:
        response.keep_alive = True
    lengths = 0
    for raw_name, raw_value in _SPECIAL(lines):
        name = raw_name.lower()
        value = raw_value.rstrip(b" \t")
        if name == b"content-length":
            lengths += 1
            response.length = content_length(value)
        else:
            _read_hop_by_hop(response, name, value)
    if lengths > 1:
        raise MalformedMessage("several Content-Length fields")
    if response.chunked and lengths:
        raise MalformedMessage("Content-Length with Transfer-Encoding")
    if (
        response.status == 204
        or response.status == 304
        or response.status < 200
        or method == b"HEAD"
    ):
        response.length = 0
        response.chunked = False
    if response.options:
        if b"close" in response.options:
            response.keep_alive = False
        elif b"keep-alive" in response.options:
            response.keep_alive = True
    if response.length == UNTIL_CLOSE and not response.chunked:
        response.keep_alive = False
    return response


def _read_hop_by_hop(response: ResponseHead, name: bytes, value: bytes) -> None:
    response.has_hop_by_hop = True
    if name == b"connection":
        response.options = connection_options(value, response.options)
    elif name == b"transfer-encoding":
        if response.minor == 0 or response.chunked or value.lower() != b"chunked":
            raise MalformedMessage("unknown transfer coding")
        response.chunked = True
    elif name == b"upgrade":
        response.upgrade = value


def _without_length(lines: bytes) -> bytes:
    kept = [
        line
        for line in lines.split(b"\r\n")
        if line[: line.find(b":")].lower() != b"content-length"
    ]
    return b"\r\n".join(kept)
