"""HTTP/1.1 GETs over trio, as a transport of py-consul. The only file that touches sockets.

py-consul leaves the transport to its `http_connect`; its own two are threads (requests) and
asyncio. This one is cancelled at once wherever it waits, needs no thread and keeps few connections.
See docs/decisions/0005-consul-client.md.
"""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import quote, urlencode

import h11
import trio
from consul.base import Response

from adapters.consul.options import Consistency, Endpoint, Tls

MAX_BODY = 256 * 1024 * 1024  # bytes; an answer beyond it is refused, not collected
MAX_HEAD = 64 * 1024
RECEIVE_SIZE = 64 * 1024
KEEPALIVE = ((socket.TCP_KEEPIDLE, 5), (socket.TCP_KEEPINTVL, 3), (socket.TCP_KEEPCNT, 3))
"""A blocking query is silent for its whole wait: the kernel notices a dead peer within 15 s."""
_CONSUL_HEADERS = {
    b"x-consul-index": "X-Consul-Index",
    b"x-consul-knownleader": "X-Consul-KnownLeader",
}
Answer = TypeVar("Answer")
Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


class TransportError(Exception):
    """No usable answer. The message names the address and what happened."""


class WatchedFiles:
    """Files that are read again when one of them changed."""

    def __init__(self, *paths: str) -> None:
        self._paths = [path for path in paths if path]
        self._seen: list[tuple[int, int, int]] | None = None

    def changed(self) -> bool:
        """Whether a file differs from the last call; True the first time. Raises OSError."""
        now = [(s.st_mtime_ns, s.st_size, s.st_ino) for s in map(os.stat, self._paths)]
        seen, self._seen = self._seen, now
        return seen != now


class TrioTransport:
    """Connections to one agent, kept while idle. `get` is all that py-consul calls of a transport
    to read, and awaitable.

    Raises `TransportError`, and what py-consul's callback raises for a refusing status.
    """

    def __init__(
        self, endpoint: Endpoint, tls: Tls, consistency: Consistency, timeout_s: float
    ) -> None:
        self.endpoint = endpoint
        self._tls = tls
        self._tls_files = WatchedFiles(tls.ca_file, tls.cert_file, tls.key_file)
        self._context: ssl.SSLContext | None = None
        self._consistency = consistency
        self._timeout_s = timeout_s
        self._idle: list[_Connection] = []

    async def get(
        self,
        callback: Callable[[Response], Answer],
        path: str,
        params: list[tuple[str, str | int]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One GET. A query that blocks for its `wait` gets the time-out on top of that."""
        asked = dict(params or ())
        if self._consistency != "default":
            asked.setdefault(self._consistency, "")
        timeout_s = self._timeout_s
        if "index" in asked:
            wait_s = float(str(asked["wait"]).rstrip("s"))
            timeout_s += wait_s + wait_s / 16  # Consul adds up to that as jitter
        target = quote(path, safe="/:") + (f"?{urlencode(asked)}" if asked else "")
        try:
            with trio.fail_after(timeout_s):
                answer = await self._exchange(target, headers or {})
        except trio.TooSlowError:
            raise TransportError(f"{self.endpoint.url}{path}: silent for {timeout_s:g} s") from None
        except (OSError, trio.BrokenResourceError, h11.ProtocolError) as error:
            raise TransportError(f"{self.endpoint.url}{path}: {_cause(error)}") from error
        if answer.code == 200 and answer.headers.get("X-Consul-KnownLeader") == "false":
            raise TransportError(f"{self.endpoint.url}{path}: answered without a known leader")
        return callback(answer)

    def close(self) -> None:
        """Close the idle connections. Those in use close with the task that uses them."""
        while self._idle:
            self._idle.pop().abort()

    async def _exchange(self, target: str, headers: Mapping[str, str]) -> Response:
        while True:
            reused = bool(self._idle)
            connection = self._idle.pop() if reused else await self._connect()
            try:
                answer = await connection.get(target, self._host_header, headers)
            except (trio.BrokenResourceError, h11.RemoteProtocolError):
                connection.abort()
                if reused and connection.is_silent:
                    continue  # closed by the agent while it was idle: nothing was lost
                raise
            except BaseException:
                connection.abort()
                raise
            if connection.can_be_reused():
                self._idle.append(connection)
            else:
                connection.abort()
            return answer

    async def _connect(self) -> _Connection:
        end = self.endpoint
        if end.scheme == "unix":
            return _Connection(await trio.open_unix_socket(end.path))
        stream = await trio.open_tcp_stream(end.host, end.port)
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for option, value in KEEPALIVE:
            stream.setsockopt(socket.IPPROTO_TCP, option, value)
        if end.scheme == "http":
            return _Connection(stream)
        name = self._tls.server_name or end.host
        encrypted = trio.SSLStream(
            stream, self._current_context(), server_hostname=name, https_compatible=True
        )
        try:
            await encrypted.do_handshake()
        except BaseException:
            stream.socket.close()
            raise
        return _Connection(encrypted)

    def _current_context(self) -> ssl.SSLContext:
        if self._tls_files.changed() or self._context is None:
            self._context = tls_context(self._tls)
        return self._context

    @property
    def _host_header(self) -> str:
        end = self.endpoint
        return "localhost" if end.scheme == "unix" else end.url.partition("://")[2]


class _Connection:
    """One HTTP/1.1 connection, one GET at a time."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._protocol = h11.Connection(our_role=h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self.is_silent = True  # nothing was received since the last request went out

    async def get(self, target: str, host: str, headers: Mapping[str, str]) -> Response:
        self.is_silent = True
        request = h11.Request(
            method="GET", target=target, headers=[("Host", host), *headers.items()]
        )
        head = self._protocol.send(request) or b""
        await self._stream.send_all(head + (self._protocol.send(h11.EndOfMessage()) or b""))
        status, fields, body, size = 0, {}, [], 0
        while True:
            event = self._protocol.next_event()
            if event is h11.NEED_DATA:
                data = await self._stream.receive_some(RECEIVE_SIZE)
                self.is_silent = self.is_silent and not data
                if not data and self._protocol.their_state is h11.SEND_RESPONSE:
                    raise trio.BrokenResourceError("the agent closed without an answer")
                self._protocol.receive_data(bytes(data))
            elif isinstance(event, h11.Response):
                status = event.status_code
                fields = {
                    _CONSUL_HEADERS[name]: value.decode("latin-1")
                    for name, value in event.headers
                    if name in _CONSUL_HEADERS
                }
            elif isinstance(event, h11.Data):
                body.append(bytes(event.data))
                size += len(event.data)
                if size > MAX_BODY:
                    raise h11.RemoteProtocolError(f"an answer of more than {MAX_BODY} bytes")
            elif isinstance(event, h11.EndOfMessage):
                whole = b"".join(body)  # a refusal goes into messages as text
                return Response(
                    status, fields, whole if status == 200 else whole.decode("utf-8", "replace")
                )

    def can_be_reused(self) -> bool:
        """Make ready for the next GET, unless one side asked for the connection to end."""
        if self._protocol.our_state is not h11.DONE or self._protocol.their_state is not h11.DONE:
            return False
        self._protocol.start_next_cycle()
        return True

    def abort(self) -> None:
        """Close now, without a TLS goodbye; never waits."""
        stream = self._stream
        plain = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
        plain.socket.close()


def _cause(error: BaseException) -> str:
    """The system's own message below trio's: of a connect the last address that was tried."""
    while True:
        if isinstance(error, BaseExceptionGroup):
            error = error.exceptions[-1]
        elif error.__cause__ is not None:
            error = error.__cause__
        else:
            return str(error) or type(error).__name__


def tls_context(tls: Tls) -> ssl.SSLContext:
    """A verifying client context; not verifying only where the options say so. Raises OSError."""
    context = ssl.create_default_context(cafile=tls.ca_file or None, capath=tls.ca_path or None)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.cert_file:
        context.load_cert_chain(tls.cert_file, tls.key_file)
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context
