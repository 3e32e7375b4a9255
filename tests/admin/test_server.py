"""The admin server on socket pairs: what every kind of request and of client gets."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Awaitable, Callable
from typing import cast

import pytest
import structlog
import trio
import trio.testing

from egressd.admin import server
from egressd.admin.request_guard import Access
from egressd.admin.server import Connections, serve_connection
from egressd.admin.state import AdminState
from tests.admin.test_request_guard import MALFORMED_TARGETS, PORT

TCP = Access(PORT, ipaddress.ip_address("127.0.0.1"))
HOST = f"Host: localhost:{PORT}\r\n".encode()


class Failing:
    """A node whose every question fails."""

    def is_ready(self) -> tuple[bool, str]:
        return True, "ready"

    async def status(self) -> object:
        raise RuntimeError("the secret of this node")

    def confirm(self, source: str) -> bool | None:
        return True if source == "consul" else None


class Client:
    """One end of a pair whose other end the server has."""

    def __init__(self, nursery: trio.Nursery, connections: Connections, access: Access) -> None:
        ours, theirs = socket.socketpair()
        self.stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        their_end = trio.SocketStream(trio.socket.from_stdlib_socket(theirs))
        state = cast(AdminState, Failing())
        nursery.start_soon(serve_connection, their_end, access, state, connections)

    async def answer(self) -> bytes:
        """All that comes until the server closes."""
        received = b""
        while data := await self.stream.receive_some(65536):
            received += data
        return received

    async def ask(self, request: bytes, *, ends: bool = True) -> bytes:
        """A request, then the whole answer."""
        await self.stream.send_all(request)
        if ends:
            await self.stream.send_eof()
        return await self.answer()


def run(
    work: Callable[[Callable[..., Client]], Awaitable[None]],
) -> list[structlog.typing.EventDict]:
    """Run with a way to make clients; the log lines."""

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            connections = Connections(4)

            def connect(access: Access = TCP) -> Client:
                return Client(nursery, connections, access)

            with trio.fail_after(3600):  # of the mock clock
                await work(connect)

    with structlog.testing.capture_logs() as logs:
        trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0.05))
    return logs


def one(request: bytes, access: Access = TCP, *, ends: bool = True) -> bytes:
    """The answer to one connection's bytes; nothing may be logged."""
    answers: list[bytes] = []

    async def work(connect: Callable[..., Client]) -> None:
        answers.append(await connect(access).ask(request, ends=ends))

    assert run(work) == []
    return answers[0]


def test_who_may_only_look_is_told_so() -> None:
    looker = Access(may_act=False)
    acting = HOST + b"x-egressd-admin: cli\r\n\r\n"
    refused = one(b"POST /registry/confirm?source=a HTTP/1.1\r\n" + acting, looker)
    assert refused.startswith(b"HTTP/1.1 403 ")
    assert b"may look and not act" in refused
    assert one(b"GET /healthz HTTP/1.1\r\n" + acting, looker).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize("access", [TCP, Access()], ids=["tcp", "unix"])
def test_malformed_targets_get_400_and_nothing_is_logged(access: Access) -> None:
    answers: dict[bytes, bytes] = {}

    async def work(connect: Callable[..., Client]) -> None:
        for target in MALFORMED_TARGETS:
            answers[target] = await connect(access).ask(
                b"GET " + target + b" HTTP/1.1\r\n" + HOST + b"\r\n"
            )

    assert run(work) == []
    assert {t: a for t, a in answers.items() if not a.startswith(b"HTTP/1.1 400 ")} == {}


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n", 200),
        (b"HEAD /healthz HTTP/1.1\r\n" + HOST + b"\r\n", 200),
        (b"HEAD //[ HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"GET /healthz HTTP/1.0\r\n" + HOST + b"\r\n", 200),
        (b"GET /healthz HTTP/1.0\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + HOST + b"\r\n", 400),
        (b"GET /healthz HTTP/1.1\r\nHost: evil.test\r\n\r\n", 403),
        (b"GET /healthz HTTP/1.1\r\n" + HOST + b"Origin: null\r\n\r\n", 403),
        (b"GET http://evil.test/ HTTP/1.1\r\n" + HOST + b"\r\n", 403),
        (b"GET /nothing HTTP/1.1\r\n" + HOST + b"\r\n", 404),
        (b"OPTIONS * HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"OPTIONS / HTTP/1.1\r\n" + HOST + b"\r\n", 405),
        (b"CONNECT localhost:15000 HTTP/1.1\r\n" + HOST + b"\r\n", 400),
        (b"DELETE / HTTP/1.1\r\n" + HOST + b"\r\n", 405),
        (b"POST /registry/confirm HTTP/1.1\r\n" + HOST + b"\r\n", 403),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"a b: c\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"a" * 100, 400),
        (b"GET / HTTP/1.1\r\n" + HOST + b"x: " + b"a" * 10**6 + b"\r\n\r\n", 431),
        (b"GET /" + b"a" * 10**6 + b" HTTP/1.1\r\n" + HOST + b"\r\n", 431),
        (b"a" * 10**6, 431),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 100000\r\n\r\n" + b"a" * 100_000, 413),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: 9\r\nExpect: 100-continue\r\n\r\n", 417),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Content-Length: x\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: zip\r\n\r\n", 501),
        (b"GET /status HTTP/1.1\r\n" + HOST + b"Upgrade: h2c\r\nConnection: upgrade\r\n\r\n", 500),
    ],
)  # fmt: skip
def test_every_request_gets_one_answer(request_bytes: bytes, status: int) -> None:
    answers: list[bytes] = []

    async def work(connect: Callable[..., Client]) -> None:
        async with trio.open_nursery() as nursery:
            client = connect(TCP)
            nursery.start_soon(client.stream.send_all, request_bytes)
            answers.append(await client.answer())

    run(work)
    assert answers[0].startswith(f"HTTP/1.1 {status} ".encode())
    assert b"\r\nHTTP/1.1 " not in answers[0]


def test_a_failing_view_is_a_500_without_details_and_the_server_goes_on() -> None:
    request = b"GET /status?key=hidden HTTP/1.1\r\n" + HOST + b"\r\n"
    answers: list[bytes] = []

    async def work(connect: Callable[..., Client]) -> None:
        answers.append(await connect(TCP).ask(request + request))

    logs = run(work)
    assert answers[0].count(b"HTTP/1.1 500 ") == 2
    assert b"secret" not in answers[0]
    assert "hidden" not in str(logs)
    assert [entry["path"] for entry in logs] == ["/status", "/status"]


def test_a_slow_head_ends_after_its_time_with_an_answer() -> None:
    async def work(connect: Callable[..., Client]) -> None:
        client = connect(TCP)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:

            async def dribble() -> None:
                for _ in range(30):
                    await client.stream.send_all(b"G")
                    await trio.sleep(1)

            nursery.start_soon(dribble)
            answer = await client.answer()
            nursery.cancel_scope.cancel()
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert trio.current_time() - began < server.REQUEST_S + 5

    run(work)


def test_an_idle_connection_ends_without_an_answer() -> None:
    assert one(b"", ends=False) == b""


def test_who_waits_longest_gives_way_to_a_newcomer() -> None:
    async def work(connect: Callable[..., Client]) -> None:
        silent = []
        for _ in range(4):
            silent.append(connect(TCP))
            await trio.testing.wait_all_tasks_blocked()
        began = trio.current_time()
        answer = await connect(TCP).ask(b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n")
        assert answer.startswith(b"HTTP/1.1 200 ")
        assert await silent[0].answer() == b""
        assert trio.current_time() - began < 1
        for client in silent:
            await client.stream.aclose()

    run(work)


def test_a_client_that_leaves_is_not_worth_a_line() -> None:
    async def work(connect: Callable[..., Client]) -> None:
        for part in (
            b"",
            b"GET",
            b"GET / HTTP/1.1\r\n" + HOST,
            b"GET /healthz HTTP/1.1\r\n" + HOST + b"\r\n",
        ):
            client = connect(TCP)
            await client.stream.send_all(part or b"\r\n")
            await client.stream.aclose()

    assert run(work) == []


@pytest.mark.parametrize("source", ["consul", "nothing"])
def test_posts_act_with_the_header(source: str) -> None:
    request = f"POST /registry/confirm?source={source} HTTP/1.1\r\n".encode() + HOST
    answer = one(request + b"x-egressd-admin: cli\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 " if source == "consul" else b"HTTP/1.1 404 ")
