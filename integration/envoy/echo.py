"""An origin that says who it is and what it got."""

from __future__ import annotations

import json
import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType


class EchoOrigin:
    """Answers 200 (or the status in `x-want-status`) with its name, the target and the headers; counts
    the attempts of each `x-case`."""

    def __init__(self, name: str) -> None:
        attempts: Counter[str] = Counter()
        self.attempts = attempts

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def _answer(self) -> None:
                length = int(self.headers.get("content-length", 0))
                self.rfile.read(length)
                seen = [(k.lower(), v) for k, v in self.headers.items()]
                # `self.path` is without the double slashes that a rewrite may have left.
                target = self.requestline.split(" ")[1]
                body = json.dumps(
                    {"origin": name, "method": self.command, "path": target, "headers": seen}
                ).encode()
                if "-shadow" not in self.headers.get("host", ""):  # a mirror comes when it comes
                    attempts[self.headers.get("x-case", "")] += 1
                self.send_response_only(int(self.headers.get("x-want-status", 200)))
                self.send_header("content-length", str(len(body)))
                self.send_header("x-origin", name)
                self.send_header("x-from-origin", "yes")
                if grpc := self.headers.get("x-want-grpc"):
                    self.send_header("grpc-status", grpc)
                if self.headers.get("x-want-ratelimited"):
                    self.send_header("x-envoy-ratelimited", "true")
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = do_OPTIONS = do_PATCH = _answer

            def log_message(self, format: str, *args: object) -> None:
                """Silence."""

        self.name = name
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), daemon=True
        )

    def __enter__(self) -> EchoOrigin:
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
