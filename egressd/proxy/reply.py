"""Answers that the proxy itself gives: one place where an error becomes a response."""

from __future__ import annotations

import re
from http import HTTPStatus
from urllib.parse import quote

from egressd.routing.table import ClusterKey
from egressd.telemetry.flags import ResponseFlag, join_flags

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}


class LocalReply(Exception):
    """End this exchange with an answer of our own.

    `flag` is Envoy's response flag, `details` its response code details, `text` the body.
    """

    def __init__(
        self,
        status: int,
        text: str,
        *,
        flag: ResponseFlag | tuple[ResponseFlag, ...] = (),
        details: str = "direct_response",
        headers: tuple[tuple[bytes, bytes], ...] = (),
        body: bytes | None = None,
        close: bool = False,
        grpc_status: int | None = None,
    ) -> None:
        super().__init__(text)
        self.status = status
        self.flags = (flag,) if isinstance(flag, ResponseFlag) else flag
        self.details = details
        self.headers = headers
        # A line, so that a prompt does not stand behind it (POSIX 3.206); a body as given stays so.
        self.body = (f"{text}\n" if text else "").encode() if body is None else body
        self.close = close
        self.text = text
        self.grpc_status = grpc_status  # for gRPC clients; None: what fits the HTTP status

    @property
    def flag(self) -> str:
        """The flags as the log prints them, "" for none."""
        return join_flags(self.flags)


is_grpc = re.compile(
    rb"\r\ncontent-type:[ \t]*application/grpc(?:[+; \t\r]|$)", re.IGNORECASE
).search
"""Whether field lines say that a client speaks gRPC."""

_GRPC_OF_HTTP = {400: 13, 401: 16, 403: 7, 404: 12, 429: 14, 502: 14, 503: 14, 504: 14}


def as_grpc(reply: LocalReply) -> LocalReply:
    """The same answer for a gRPC client: 200 and the status in the headers (Envoy: trailers-only)."""
    status = reply.grpc_status
    if status is None:
        if reply.status < 400:
            return reply
        status = _GRPC_OF_HTTP.get(reply.status, 2)
    fields = [(b"content-type", b"application/grpc"), (b"grpc-status", b"%d" % status)]
    if reply.text:
        fields.append(
            (b"grpc-message", quote(reply.text, safe=" !#$&'()*+,/:;=?@[]{}<>|").encode())
        )
    return LocalReply(
        200,
        "",
        flag=reply.flags,
        details=reply.details,
        headers=(*reply.headers, *fields),
        close=reply.close,
    )


class ClientGone(Exception):
    """The downstream connection ended before its exchange did (response flag DC)."""


def render_reply(reply: LocalReply, *, method: bytes, minor: int, keep_alive: bool) -> bytes:
    """The bytes of a local reply."""
    status = reply.status
    lines = [b"HTTP/1.1 %d %b\r\n" % (status, _REASONS.get(status, b"Unknown"))]
    lines += [b"%b: %b\r\n" % header for header in reply.headers]
    names = {name.lower() for name, _ in reply.headers}
    body = reply.body
    if status == 204 or status == 304 or status < 200:
        body = b""
    else:
        lines.append(b"content-length: %d\r\n" % len(body))
        if body and b"content-type" not in names:
            lines.append(b"content-type: text/plain; charset=utf-8\r\n")
    if reply.flags:
        # For people with curl: the same flag as in the access log.
        lines.append(b"x-egressd-response-flags: %b\r\n" % reply.flag.encode())
    lines.append(connection_line(minor, keep_alive))
    lines.append(b"\r\n")
    if method != b"HEAD":
        lines.append(body)
    return b"".join(lines)


def connection_line(minor: int, keep_alive: bool) -> bytes:
    """The Connection field where the version's default does not say it (RFC 9112 9.3)."""
    if not keep_alive:
        return b"connection: close\r\n"
    return b"connection: keep-alive\r\n" if minor == 0 else b""


def reason_phrase(status: int) -> bytes:
    """The standard phrase of a status, b"" for none."""
    return _REASONS.get(status, b"")


def no_endpoint(key: ClusterKey, total: int, trouble: str = "") -> str:
    """Why none of a cluster's endpoints may be chosen; `trouble` is that of its names."""
    if total == 1:
        return f"the only endpoint of {key} is ejected"
    if total:
        return f"all {total} endpoints of {key} are ejected"
    return f"{key} has no endpoints{trouble and ': '}{trouble}"
