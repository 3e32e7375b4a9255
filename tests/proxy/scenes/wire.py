"""Bytes of HTTP/1.1 as a peer reads them: messages told apart, chunks merged, for comparing.

Deliberately not the proxy's own codec. A split write makes other chunks of the same body, so bytes are
compared with each chunked body as one chunk.
"""

from __future__ import annotations

from typing import NamedTuple


class Message(NamedTuple):
    """One message: its head, what came of its body (chunks merged), and whether it came whole."""

    head: bytes
    body: bytes
    complete: bool
    trailers: bytes = b""
    is_chunked: bool = False
    until_close: bool = False

    @property
    def status(self) -> int:
        words = self.head.split(b" ", 2)
        return int(words[1]) if len(words) > 1 and words[1].isdigit() else 0

    def render(self) -> bytes:
        """The message with its chunks merged into one."""
        if not self.is_chunked:
            return self.head + self.body
        chunk = b"%x\r\n%b\r\n" % (len(self.body), self.body) if self.body else b""
        last = b"0\r\n%b\r\n" % self.trailers if self.complete else b""
        return self.head + chunk + last


def fields(head: bytes) -> dict[bytes, bytes]:
    """Lower-cased names to values of a head."""
    lines = head.split(b"\r\n")[1:]
    pairs = (line.partition(b":") for line in lines if line)
    return {name.lower(): value.strip() for name, _, value in pairs}


def responses(data: bytes, methods: list[bytes]) -> tuple[list[Message], bytes]:
    """The responses to requests with these methods (interim ones are messages of their own), and what
    is no message: bytes of a tunnel, or behind the last answer."""
    found: list[Message] = []
    waiting = list(methods)
    while data:
        method = waiting[0] if waiting else b"GET"
        head, data = _head(data)
        if not head.endswith(b"\r\n\r\n"):
            return [*found, Message(head, b"", False)], b""
        message = Message(head, b"", True)
        status = message.status
        if status < 200 and status != 101:
            found.append(message)
            continue
        if waiting:
            waiting.pop(0)
        if status == 101 or (method == b"CONNECT" and 200 <= status < 300):
            return [*found, message], data
        if status not in (204, 304) and method != b"HEAD":
            message, data = _body(head, data, is_response=True)
        found.append(message)
    return found, b""


def requests(data: bytes) -> tuple[list[Message], bytes]:
    """The requests in what a client wrote, and the bytes behind a CONNECT. What comes behind
    an Upgrade looks like the beginning of a request."""
    found: list[Message] = []
    while data:
        head, data = _head(data)
        if not head.endswith(b"\r\n\r\n"):
            return [*found, Message(head, b"", False)], b""
        if head.startswith(b"CONNECT "):
            return [*found, Message(head, b"", True)], data
        message, data = _body(head, data, is_response=False)
        found.append(message)
    return found, b""


def merged_responses(data: bytes, methods: list[bytes]) -> bytes:
    """The same bytes with each chunked body as one chunk."""
    found, rest = responses(data, methods)
    return b"".join(message.render() for message in found) + rest


def merged_requests(data: bytes) -> bytes:
    found, rest = requests(data)
    return b"".join(message.render() for message in found) + rest


def _head(data: bytes) -> tuple[bytes, bytes]:
    end = data.find(b"\r\n\r\n")
    return (data, b"") if end < 0 else (data[: end + 4], data[end + 4 :])


def _body(head: bytes, data: bytes, *, is_response: bool) -> tuple[Message, bytes]:
    named = fields(head)
    if named.get(b"transfer-encoding", b"").lower() == b"chunked":
        return _chunks(head, data)
    length = named.get(b"content-length")
    if length is None or not length.isdigit():
        if is_response:
            return Message(head, data, True, until_close=True), b""
        return Message(head, b"", True), data
    size = int(length)
    return Message(head, data[:size], len(data) >= size), data[size:]


def _chunks(head: bytes, data: bytes) -> tuple[Message, bytes]:
    body = b""
    while True:
        line, ended, rest = data.partition(b"\r\n")
        if not ended:
            return Message(head, body, False, is_chunked=True), b""
        try:
            size = int(line.partition(b";")[0], 16)
        except ValueError:
            return Message(head, body, False, is_chunked=True), data
        if size == 0:
            break
        body += rest[:size]
        if len(rest) < size + 2:
            return Message(head, body, False, is_chunked=True), b""
        data = rest[size + 2 :]
    if rest.startswith(b"\r\n"):
        return Message(head, body, True, is_chunked=True), rest[2:]
    trailers, ended, behind = rest.partition(b"\r\n\r\n")
    if not ended:
        return Message(head, body, False, is_chunked=True), b""
    return Message(head, body, True, trailers + b"\r\n", is_chunked=True), behind
