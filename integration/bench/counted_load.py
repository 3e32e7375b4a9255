"""Load of exactly so many requests: one in flight on each connection, every answer checked."""

from __future__ import annotations

import itertools
import random
import re
import selectors
import socket
from collections.abc import Iterator

from integration.bench.origin import BODY_SIZES, LARGE
from integration.bench.scenarios import PATHS, ROUTE_PATHS, Scenario, host_name

CONNECTIONS = 16
_TIMEOUT_S = 120.0
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)
_ECHO = re.compile(rb"\r\nx-echo: ([^\r]*)\r\n", re.IGNORECASE)


Turn = tuple[bytes, bytes, int]
"""Request, expected echo and length of the body."""


def turns_of(scenario: Scenario, connection: int, count: int = 200) -> list[Turn]:
    """Varied requests of one connection, to hosts of its own."""
    choose = random.Random(connection)
    make = {"post": _post, "large": _large}.get(scenario.name, _small)
    own = range(connection % scenario.hosts, scenario.hosts, CONNECTIONS)
    return [make(scenario, host_name(own[n % len(own)]), choose) for n in range(count)]


def _small(scenario: Scenario, host: str, choose: random.Random) -> Turn:
    kind = choose.randrange(len(BODY_SIZES)) if scenario.routes == 1 else 0
    item = choose.randint(1, PATHS if scenario.routes == 1 else ROUTE_PATHS)
    path = f"/{kind}/api/v1/items/{item}"
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        f"User-Agent: {choose.choice(('curl/8.4.0', 'python-requests/2.31', 'okhttp/4.12.0'))}",
        "Accept: application/json",
        f"X-Tenant: tenant-{choose.randint(1, 500)}",
    ]
    if choose.random() < 0.5:
        lines.append(f"Authorization: Bearer {'t' * choose.randint(20, 300)}")
    if choose.random() < 0.3:
        lines.append(f"Cookie: session={choose.randint(1, 1000000)}; theme=dark")
    request = "\r\n".join(lines) + "\r\n\r\n"
    return request.encode(), f"{host} {path}".encode(), BODY_SIZES[kind]


def _post(scenario: Scenario, host: str, choose: random.Random) -> Turn:
    size = choose.randint(1024, 16384)
    head = f"POST /post HTTP/1.1\r\nHost: {host}\r\nContent-Length: {size}\r\n\r\n"
    return head.encode() + b"b" * size, f"{host} /post".encode(), len("posted")


def _large(scenario: Scenario, host: str, choose: random.Random) -> Turn:
    return f"GET /large HTTP/1.1\r\nHost: {host}\r\n\r\n".encode(), f"{host} /large".encode(), LARGE


class CountedLoad:
    """Keep-alive connections to a proxy, kept over calls of `run`."""

    def __init__(self, scenario: Scenario, port: int) -> None:
        self._clients = [
            (
                socket.create_connection(("127.0.0.1", port), _TIMEOUT_S),
                itertools.cycle(turns_of(scenario, number)),
            )
            for number in range(CONNECTIONS)
        ]

    def run(self, count: int) -> None:
        """Send `count` requests. Raises RuntimeError at the first wrong answer."""
        with selectors.DefaultSelector() as selector:
            left = count
            for sock, turns in self._clients[:count]:
                left -= 1
                selector.register(sock, selectors.EVENT_READ, _Answer(sock, turns))
            while selector.get_map():
                ready = selector.select(_TIMEOUT_S)
                if not ready:
                    raise RuntimeError(f"no answer within {_TIMEOUT_S:g} s")
                for key, _ in ready:
                    answer: _Answer = key.data
                    if answer.is_whole():
                        if left:
                            left -= 1
                            answer.ask()
                        else:
                            selector.unregister(answer.sock)

    def close(self) -> None:
        """Close the connections."""
        for sock, _ in self._clients:
            sock.close()


class _Answer:
    """A request that was sent, and what has come of its answer."""

    def __init__(self, sock: socket.socket, turns: Iterator[Turn]) -> None:
        self.sock = sock
        self._turns = turns
        self.ask()

    def ask(self) -> None:
        """Send the next request."""
        request, self._echo, self._size = next(self._turns)
        self._head = b""
        self._got = 0
        self.sock.sendall(request)

    def is_whole(self) -> bool:
        """Read what has come; whether it was the rest."""
        data = self.sock.recv(1 << 18)
        if not data:
            raise RuntimeError(f"the connection ended after {self._head!r} + {self._got} bytes")
        if b"\r\n\r\n" not in self._head:
            head, end, data = (self._head + data).partition(b"\r\n\r\n")
            self._head = head + end
            if not end:
                return False
            self._check()
        self._got += len(data)
        if self._got > self._size:
            raise RuntimeError(f"{self._got} bytes of body, expected {self._size}")
        return self._got == self._size

    def _check(self) -> None:
        length, echo = _LENGTH.search(self._head), _ECHO.search(self._head)
        if (
            not self._head.startswith(b"HTTP/1.1 200")
            or length is None
            or int(length[1]) != self._size
            or echo is None
            or echo[1] != self._echo
        ):
            raise RuntimeError(f"found {self._head!r}, expected {self._size} bytes, {self._echo!r}")
