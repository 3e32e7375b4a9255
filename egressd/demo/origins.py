"""The demo's origins: small HTTP servers on loopback, one thread each."""

from __future__ import annotations

import random
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import trustme


class DemoOrigin:
    """Answers with its name; fails with 500 at a given share of requests."""

    def __init__(self, name: str, *, failing: float = 0.0, tls: ssl.SSLContext | None = None):
        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                status = 500 if random.random() < failing else 200
                body = f"{name}\n".encode()
                self.send_response(status)
                self.send_header("content-length", str(len(body)))
                self.send_header("x-origin", name)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: object) -> None:
                """The node's own log says enough."""

        self.name = name
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        if tls is not None:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, args=(0.1,), daemon=True).start()

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()


def make_authority(directory: Path) -> ssl.SSLContext:
    """A private CA under `directory` (`ca.pem`), and a server context for secure.demo."""
    authority = trustme.CA(organization_name="egressd demo")
    authority.cert_pem.write_to_path(str(directory / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("secure.demo").configure_cert(context)
    return context
