"""Requests to one server, over connections that are kept while idle.

client = HttpClient(Endpoint(scheme="http", host="127.0.0.1", port=8500))
answer = await client.request("GET", "/v1/status/leader", timeout_s=5)

async with client.open("GET", "/watch", timeout_s=5, idle_s=60) as answer:
    while (line := await answer.line()) is not None: ...
"""

from __future__ import annotations

import os
import socket
import ssl
import sys
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager

import h11
import trio

from adapters.http.answer import (
    MAX_TEXT,
    Answer,
    HttpError,
    Inflater,
    hide,
    secrets_of,
    shown_body,
)
from adapters.http.connection import Connection
from adapters.http.endpoint import Endpoint
from adapters.http.tls import ClientContext, Tls
from egressd.api.secret import Secret

MAX_BODY = 256 * 1024 * 1024  # bytes; an answer beyond it is refused, not collected
KEEPALIVE = ((socket.TCP_KEEPIDLE, 5), (socket.TCP_KEEPINTVL, 3), (socket.TCP_KEEPCNT, 3))
"""A long poll is silent for its whole wait: the kernel notices a dead peer within 15 s."""


_NO_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "UNEXPECTED_MESSAGE", "RECORD_LAYER_FAILURE")
"""What OpenSSL makes of an answer that is no TLS."""


class OpenAnswer:
    """An answer whose body is read as it comes, by lines. Every method raises `HttpError`."""

    def __init__(
        self,
        place: str,
        connection: Connection,
        status: int,
        headers: Mapping[str, str],
        idle_s: float,
        hidden: tuple[Secret, ...],
    ) -> None:
        self.status = status
        self._hidden = hidden
        self.headers = headers
        self._place = place
        self._connection = connection
        self._idle_s = idle_s
        self._inflater = Inflater(headers.get("content-encoding", ""), sys.maxsize - 1)
        self._buffer = bytearray()
        self._scanned = 0  # bytes of the buffer that are known to hold no end of line

    async def line(self) -> bytes | None:
        """The next line, without its end; None at the end of the body. What follows the last end of
        a line is no line."""
        while (end := self._buffer.find(b"\n", self._scanned)) < 0:
            self._scanned = len(self._buffer)
            piece = await self._piece()
            if piece is None:
                return None
            self._buffer += piece
            if len(self._buffer) > MAX_BODY:
                raise HttpError(f"{self._place}: a line of more than {MAX_BODY} bytes")
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        self._scanned = 0
        return line

    async def text(self) -> str:
        """The beginning of the body, for a message about its status."""
        return shown_body(await self._piece() or b"", self._hidden)[:MAX_TEXT].strip()

    async def _piece(self) -> bytes | None:
        with _named(self._place, self._hidden), _silence_after(self._idle_s):
            piece = await self._connection.piece()
            return None if piece is None else self._inflater.feed(piece)


class HttpClient:
    """Connections to one server. Every method raises `HttpError`, whose message names the address
    and the path, never the query. A header that is a `Secret` shows neither in it nor in the `text`
    of an answer, even when the server repeats it.

    A kept connection that the server closed meanwhile is replaced and the request repeated: for
    methods that may be (GET, PUT, DELETE).
    """

    def __init__(self, endpoint: Endpoint, tls: Tls | None = None) -> None:
        self.endpoint = endpoint
        self._tls = tls or Tls()
        self._context = ClientContext(self._tls)
        self._idle: list[Connection] = []

    async def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str | Secret] | None = None,
        body: bytes = b"",
        *,
        timeout_s: float,
    ) -> Answer:
        """One request and its whole answer, whatever its status, within `timeout_s`. A gzip body
        is decompressed; ask for one with `Accept-Encoding: gzip`."""
        hidden = secrets_of(headers or {})
        with _named(self._place(target), hidden), _silence_after(timeout_s):
            connection, status, fields = await self._exchange(method, target, headers or {}, body)
            try:
                inflater = Inflater(fields.get("content-encoding", ""), MAX_BODY)
                pieces = []
                while (piece := await connection.piece()) is not None:
                    pieces.append(inflater.feed(piece))
                inflater.finish()
            except BaseException:
                connection.abort()
                raise
            self._keep(connection)
            return Answer(status, fields, b"".join(pieces), hidden)

    @asynccontextmanager
    async def open(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str | Secret] | None = None,
        body: bytes = b"",
        *,
        timeout_s: float,
        idle_s: float,
    ) -> AsyncIterator[OpenAnswer]:
        """One request; the answer's head comes within `timeout_s`, and each next piece of its body
        within `idle_s`. The connection ends with the block."""
        place, hidden = self._place(target), secrets_of(headers or {})
        with _named(place, hidden), _silence_after(timeout_s):
            connection, status, fields = await self._exchange(method, target, headers or {}, body)
        try:
            with _named(place, hidden):
                answer = OpenAnswer(place, connection, status, fields, idle_s, hidden)
            yield answer
        finally:
            connection.abort()

    def close(self) -> None:
        """Close the idle connections. Those in use close with the task that uses them."""
        while self._idle:
            self._idle.pop().abort()

    async def _exchange(
        self, method: str, target: str, headers: Mapping[str, str | Secret], body: bytes
    ) -> tuple[Connection, int, dict[str, str]]:
        """Send, on a kept or a new connection, and receive the head of the answer."""
        fields = {"Host": self.endpoint.authority, **headers}
        while True:
            reused = bool(self._idle)
            connection = self._idle.pop() if reused else await self._connect()
            try:
                await connection.send(method, target, fields, body)
                return connection, *await connection.head()
            except (trio.BrokenResourceError, h11.RemoteProtocolError):
                connection.abort()
                if reused and connection.is_silent:
                    continue  # closed by the server while it was idle: nothing was lost
                raise
            except BaseException:
                connection.abort()
                raise

    def _keep(self, connection: Connection) -> None:
        if connection.can_be_reused():
            self._idle.append(connection)
        else:
            connection.abort()

    async def _connect(self) -> Connection:
        end = self.endpoint
        if end.scheme == "unix":
            return Connection(await trio.open_unix_socket(end.path))
        stream = await trio.open_tcp_stream(end.host, end.port)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE:
            stream.setsockopt(socket.IPPROTO_TCP, option, value)
        if end.scheme == "http":
            return Connection(stream)
        try:
            name = self._tls.server_name or end.host
            encrypted = trio.SSLStream(
                stream, self._context.current(), server_hostname=name, https_compatible=True
            )
            await encrypted.do_handshake()
        except BaseException:
            stream.socket.close()
            raise
        return Connection(encrypted)

    def _place(self, target: str) -> str:
        return self.endpoint.url + target.partition("?")[0]


@contextmanager
def _named(place: str, hidden: tuple[Secret, ...]) -> Iterator[None]:
    """What goes wrong within becomes an `HttpError` that names the address and the path."""
    try:
        yield
    except (OSError, trio.BrokenResourceError, h11.ProtocolError, HttpError) as error:
        raise HttpError(f"{place}: {hide(_cause(error), hidden)}") from None


@contextmanager
def _silence_after(timeout_s: float) -> Iterator[None]:
    """Raises `HttpError` when what is within takes longer."""
    try:
        with trio.fail_after(timeout_s):
            yield
    except trio.TooSlowError:
        raise HttpError(f"silent for {timeout_s:g} s") from None


def _cause(error: BaseException) -> str:
    """The system's own message below trio's: of a connect the last address that was tried."""
    while not isinstance(error, HttpError):
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[-1]
        elif error.__cause__ is not None:
            error = error.__cause__
        else:
            break
    if isinstance(error, ssl.SSLError) and error.reason in _NO_TLS:
        return "TLS handshake: the server does not speak TLS there (http:// or another port?)"
    if isinstance(error, OSError) and error.strerror and not isinstance(error, ssl.SSLError):
        said = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        return f"{said}: {error.filename}" if error.filename else said
    return str(error) or type(error).__name__
