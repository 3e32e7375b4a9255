"""The clients: each kind loops until the soak ends, checking every answer against its own id."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import trio

from integration.soak.content import Ask, expected_body, foreign_ids, pattern
from integration.soak.ledger import Attempt, Ledger
from integration.soak.wire import Cut, Head, Reader, chunked

PATIENCE_S = 25.0
GOOD = ("plain", "plain", "plain", "chunked", "slow", "toend", "hints", "empty")
BEHIND = ("behind", "behindrest", "behindchunks", "behindempty", "halfhead")
BAD = ("cut", "garbage", "reset", "silent", "early")
_SIZES = (0, 10, 500, 4000, 70_000, 300_000)


class _NotConnected(Exception):
    """Counted as a loss already."""


class Clients:
    """What all kinds share."""

    def __init__(
        self, port: int, ledger: Ledger, choose: random.Random, hosts: tuple[str, ...], echo: str
    ) -> None:
        self.port = port
        self.ledger = ledger
        self.choose = choose
        self.hosts = hosts
        self.echo = echo  # HOST:PORT for CONNECT
        self.stopping = False

    # -- kinds -------------------------------------------------------------------------------------

    async def keep_alive(self) -> None:
        """Up to 30 requests of all good modes on a connection."""
        async with self._connection("keep-alive") as link:
            for _ in range(self.choose.randint(1, 30)):
                if self.stopping or not await link.exchange(self._host(), self._good()):
                    return
                await self._pause(0.05)

    async def pipelined(self) -> None:
        """Several requests at once; answers in their order."""
        async with self._connection("pipelined") as link:
            host = self._host()
            asks = [self._ask(("plain", "chunked", "empty")) for _ in range(5)]
            if await link.write(
                b"".join(link.request(host, ask, b"", False) for ask in asks), host
            ):
                for ask in asks:
                    if not await link.read(host, ask, b""):
                        return

    async def trailing(self) -> None:
        """Origins that send bytes behind their answers, among well-behaved traffic."""
        async with self._connection("behind") as link:
            for _ in range(4):
                if not await link.exchange(self._host(), self._ask(BEHIND)):
                    return

    async def bad_origin(self) -> None:
        """Origins that send garbage, halves or nothing: any answer of the proxy is right, but a
        foreign one."""
        async with self._connection("bad-origin") as link:
            await link.exchange(self._host(), self._ask(BAD), strict=False)

    async def uploads(self) -> None:
        """Bodies with a length and chunked, some slowly."""
        async with self._connection("upload") as link:
            for _ in range(self.choose.randint(1, 5)):
                ask = self._ask(("plain", "chunked"))
                upload = pattern(ask.id, self.choose.choice((1, 3000, 100_000, 600_000)))
                if not await link.exchange(self._host(), ask, upload):
                    return

    async def vanishing(self) -> None:
        """Leaves at a random byte of the request or of the answer."""
        async with self._connection("vanishing") as link:
            host, ask = self._host(), self._ask((*GOOD, *BEHIND, "silent"))
            upload = pattern(ask.id, self.choose.choice((0, 0, 2000, 200_000)))
            whole = link.request(host, ask, upload, self.choose.random() < 0.3)
            cut = self.choose.choice((len(whole), self.choose.randrange(len(whole))))
            self.ledger.vanished["vanishing"] += 1
            try:
                with trio.move_on_after(self.choose.choice((0.001, 0.05, 0.5))):
                    await link.stream.send_all(whole[:cut])
                    if self.choose.random() < 0.3:
                        await link.stream.send_eof()
                    while await link.stream.receive_some(self.choose.choice((1, 100, 65536))):
                        pass
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                return
            if self.choose.random() < 0.5:
                link.reset()

    async def tunnel(self) -> None:
        """CONNECT, then an echo."""
        async with self._connection("tunnel") as link:
            start = f"CONNECT {self.echo} HTTP/1.1\r\nHost: {self.echo}\r\n\r\n".encode()
            await link.echo(start, self.echo.partition(":")[0], 200, self._id())

    async def websocket(self) -> None:
        """An upgrade, then an echo."""
        async with self._connection("websocket") as link:
            host = self._host()
            start = (
                f"GET /s/ws HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: c29ha3NvYWtzb2Frc29haw==\r\n\r\n"
            )
            await link.echo(start.encode(), host, 101, self._id())

    # -- running -----------------------------------------------------------------------------------

    async def run(self, counts: dict[str, int]) -> None:
        """So many clients of each kind, until `stopping`; returns when all have ended."""
        kinds: dict[str, Callable[[], Awaitable[None]]] = {
            "keep-alive": self.keep_alive,
            "pipelined": self.pipelined,
            "behind": self.trailing,
            "bad-origin": self.bad_origin,
            "upload": self.uploads,
            "vanishing": self.vanishing,
            "tunnel": self.tunnel,
            "websocket": self.websocket,
        }
        async with trio.open_nursery() as nursery:
            for kind, count in counts.items():
                for _ in range(count):
                    nursery.start_soon(self._loop, kinds[kind])

    async def _loop(self, kind: Callable[[], Awaitable[None]]) -> None:
        while not self.stopping:
            try:
                await kind()
            except _NotConnected:
                await trio.sleep(0.5)
            await self._pause(0.1)

    async def _pause(self, most: float) -> None:
        await trio.sleep(self.choose.uniform(0, most))

    @asynccontextmanager
    async def _connection(self, kind: str) -> AsyncIterator[Link]:
        began = time.monotonic()
        try:
            with trio.fail_after(PATIENCE_S):
                stream = await trio.open_tcp_stream("127.0.0.1", self.port)
        except (OSError, trio.TooSlowError) as error:
            self.ledger.lose(Attempt(kind, "", 0, began, time.monotonic()), f"connect: {error!r}")
            raise _NotConnected from error
        async with stream:
            yield Link(kind, stream, self.ledger)

    # -- choices -----------------------------------------------------------------------------------

    def _id(self) -> str:
        return f"id-{self.choose.getrandbits(48):012x}"

    def _ask(self, modes: tuple[str, ...]) -> Ask:
        return Ask(self._id(), self.choose.choice(_SIZES), self.choose.choice(modes))

    def _good(self) -> Ask:
        return self._ask(GOOD)

    def _host(self) -> str:
        return self.choose.choice(self.hosts)


class Link:
    """One client connection."""

    def __init__(self, kind: str, stream: trio.SocketStream, ledger: Ledger) -> None:
        self.kind = kind
        self.stream = stream
        self.ledger = ledger
        self.reader = Reader(stream)
        self.local_port = int(stream.socket.getsockname()[1])
        self.own: set[str] = set()
        self.began = time.monotonic()

    def request(self, host: str, ask: Ask, upload: bytes, in_chunks: bool) -> bytes:
        """A request's bytes; its id is this connection's own from now on."""
        self.own.add(ask.id)
        method = "POST" if upload else "GET"
        start = f"{method} {ask.target} HTTP/1.1\r\nHost: {host}\r\nx-soak-id: {ask.id}\r\n"
        if not upload:
            return f"{start}\r\n".encode()
        if in_chunks:
            return f"{start}transfer-encoding: chunked\r\n\r\n".encode() + chunked(upload, 5000)
        return f"{start}content-length: {len(upload)}\r\n\r\n".encode() + upload

    async def exchange(
        self, host: str, ask: Ask, upload: bytes = b"", *, strict: bool = True
    ) -> bool:
        """One request and its answer; whether the connection goes on."""
        in_chunks = ask.id[-1] in "02468ace"
        data = self.request(host, ask, upload, in_chunks)
        return await self.write(data, host, strict) and await self.read(host, ask, upload, strict)

    async def write(self, data: bytes, host: str, strict: bool = True) -> bool:
        """Send; a connection that cannot take it is lost, unless an answer has come."""
        self.began = time.monotonic()
        try:
            with trio.fail_after(PATIENCE_S):
                await self.stream.send_all(data)
        except (trio.BrokenResourceError, trio.TooSlowError) as error:
            if strict:
                self._lose(host, f"write: {error!r}")
            return False
        return True

    async def read(self, host: str, ask: Ask, upload: bytes, strict: bool = True) -> bool:
        """Read and check one answer."""
        head: Head | None = None
        try:
            with trio.fail_after(PATIENCE_S):
                head = await self.reader.head()
                while head is not None and head.words[1].startswith("1"):
                    head = await self.reader.head()
                if head is None:
                    raise Cut(b"")
                empty = head.status in (204, 304)
                body = b"" if empty else await self.reader.body(head, to_end=True)
        except (Cut, trio.BrokenResourceError, trio.TooSlowError) as error:
            received = error.received if isinstance(error, Cut) else b""
            self._check_foreign(host, (head.raw if head else b"") + received)
            if strict:
                self._lose(
                    host, f"{ask.mode} {ask.id}: {error!r}, head {head and head.raw[:200]!r}"
                )
            return False
        return self._judge(host, ask, upload, head, body, strict)

    def _judge(
        self, host: str, ask: Ask, upload: bytes, head: Head, body: bytes, strict: bool
    ) -> bool:
        """Whether the answer is the one of this request, and the connection goes on."""
        if self._check_foreign(host, head.raw + body):
            return False
        self.ledger.checked[self.kind] += 1
        goes_on = head.fields.get("connection", "").lower() != "close"
        if not strict:
            return goes_on
        if ask.mode in ("empty", "behindempty"):
            right = head.status == 204 and head.fields.get("x-soak-id") == ask.id
        else:
            right = head.status == 200 and body == expected_body(ask, host, upload)
        if not right:
            words = f"{ask.mode} {ask.id}: {head.raw[:250]!r} {body[:150]!r}"
            if head.status == 200 and head.fields.get("x-soak-id") != ask.id:
                self.ledger.cross(self._attempt(host), words)
                return False
            self._lose(host, words)
        return goes_on and right

    async def echo(self, start: bytes, host: str, status: int, own_id: str) -> None:
        """Open a tunnel, and check that it returns exactly what goes in."""
        self.own.add(own_id)
        if not await self.write(start, host):
            return
        try:
            with trio.fail_after(PATIENCE_S):
                head = await self.reader.head()
                if head is None or head.status != status:
                    self._lose(host, f"tunnel: {head and head.raw[:250]!r}")
                    return
                for size in (1, 100, 30_000, 300_000, 7):
                    data = pattern(own_id, size)
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self.stream.send_all, data)
                        found = await self.reader.exactly(size)
                    if found != data:
                        self.ledger.cross(self._attempt(host), f"echo {found[:100]!r}")
                        return
                    self.ledger.checked[self.kind] += 1
        except* (Cut, trio.BrokenResourceError, trio.TooSlowError) as error:
            self._lose(host, f"tunnel: {error.exceptions[0]!r}")

    def reset(self) -> None:
        """Let the close be an RST."""
        linger = b"\x01\0\0\0\0\0\0\0"
        self.stream.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, linger)

    def _attempt(self, host: str) -> Attempt:
        return Attempt(self.kind, host, self.local_port, self.began, time.monotonic())

    def _check_foreign(self, host: str, data: bytes) -> bool:
        foreign = foreign_ids(data, self.own)
        if foreign:
            self.ledger.cross(self._attempt(host), f"{sorted(foreign)[:3]} in {data[:300]!r}")
        return bool(foreign)

    def _lose(self, host: str, what: str) -> None:
        self.ledger.lose(self._attempt(host), what)
