"""Response heads: strict parsing and body framing (RFC 9112 4, 6.3)."""

from __future__ import annotations

import re
from typing import NamedTuple

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

# An example that a beginning is completed with, to see whether it can become a status line.
_EXAMPLE = b"HTTP/1.1 200 "
_CAN_BEGIN = re.compile(rb"HTTP/1\.[01] [1-9][0-9]{2}[ \r\n]").fullmatch
_END_OF_HEAD = re.compile(rb"\n\r?\n").search
_BARE_LF = re.compile(rb"(?<!\r)\n")

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


class HeadLimits(NamedTuple):
    """Bounds of a response head (Envoy `max_response_headers_kb`, `max_headers_count`)."""

    most_bytes: int
    most_fields: int


ENVOY_LIMITS = HeadLimits(60 * 1024, 100)
"""Envoy's defaults."""


def take_response(
    buffer: bytes, method: bytes, limits: HeadLimits, looked_at: int = 0
) -> tuple[ResponseHead, int] | None:
    """The head at the beginning of what an upstream sent, and where it ends; None: more is needed.

    Lines may end in a bare LF (RFC 9112 2.2), as Envoy, nginx and HAProxy take them. Nothing is waited
    for behind bytes that cannot become a status line. `looked_at` is how much of `buffer` an earlier
    call has seen. Raises `MalformedMessage`.
    """
    end = buffer.find(b"\r\n\r\n", looked_at - 3 if looked_at > 3 else 0) + 4
    parts = _HEAD(buffer[:end]) if end >= 4 else None
    if parts is None:
        found = _END_OF_HEAD(buffer) if end >= 4 else _END_OF_HEAD(buffer, max(0, looked_at - 2))
        if found is None:
            _check_beginning(buffer)
            if len(buffer) > limits.most_bytes:
                raise MalformedMessage(f"response head of more than {limits.most_bytes} bytes")
            return None
        end = found.end()
        parts = _HEAD(_BARE_LF.sub(b"\r\n", buffer[:end]))
        if parts is None:
            raise MalformedMessage("malformed response head")
    if end > limits.most_bytes:
        raise MalformedMessage(f"response head of more than {limits.most_bytes} bytes")
    response = _response_of(parts, method)
    lines = response.lines
    # A line has four bytes at least: a short head needs no count.
    if len(lines) > 4 * limits.most_fields and lines.count(b"\n") > limits.most_fields:
        raise MalformedMessage(f"response head of more than {limits.most_fields} fields")
    return response, end


def _check_beginning(buffer: bytes) -> None:
    begun = buffer[: len(_EXAMPLE)]
    if _CAN_BEGIN(begun + _EXAMPLE[len(begun) :]) is None:
        raise MalformedMessage(f"no HTTP/1 status line: {buffer[:16]!r}")


def parse_response(head: bytes, method: bytes) -> ResponseHead:
    """Parse a whole head; `method` is the request's, which decides on the body (RFC 9112 6.3).

    Raises `MalformedMessage`; the status in it is not for the client, who gets 502.
    """
    parts = _HEAD(head)
    if parts is None:
        raise MalformedMessage("malformed response head")
    return _response_of(parts, method)


def _response_of(parts: re.Match[bytes], method: bytes) -> ResponseHead:
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
