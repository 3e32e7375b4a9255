"""An origin that does what a test scripts, byte by byte."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from collections.abc import Callable
from types import TracebackType


class Talk:
    """One accepted connection: `head()` reads a request head, `body(n)` what follows."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self._buffer = b""
        sock.settimeout(10)

    def head(self) -> bytes:
        """The next request head; b"" at the end of the connection."""
        while b"\r\n\r\n" not in self._buffer:
            data = self.sock.recv(65536)
            if not data:
                return b""
            self._buffer += data
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        return head + b"\r\n\r\n"

    def body(self, size: int) -> bytes:
        """Exactly `size` bytes, fewer at the end of the connection."""
        while len(self._buffer) < size:
            data = self.sock.recv(65536)
            if not data:
                break
            self._buffer += data
        found, self._buffer = self._buffer[:size], self._buffer[size:]
        return found

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)


class ScriptedOrigin:
    """Runs `script` for each connection, in order of their coming; notes every head."""

    def __init__(
        self, script: Callable[[Talk, int], None], tls: ssl.SSLContext | None = None
    ) -> None:
        self._script = script
        self._tls = tls
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self.connections = 0
        self._threads: list[threading.Thread] = []
        self._open: list[socket.socket] = []

    def __enter__(self) -> ScriptedOrigin:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for sock in self._open:
            with contextlib.suppress(OSError):  # closed by its script already
                sock.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join(10)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
            number, self.connections = self.connections, self.connections + 1
            thread = threading.Thread(target=self._serve, args=(sock, number), daemon=True)
            self._threads.append(thread)
            self._open.append(sock)
            thread.start()

    def _serve(self, sock: socket.socket, number: int) -> None:
        with sock:
            with contextlib.suppress(OSError):
                self._script(Talk(sock), number)


def answer(body: bytes = b"ok", lines: bytes = b"") -> bytes:
    """A plain 200."""
    return b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n%b\r\n%b" % (len(body), lines, body)


def answers(body: bytes = b"ok") -> Callable[[Talk, int], None]:
    """A script that answers every bodyless request."""

    def script(talk: Talk, number: int) -> None:
        while talk.head():
            talk.send(answer(body))

    return script
