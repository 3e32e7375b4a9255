"""The origin: `python -m integration.soak.origin DIRECTORY PORT TLS_PORT ECHO_PORT`, a process that
is killed and restarted. It answers by id, and misbehaves as the request's mode says.
"""

from __future__ import annotations

import ssl
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import trio

from integration.soak.content import POISON, Ask, expected_body, parse_target, pattern
from integration.soak.wire import Cut, Head, Reader, chunked

_BACKLOG = 512
_UNSOLICITED = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(POISON), POISON)


class _Close(Exception):
    """The mode ends the connection."""


class _Connection:
    """One accepted connection. `send` leaves in one segment, over TLS too."""

    def __init__(self, stream: trio.SocketStream, tls: ssl.SSLContext | None) -> None:
        self.socket = stream.socket
        self.stream: trio.SocketStream | trio.SSLStream[trio.SocketStream] = stream
        if tls is not None:
            self.stream = trio.SSLStream(stream, tls, server_side=True)
        self.reader = Reader(self.stream)

    async def send(self, *parts: bytes) -> None:
        """Parts as TLS records of their own, corked: they arrive together."""
        self.socket.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_CORK, 1)
        try:
            for part in parts:
                await self.stream.send_all(part)
        finally:
            self.socket.setsockopt(trio.socket.IPPROTO_TCP, trio.socket.TCP_CORK, 0)


async def _serve(tls: Callable[[], ssl.SSLContext | None], stream: trio.SocketStream) -> None:
    connection = _Connection(stream, tls())
    try:
        async with connection.stream:
            while await _exchange(connection):
                pass
    except (trio.BrokenResourceError, trio.ClosedResourceError, Cut, _Close, OSError, ValueError):
        pass


async def _exchange(connection: _Connection) -> bool:
    head = await connection.reader.head()
    if head is None:
        return False
    if head.fields.get("upgrade", "").lower() == "websocket":
        await connection.send(
            b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n"
        )
        await _echo(connection.stream, connection.reader.buffer)
        return False
    ask = parse_target(head.words[1])
    if ask.mode == "early":  # answers before it has read the upload, and closes
        await connection.send(_answer(expected_body(ask, head.fields["host"], b""), ask))
        raise _Close
    upload = await connection.reader.body(head, to_end=False)
    if head.fields.get("x-soak-id") != ask.id or upload != pattern(ask.id, len(upload)):
        await connection.send(_answer(b"mixed " + POISON, ask))
        return True
    await _MODES[ask.mode](connection, ask, head, expected_body(ask, head.fields["host"], upload))
    return True


def _answer(body: bytes, ask: Ask) -> bytes:
    return (
        b"HTTP/1.1 200 OK\r\nx-soak-id: %b\r\ncontent-length: %d\r\n\r\n"
        % (ask.id.encode(), len(body))
    ) + body


# -- modes -----------------------------------------------------------------------------------------


async def _plain(connection: _Connection, ask: Ask, head: Head, body: bytes) -> None:
    whole = _answer(body, ask)
    await connection.send(whole if head.words[0] != "HEAD" else whole[: -len(body)])


async def _chunked(connection: _Connection, ask: Ask, head: Head, body: bytes) -> None:
    start = b"HTTP/1.1 200 OK\r\nx-soak-id: %b\r\ntransfer-encoding: chunked\r\n\r\n"
    await connection.send(start % ask.id.encode() + chunked(body, 997))


async def _slow(connection: _Connection, ask: Ask, head: Head, body: bytes) -> None:
    whole = _answer(body, ask)
    for part in (whole[:10], whole[10:60], whole[60:-3], whole[-3:]):
        await connection.send(part)
        await trio.sleep(0.03)


async def _to_end(connection: _Connection, ask: Ask, head: Head, body: bytes) -> None:
    start = b"HTTP/1.1 200 OK\r\nx-soak-id: %b\r\nconnection: close\r\n\r\n"
    await connection.send(start % ask.id.encode() + body)
    raise _Close


async def _early_hints(connection: _Connection, ask: Ask, head: Head, body: bytes) -> None:
    hints = b"HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\n"
    await connection.send(hints, _answer(body, ask))


async def _empty(connection: _Connection, ask: Ask, head: Head, body: bytes) -> None:
    await connection.send(b"HTTP/1.1 204 No Content\r\nx-soak-id: %b\r\n\r\n" % ask.id.encode())


async def _behind(connection: _Connection, ask: Ask, head: Head, body: bytes) -> None:
    await connection.send(_answer(body, ask), _UNSOLICITED)


async def _behind_rest(connection: _Connection, ask: Ask, head: Head, body: bytes) -> None:
    whole = _answer(body, ask)
    await connection.send(whole[:-2])
    await trio.sleep(0.05)
    await connection.send(whole[-2:], _UNSOLICITED)


async def _behind_chunks(connection: _Connection, ask: Ask, head: Head, body: bytes) -> None:
    start = b"HTTP/1.1 200 OK\r\nx-soak-id: %b\r\ntransfer-encoding: chunked\r\n\r\n"
    await connection.send(start % ask.id.encode() + chunked(body, 997), _UNSOLICITED)


async def _behind_empty(connection: _Connection, ask: Ask, head: Head, body: bytes) -> None:
    whole = b"HTTP/1.1 204 No Content\r\nx-soak-id: %b\r\n\r\n" % ask.id.encode()
    await connection.send(whole, _UNSOLICITED)


async def _half_head(connection: _Connection, ask: Ask, head: Head, body: bytes) -> None:
    await connection.send(_answer(body, ask), _UNSOLICITED[:25])


async def _cut(connection: _Connection, ask: Ask, head: Head, body: bytes) -> None:
    await connection.send(_answer(body, ask)[:-1])
    raise _Close


async def _garbage(connection: _Connection, ask: Ask, head: Head, body: bytes) -> None:
    await connection.send(b"SSH-2.0-soak " + POISON + b"\r\n")
    await trio.sleep(0.2)
    raise _Close


async def _reset(connection: _Connection, ask: Ask, head: Head, body: bytes) -> None:
    raise _Close


async def _silent(connection: _Connection, ask: Ask, head: Head, body: bytes) -> None:
    with trio.move_on_after(2):
        await connection.stream.receive_some(1)
    raise _Close


Mode = Callable[[_Connection, Ask, Head, bytes], Awaitable[None]]
_MODES: dict[str, Mode] = {
    "plain": _plain,
    "chunked": _chunked,
    "slow": _slow,
    "toend": _to_end,
    "hints": _early_hints,
    "empty": _empty,
    "behind": _behind,
    "behindrest": _behind_rest,
    "behindchunks": _behind_chunks,
    "behindempty": _behind_empty,
    "halfhead": _half_head,
    "cut": _cut,
    "garbage": _garbage,
    "reset": _reset,
    "silent": _silent,
}


# -- the process -----------------------------------------------------------------------------------


async def _echo(stream: trio.abc.Stream, first: bytes = b"") -> None:
    if first:
        await stream.send_all(first)
    while data := await stream.receive_some(65536):
        await stream.send_all(data)


async def _serve_echo(stream: trio.SocketStream) -> None:
    try:
        async with stream:
            await _echo(stream)
    except (trio.BrokenResourceError, OSError):
        pass


class _Contexts:
    """The server's TLS context, made anew when the certificate's file changed."""

    def __init__(self, directory: Path) -> None:
        self._chain = directory / "origin.pem"
        self._made = (0, 0)
        self._context: ssl.SSLContext | None = None

    def current(self) -> ssl.SSLContext:
        status = self._chain.stat()
        key = (status.st_mtime_ns, status.st_ino)
        if self._context is None or key != self._made:
            self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            self._context.load_cert_chain(self._chain)
            self._made = key
        return self._context


async def _main(directory: Path, plain: int, tls: int, echo: int) -> None:
    contexts = _Contexts(directory)
    async with trio.open_nursery() as nursery:
        for port, handler in (
            (plain, partial(_serve, lambda: None)),
            (tls, partial(_serve, contexts.current)),
            (echo, _serve_echo),
        ):
            listeners = await trio.open_tcp_listeners(port, host="127.0.0.1", backlog=_BACKLOG)
            nursery.start_soon(trio.serve_listeners, handler, listeners)


if __name__ == "__main__":
    trio.run(_main, Path(sys.argv[1]), *map(int, sys.argv[2:5]))
