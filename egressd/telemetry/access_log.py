"""The access log as values: an entry per exchange, a bounded queue, and the two line formats.

No I/O here: `AccessLog.add` only appends, `drain` formats a batch, `access_log_sink` writes it. Field
names and orders are Istio's default JSON and text formats. What a client sent is never trusted: a
line is printable ASCII save for valid UTF-8 letters in JSON, and one entry is always one line.
"""

from __future__ import annotations

import re
import time
from collections import deque
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal

import msgspec

LogFormat = Literal["json", "text"]

DEFAULT_QUEUE_LIMIT = 16_384


class AccessEntry(msgspec.Struct, gc=False):
    """One finished exchange. Wire strings are bytes as they came; empty means absent."""

    start_time_s: float  # seconds since the epoch
    method: bytes
    path: bytes  # as forwarded, after a rewrite
    protocol: bytes  # b"HTTP/1.1"
    response_code: int
    response_flags: str = "-"
    response_code_details: str = ""  # "via_upstream", "route_not_found", ...
    bytes_received: int = 0  # request body
    bytes_sent: int = 0  # response body
    duration_ms: int = 0
    upstream_service_time_ms: int = -1  # to the response head; -1 = no response head
    authority: bytes = b""
    user_agent: bytes = b""
    request_id: bytes = b""
    x_forwarded_for: bytes = b""
    upstream_host: str = ""  # "10.0.0.1:8080"
    upstream_cluster: str = ""
    upstream_local_address: str = ""
    downstream_local_address: str = ""
    downstream_remote_address: str = ""
    route_name: str = ""
    original_path: bytes = b""  # before a rewrite; empty = not rewritten
    connection_termination_details: str = ""
    upstream_transport_failure_reason: str = ""
    requested_server_name: bytes = b""


class AccessLog:
    """The bounded queue between the exchanges and the sink; past the bound lines are dropped and
    counted, traffic goes on."""

    __slots__ = ("_format", "_limit", "_queue", "_wake", "_wake_at", "dropped")

    def __init__(
        self,
        log_format: LogFormat = "json",
        limit: int = DEFAULT_QUEUE_LIMIT,
        wake_at: int = 1_024,
    ) -> None:
        self.dropped = 0
        self._queue: deque[AccessEntry] = deque()
        self._limit = limit
        self._wake_at = wake_at
        self._wake: Callable[[], None] = _nothing
        self._format = format_json if log_format == "json" else format_text

    def add(self, entry: AccessEntry) -> None:
        """Queue one entry. Hot: no formatting, no I/O."""
        queue = self._queue
        if len(queue) >= self._limit:
            self.dropped += 1
            return
        queue.append(entry)
        if len(queue) == self._wake_at:
            self._wake()

    def on_full_batch(self, wake: Callable[[], None]) -> None:
        """Call `wake` each time that the queue grows to a full batch."""
        self._wake = wake

    def __len__(self) -> int:
        return len(self._queue)

    def drain(self, most: int | None = None) -> bytes:
        """Take up to `most` queued entries (all by default) and format them, one line each."""
        queue = self._queue
        count = len(queue) if most is None else min(most, len(queue))
        return self._format([queue.popleft() for _ in range(count)])


class _JsonLine(msgspec.Struct, gc=False):
    """Istio's JSON fields in Istio's order; absent values are null."""

    start_time: str
    method: str
    path: str
    protocol: str
    response_code: int
    response_flags: str
    response_code_details: str | None
    connection_termination_details: str | None
    upstream_transport_failure_reason: str | None
    bytes_received: int
    bytes_sent: int
    duration: int
    upstream_service_time: int | None
    x_forwarded_for: str | None
    user_agent: str | None
    request_id: str | None
    authority: str | None
    upstream_host: str | None
    upstream_cluster: str | None
    upstream_local_address: str | None
    downstream_local_address: str | None
    downstream_remote_address: str | None
    requested_server_name: str | None
    route_name: str | None


def format_json(entries: Sequence[AccessEntry]) -> bytes:
    """JSON lines with Istio's field names."""
    data = _encoder.encode_lines([_json_line(entry) for entry in entries])
    # The encoder escapes quotes and C0 controls. Only a batch with other odd characters (DEL, C1
    # controls, Unicode separators) pays for looking for them.
    if data.isascii() and b"\x7f" not in data:
        return data
    return _UNPRINTABLE.sub(_escape_json, data.decode()).encode()


def _json_line(e: AccessEntry) -> _JsonLine:
    """Positional, in field order: this is most of the cost of a line."""
    return _JsonLine(
        _timestamp(e.start_time_s),
        _text(e.method),
        _text(e.original_path or e.path),
        _text(e.protocol),
        e.response_code,
        e.response_flags,
        e.response_code_details or None,
        e.connection_termination_details or None,
        e.upstream_transport_failure_reason or None,
        e.bytes_received,
        e.bytes_sent,
        e.duration_ms,
        None if e.upstream_service_time_ms < 0 else e.upstream_service_time_ms,
        _text(e.x_forwarded_for) or None,
        _text(e.user_agent) or None,
        _text(e.request_id) or None,
        _text(e.authority) or None,
        e.upstream_host or None,
        e.upstream_cluster or None,
        e.upstream_local_address or None,
        e.downstream_local_address or None,
        e.downstream_remote_address or None,
        _text(e.requested_server_name) or None,
        e.route_name or None,
    )


def format_text(entries: Sequence[AccessEntry]) -> bytes:
    """Istio's default text format (Envoy's with the details, addresses and route name)."""
    return "".join([_text_line(entry) for entry in entries]).encode("ascii")


def _text_line(e: AccessEntry) -> str:
    service_time = "-" if e.upstream_service_time_ms < 0 else str(e.upstream_service_time_ms)
    return (
        f'[{_timestamp(e.start_time_s)}] "{_quoted(_text(e.method))}'
        f' {_quoted(_text(e.original_path or e.path))} {_quoted(_text(e.protocol))}"'
        f" {e.response_code} {_word(e.response_flags)} {_word(e.response_code_details)}"
        f" {_word(e.connection_termination_details)}"
        f' "{_quoted(e.upstream_transport_failure_reason)}"'
        f" {e.bytes_received} {e.bytes_sent} {e.duration_ms} {service_time}"
        f' "{_quoted(_text(e.x_forwarded_for))}" "{_quoted(_text(e.user_agent))}"'
        f' "{_quoted(_text(e.request_id))}" "{_quoted(_text(e.authority))}"'
        f' "{_quoted(e.upstream_host)}" {_word(e.upstream_cluster)}'
        f" {_word(e.upstream_local_address)} {_word(e.downstream_local_address)}"
        f" {_word(e.downstream_remote_address)} {_word(_text(e.requested_server_name))}"
        f" {_word(e.route_name)}\n"
    )


def _text(raw: bytes) -> str:
    """Wire bytes as text; bytes that are not UTF-8 appear as \\xNN."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("utf-8", "backslashreplace")


def _quoted(value: str) -> str:
    """Safe between double quotes; "-" when absent."""
    if not value:
        return "-"
    return _ODD_IN_QUOTES.sub(_escape_text, value) if _ODD_IN_QUOTES.search(value) else value


def _word(value: str) -> str:
    """Safe outside quotes: one word, so that the columns stay apart; "-" when absent."""
    return _quoted(value).replace(" ", "_")


def _escape_text(found: re.Match[str]) -> str:
    char = found[0]
    if char in '"\\':
        return "\\" + char
    code = ord(char)
    return f"\\x{code:02x}" if code < 0x80 else char.encode("ascii", "backslashreplace").decode()


def _escape_json(found: re.Match[str]) -> str:
    code = ord(found[0])
    if code < 0x10000:
        return f"\\u{code:04x}"
    high, low = divmod(code - 0x10000, 0x400)
    return f"\\u{0xD800 + high:04x}\\u{0xDC00 + low:04x}"


def _timestamp(seconds: float) -> str:
    """RFC 3339 in UTC with milliseconds, as Envoy prints `%START_TIME%`."""
    millis = int(seconds * 1000)
    return f"{_second(millis // 1000)}.{millis % 1000:03d}Z"


@lru_cache(maxsize=64)
def _second(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


def _nothing() -> None:
    """The wake-up of a log without a sink."""


_ODD_IN_QUOTES = re.compile(r"[^ !#-\[\]-~]")  # all but printable ASCII, and '"' and '\'
# Characters that a terminal or a line splitter could act on: DEL, C1 controls, soft and zero-width
# marks, line and paragraph separators, bidirectional overrides, byte order mark, tags.
_UNPRINTABLE = re.compile(
    "[\x7f-\x9f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\U000e0000-\U000e0fff]"
)
_encoder = msgspec.json.Encoder()
