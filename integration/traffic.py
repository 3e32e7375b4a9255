"""Traffic that goes on in the background of a test: each answer that is not the expected one counts."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Sequence
from typing import Self

from integration.node import Node, eventually


class Traffic:
    """Requests to `hosts` in turn through a node, each on a connection of its own."""

    def __init__(self, node: Node, *hosts: str, pause_s: float = 0.01) -> None:
        self._port = node.port
        self._hosts: Sequence[str] = hosts
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.answered = 0
        self.failures: list[str] = []

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(20)

    def goes_on(self, requests: int = 30) -> bool:
        """Wait for that many further answers. Whether all were good since the start."""
        wanted = self.answered + requests
        eventually(lambda: self.answered >= wanted or bool(self.failures), 30.0)
        assert not self.failures, self.failures[:3]
        return True

    def _run(self) -> None:
        while not self._stop.is_set():
            for host in self._hosts:
                try:
                    self._ask(host)
                except (OSError, http.client.HTTPException) as error:
                    self.failures.append(f"{host}: {error!r}")
            self._stop.wait(self._pause_s)

    def _ask(self, host: str) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=15)
        try:
            connection.request("GET", "/", headers={"Host": host})
            response = connection.getresponse()
            body = response.read()
        finally:
            connection.close()
        if response.status == 200:
            self.answered += 1
        else:
            self.failures.append(f"{host}: {response.status} {body.decode(errors='replace')}")
