"""Load for a node that restarts: what was refused, reset, failed, and the longest wait, in phases.

    python -m integration.restart_load EGRESS_PORT GATEWAY_PORT ORIGIN_PORT ECHO_PORT

Runs an origin and an echo server on the two last ports. Each line on standard input names what happened
since the line before; the answer is one line of JSON about it. After a name that ends in "+tunnel" a new
tunnel is opened. The end of the input ends everything.
Needs nothing but the standard library: it runs where only the node is installed.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
from collections.abc import Awaitable, Callable
from contextlib import suppress
from time import monotonic

KEPT = 64
"""Connections that are kept open, each answer checked."""
_FRESH = 8  # clients that open a connection a request
_SLOW_S = 1.5
_PATIENCE_S = 20.0
_HOST = "s.example"


class Tally:
    """What one phase saw."""

    def __init__(self) -> None:
        self.requests = self.refused = self.reset = 0
        self.failed: list[str] = []
        self.longest: dict[str, float] = {}
        self.closed_idle = 0
        self.own_lag = 0.0
        self.tunnel_echoes = 0
        self.tunnel_gap = 0.0
        self.tunnel_ends: list[str] = []

    def waited(self, kind: str, seconds: float) -> None:
        self.requests += 1
        self.longest[kind] = max(self.longest.get(kind, 0.0), seconds)

    def went_wrong(self, kind: str, error: BaseException) -> None:
        if isinstance(error, ConnectionRefusedError):
            self.refused += 1
        elif isinstance(error, ConnectionError | asyncio.IncompleteReadError):
            self.reset += 1
        self.failed.append(f"{kind}: {error!r}")

    def line(self) -> str:
        milliseconds = {kind: round(1000 * longest) for kind, longest in self.longest.items()}
        return json.dumps(
            {
                "requests": self.requests,
                "refused": self.refused,
                "reset": self.reset,
                "failed": len(self.failed),
                "closed_idle": self.closed_idle,
                "examples": self.failed[:4],
                "longest_ms": milliseconds,
                "own_lag_ms": round(1000 * self.own_lag),
                "tunnel": {
                    "echoes": self.tunnel_echoes,
                    "gap_ms": round(1000 * self.tunnel_gap),
                    "ends": self.tunnel_ends,
                },
            }
        )


class Load:
    """Every client. `tally` is of the current phase."""

    def __init__(self, egress: int, gateway: int) -> None:
        self.tally = Tally()
        self._egress, self._gateway = egress, gateway
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        for at in range(KEPT):
            kind, slow = ("slow", True) if at % 16 == 0 else ("kept", False)
            think_s = 2.0 if at % 8 == 1 else 0.1
            self._go(self._kept(f"{kind}-{at}", kind, self._egress, think_s, slow=slow))
        for at in range(KEPT // 4):
            think_s = 2.0 if at % 8 == 1 else 0.1
            self._go(self._kept(f"gateway-{at}", "gateway kept", self._gateway, think_s))
        for at in range(_FRESH):
            self._go(self._fresh(f"fresh-{at}", "fresh", self._egress))
            self._go(self._fresh(f"gateway-fresh-{at}", "gateway fresh", self._gateway))
        self._go(self._watch_itself())
        self.open_tunnel()

    def open_tunnel(self) -> None:
        """One more CONNECT tunnel that echoes from now on."""
        self._go(self._tunnel())

    def stop(self) -> None:
        for task in self._tasks:
            task.cancel()

    def _go(self, work: Awaitable[None]) -> None:
        self._tasks.append(asyncio.ensure_future(work))

    async def _kept(
        self, name: str, kind: str, port: int, think_s: float, *, slow: bool = False
    ) -> None:
        count = 0
        while True:
            began = monotonic()
            writer = None
            try:
                reader, writer = await _dial(port)
                goes_on = True
                while goes_on:
                    count += 1
                    path = f"/{'slow' if slow else 'quick'}/{name}/{count}"
                    goes_on = await _ask(reader, writer, path, count % 8 == 0)
                    self.tally.waited(kind, monotonic() - began - (_SLOW_S if slow else 0))
                    await asyncio.sleep(random.uniform(0, 2 * think_s))
                    began = monotonic()
                    if goes_on and reader.at_eof():  # closed while it was idle, as a client sees
                        self.tally.closed_idle += 1
                        goes_on = False
            except (OSError, EOFError, ValueError, TimeoutError) as error:
                self.tally.went_wrong(kind, error)
                await asyncio.sleep(0.02)
            finally:
                if writer is not None:
                    writer.close()

    async def _fresh(self, name: str, kind: str, port: int) -> None:
        count = 0
        while True:
            await asyncio.sleep(random.uniform(0, 0.1))
            count += 1
            began = monotonic()
            writer = None
            try:
                reader, writer = await _dial(port)
                await _ask(reader, writer, f"/quick/{name}/{count}", count % 8 == 0)
                self.tally.waited(kind, monotonic() - began)
            except (OSError, EOFError, ValueError, TimeoutError) as error:
                self.tally.went_wrong(kind, error)
            finally:
                if writer is not None:
                    writer.close()

    async def _tunnel(self) -> None:
        try:
            reader, writer = await _dial(self._egress)
            writer.write(b"CONNECT t.example:9000 HTTP/1.1\r\nHost: t.example:9000\r\n\r\n")
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _PATIENCE_S)
            if b" 200" not in head:
                raise ValueError(head)
            count = 0
            while True:
                count += 1
                line = f"line {count}\n".encode()
                began = monotonic()
                writer.write(line)
                if await asyncio.wait_for(reader.readexactly(len(line)), _PATIENCE_S) != line:
                    raise ValueError("another line came back")
                self.tally.tunnel_echoes += 1
                self.tally.tunnel_gap = max(self.tally.tunnel_gap, monotonic() - began)
                await asyncio.sleep(0.05)
        except (OSError, EOFError, ValueError, TimeoutError) as error:
            self.tally.tunnel_ends.append(repr(error))

    async def _watch_itself(self) -> None:
        """How late this process itself is: what its clients cannot have measured."""
        while True:
            began = monotonic()
            await asyncio.sleep(0.01)
            self.tally.own_lag = max(self.tally.own_lag, monotonic() - began - 0.01)


async def _dial(port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.wait_for(asyncio.open_connection("127.0.0.1", port), _PATIENCE_S)


async def _ask(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, path: str, has_body: bool
) -> bool:
    """One request, its answer checked. Returns whether the connection goes on."""
    body = path.encode() * 500 if has_body else b""
    method = "POST" if has_body else "GET"
    head = f"{method} {path} HTTP/1.1\r\nHost: {_HOST}\r\nContent-Length: {len(body)}\r\n\r\n"
    writer.write(head.encode() + body)
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _PATIENCE_S)
    status, *lines = answer.decode().lower().split("\r\n")
    fields = dict(line.split(": ", 1) for line in lines if line)
    content = await asyncio.wait_for(
        reader.readexactly(int(fields.get("content-length", 0))), _PATIENCE_S
    )
    if " 200 " not in f"{status} ":
        raise ValueError(f"{status}: {content[:100]!r}")
    if content != (body or path.encode()):
        raise ValueError(f"the answer to another request: {content[:100]!r}")
    return fields.get("connection") != "close"


async def _origin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers with the request's body, or its path."""
    with suppress(OSError, EOFError):
        while True:
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            path = head.split(" ")[1]
            length = next(
                (
                    int(line.split(":")[1])
                    for line in head.split("\r\n")
                    if line.lower().startswith("content-length:")
                ),
                0,
            )
            body = await reader.readexactly(length) or path.encode()
            if path.startswith("/slow/"):
                await asyncio.sleep(_SLOW_S)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            await writer.drain()
    writer.close()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


async def _serve_origins(origin: int, echo: int) -> None:
    async with (
        await asyncio.start_server(_origin, "127.0.0.1", origin, backlog=1024) as first,
        await asyncio.start_server(_echo, "127.0.0.1", echo) as second,
    ):
        await asyncio.gather(first.serve_forever(), second.serve_forever())


async def _command(egress: int, gateway: int) -> None:
    load = Load(egress, gateway)
    load.start()
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(lines), sys.stdin
    )
    while name := (await lines.readline()).decode().strip():
        tally, load.tally = load.tally, Tally()
        print(name, tally.line(), flush=True)
        if name.endswith("+tunnel"):
            load.open_tunnel()
    load.stop()


def in_child(work: Callable[[], None]) -> int:
    """Run `work` in a process of its own."""
    pid = os.fork()
    if not pid:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def main(egress: int, gateway: int, origin: int, echo: int) -> None:
    """See above."""
    child = in_child(lambda: asyncio.run(_serve_origins(origin, echo)))
    try:
        asyncio.run(_command(egress, gateway))
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
