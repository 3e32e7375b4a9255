"""Small real HTTP origins for node tests, each in a thread of the test process."""

from __future__ import annotations

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


class Origin:
    """Answers every request with its name, or with `status`; counts what it saw."""

    def __init__(
        self,
        name: str,
        *,
        tls: ssl.SSLContext | None = None,
        address: str = "127.0.0.1",
        port: int = 0,
    ) -> None:
        self.name = name
        self.address = address
        self.status = 200
        self.delay_s = 0.0
        self.seen: list[tuple[str, str, dict[str, str]]] = []
        origin = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                length = int(self.headers.get("content-length", 0))
                self.rfile.read(length)
                headers = {k.lower(): v for k, v in self.headers.items()}
                origin.seen.append((self.command, self.path, headers))
                body = origin.name.encode()
                self.send_response(origin.status)
                self.send_header("content-length", str(len(body)))
                self.send_header("x-origin", origin.name)
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_PUT = do_GET

            def log_message(self, format: str, *args: object) -> None:
                """Silence."""

        class Server(ThreadingHTTPServer):
            daemon_threads = True
            request_queue_size = 256

            def handle_error(self, request: object, client_address: object) -> None:
                """Clients may go away."""

        self._server = Server((address, port), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )

    def __enter__(self) -> Origin:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


def service_entry(
    name: str, *ports: int, labels: str = "", port: int = 80, protocol: str = "HTTP"
) -> str:
    """A ServiceEntry `NAME.example` whose endpoints are loopback ports."""
    endpoints = "".join(
        f"\n  - {{address: 127.0.0.1, ports: {{http: {number}}}{labels}}}" for number in ports
    )
    return f"""\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: {name}}}
spec:
  hosts: [{name}.example]
  ports: [{{number: {port}, name: http, protocol: {protocol}}}]
  resolution: STATIC
  endpoints:{endpoints or " []"}
"""
