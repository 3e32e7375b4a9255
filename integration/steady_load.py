"""Load that misses nothing: keep-alive clients, clients of one request a connection, and an open CONNECT
tunnel, against one egress port; what was refused, reset, wrong, and the longest wait.

    python -m integration.steady_load --port 15001 --tunnel echo.example:443 --stop FILE

Needs the standard library alone. Ends when FILE exists and prints one JSON object. The origin that
`--origin PORT` starts answers the `x-id` that it was sent, and echoes what comes through the tunnel.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

_PATIENCE_S = 20.0


@dataclass
class Tally:
    """What all clients saw."""

    answers: int = 0
    tunnel_echoes: int = 0
    longest_s: float = 0.0
    over_200_ms: int = 0
    faults: Counter[str] = field(default_factory=Counter)

    def took(self, seconds: float) -> None:
        """One request was answered rightly."""
        self.answers += 1
        self.longest_s = max(self.longest_s, seconds)
        self.over_200_ms += seconds > 0.2


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, number: int
) -> bool:
    """One request; whether the connection may be used again. Raises what went wrong."""
    writer.write(f"GET /{number} HTTP/1.1\r\nHost: {host}\r\nx-id: {number}\r\n\r\n".encode())
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
    length = int(head.partition("content-length: ")[2].partition("\r\n")[0] or 0)
    body = await reader.readexactly(length)
    if " 200 " not in head.partition("\r\n")[0] or body != str(number).encode():
        raise ValueError(f"{head.partition(chr(13))[0]}: {body[:80]!r}")
    return "connection: close" not in head


class Load:
    """The clients of one run."""

    def __init__(self, port: int, host: str, stop: Path) -> None:
        self.tally = Tally()
        self._port = port
        self._host = host
        self._stop = stop
        self._number = 0
        self._is_over = False

    async def run(self, kept: int, fresh: int, tunnel: str) -> None:
        """Until the stop file is there."""
        clients = [self._client(True) for _ in range(kept)] + [
            self._client(False) for _ in range(fresh)
        ]
        tasks = [asyncio.create_task(one) for one in clients]
        if tunnel:
            tasks.append(asyncio.create_task(self._tunnel(tunnel)))
        while not self._stop.exists():
            await asyncio.sleep(0.05)
        self._is_over = True
        await asyncio.gather(*tasks)

    async def _client(self, keeps: bool) -> None:
        while not self._is_over:
            try:
                await asyncio.wait_for(self._connection(keeps), 3600)
            except (OSError, ValueError, EOFError) as error:
                self.tally.faults[f"{type(error).__name__}: {error}"] += 1
                await asyncio.sleep(0.02)

    async def _connection(self, keeps: bool) -> None:
        began = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            goes_on = True
            while goes_on and not self._is_over:
                self._number += 1
                answer = _exchange(reader, writer, self._host, self._number)
                goes_on = await asyncio.wait_for(answer, _PATIENCE_S) and keeps
                self.tally.took(time.monotonic() - began)
                await asyncio.sleep(0.02)
                began = time.monotonic()
        finally:
            writer.close()

    async def _tunnel(self, target: str) -> None:
        """One tunnel for the whole run."""
        try:
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            writer.write(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), _PATIENCE_S)
            if b" 200 " not in head:
                raise ValueError(f"CONNECT: {head!r}")
            while not self._is_over:
                writer.write(b"echo\n")
                line = await asyncio.wait_for(reader.readexactly(5), _PATIENCE_S)
                if line != b"echo\n":
                    raise ValueError(f"tunnel: {line!r}")
                self.tally.tunnel_echoes += 1
                await asyncio.sleep(0.05)
            writer.close()
        except (OSError, ValueError, EOFError) as error:
            self.tally.faults[f"tunnel: {type(error).__name__}: {error}"] += 1


async def _serve_origin(port: int) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await reader.readexactly(5)
            if first == b"echo\n":
                writer.write(first)
                while line := await reader.read(1024):
                    writer.write(line)
            while head := first + await reader.readuntil(b"\r\n\r\n"):
                first = b""
                number = head.partition(b"x-id: ")[2].partition(b"\r\n")[0]
                writer.write(
                    b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(number) + number
                )
        except (OSError, EOFError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", port, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


def main() -> None:
    """Run from the command line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--origin", type=int, default=None)
    parser.add_argument("--port", type=int, default=15001)
    parser.add_argument("--host", default="echo.example")
    parser.add_argument("--tunnel", default="")
    parser.add_argument("--kept", type=int, default=48)
    parser.add_argument("--fresh", type=int, default=16)
    parser.add_argument("--stop", type=Path)
    given = parser.parse_args()
    if given.origin is not None:
        asyncio.run(_serve_origin(given.origin))
        return
    load = Load(given.port, given.host, given.stop)
    asyncio.run(load.run(given.kept, given.fresh, given.tunnel))
    tally = load.tally
    found = {**vars(tally), "faults": dict(tally.faults), "longest_s": round(tally.longest_s, 3)}
    json.dump(found, sys.stdout)
    print()


if __name__ == "__main__":
    main()
