"""A plain TCP origin in a thread: says its name first, then echoes; over TLS where asked."""

from __future__ import annotations

import socket
import ssl
import threading
from types import TracebackType


class ByteOrigin:
    """`greeting` is sent before anything is read (as MySQL or SMTP do); b"" to stay silent."""

    def __init__(
        self, name: str, *, greeting: bool = False, tls: ssl.SSLContext | None = None
    ) -> None:
        self.name = name
        self._greeting = greeting
        self._tls = tls
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._server.getsockname()[1])
        self.sni: list[str | None] = []
        self.peer_certificates: list[object] = []
        self._thread = threading.Thread(target=self._accept, daemon=True)
        if tls is not None:
            tls.sni_callback = lambda _sock, name, _context: self.sni.append(name)

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(sock,), daemon=True).start()

    def _serve(self, sock: socket.socket) -> None:
        try:
            sock.settimeout(10)
            if self._tls is not None:
                sock = self._tls.wrap_socket(sock, server_side=True)
                self.peer_certificates.append(sock.getpeercert())
            if self._greeting:
                sock.sendall(self.name.encode() + b" greets\n")
            while data := sock.recv(65536):
                sock.sendall(self.name.encode() + b":" + data)
        except OSError:
            pass
        finally:
            sock.close()

    def __enter__(self) -> ByteOrigin:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown(socket.SHUT_RDWR)
        self._server.close()
        self._thread.join(5)
