"""Connections to endpoints with several addresses, on loopback (127.0.0.0/8 is all ours)."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from dataclasses import replace
from time import monotonic

import pytest
import trio

from egressd.net.fiber import Fiber
from egressd.net.readiness import Readiness
from egressd.net.stream import Stream
from egressd.upstream import dialing
from egressd.upstream.address_policy import DENIED, AddressPolicy, network_of
from egressd.upstream.dialing import ConnectFailed, dial
from egressd.upstream.spec import EndpointSpec, PoolLimits

LIMITS = PoolLimits()
DEAD = "127.0.0.77"  # nobody listens there


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.fixture
def hanging() -> Iterator[tuple[str, socket.socket]]:
    """An address whose accept queue is full: a connect to it neither ends nor fails."""
    with socket.socket() as server:
        server.bind(("127.0.0.2", 0))
        server.listen(0)
        fillers = []
        for _ in range(8):
            filler = socket.socket()
            filler.setblocking(False)
            code = filler.connect_ex(server.getsockname())
            assert code in (0, errno.EINPROGRESS)
            fillers.append(filler)
        yield "127.0.0.2", server
        for filler in fillers:
            filler.close()


async def dialed(endpoint: EndpointSpec, limits: PoolLimits = LIMITS) -> Stream | ConnectFailed:
    """What `dial` gives to a fiber."""
    loop = Readiness(lambda error: None)
    done = trio.Event()
    found: list[Stream | ConnectFailed] = []

    async def run(fiber: Fiber) -> None:
        fiber.set_deadline(monotonic() + 5)
        try:
            found.append(await dial(loop, fiber, endpoint, limits))
        except ConnectFailed as failed:
            found.append(failed)
        done.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(loop.run)
        loop.spawn(run)
        with trio.fail_after(10):
            await done.wait()
        nursery.cancel_scope.cancel()
    return found[0]


def endpoint(port: int, *addresses: str) -> EndpointSpec:
    return EndpointSpec(addresses[0], port, alternates=addresses[1:])


def peer(found: Stream | ConnectFailed) -> str:
    assert isinstance(found, Stream), found
    address = str(found.sock.getpeername()[0])
    found.close()
    return address


async def test_the_next_address_is_tried_at_once_when_one_fails(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialing, "ATTEMPT_DELAY_S", 60.0)
    port = listener.getsockname()[1]
    assert peer(await dialed(endpoint(port, DEAD, "127.0.0.1"))) == "127.0.0.1"


async def test_a_family_that_the_machine_lacks_fails_at_once(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    unroutable = "2001:db8::1"
    assert peer(await dialed(endpoint(port, unroutable, "127.0.0.1"))) == "127.0.0.1"


async def test_the_next_address_is_tried_beside_one_that_hangs(
    hanging: tuple[str, socket.socket],
) -> None:
    address, server = hanging
    port = server.getsockname()[1]
    with socket.create_server(("127.0.0.3", port)):
        assert peer(await dialed(endpoint(port, address, "127.0.0.3"))) == "127.0.0.3"


async def test_the_first_address_wins_when_it_answers(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    assert peer(await dialed(endpoint(port, "127.0.0.1", DEAD))) == "127.0.0.1"


async def test_when_all_fail_the_first_failure_is_told(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    found = await dialed(endpoint(port, DEAD, "127.0.0.78"))
    assert isinstance(found, ConnectFailed)
    assert found.reason == f"{DEAD}:{port}: connection refused"


async def test_attempts_that_lost_are_closed(hanging: tuple[str, socket.socket]) -> None:
    address, server = hanging
    port = server.getsockname()[1]
    opened: list[Stream] = []
    start = dialing._start

    def noting(*arguments: object) -> Stream:
        opened.append(start(*arguments))  # type: ignore[arg-type]
        return opened[-1]

    with socket.create_server(("127.0.0.3", port)), pytest.MonkeyPatch.context() as patch:
        patch.setattr(dialing, "_start", noting)
        won = await dialed(endpoint(port, address, "127.0.0.3"))
    assert [one.closed for one in opened] == [True, False]
    assert won is opened[1]
    opened[1].close()


# -- address policy ------------------------------------------------------------------------------

NOT_THE_FIRST = AddressPolicy((network_of("127.0.0.1/32"), network_of("::1")))


@pytest.mark.parametrize(
    "addresses",
    [
        ("127.0.0.1",),
        ("::ffff:127.0.0.1",),
        ("::ffff:7f00:1",),
        ("localhost",),
        ("127.1",),
        ("127.0.0.1", "::1", "::ffff:127.0.0.1"),
    ],
)
async def test_a_denied_address_is_not_dialled(
    listener: socket.socket, addresses: tuple[str, ...]
) -> None:
    port = listener.getsockname()[1]
    found = await dialed(replace(endpoint(port, *addresses), policy=NOT_THE_FIRST))
    assert isinstance(found, ConnectFailed)
    assert found.reason.endswith(DENIED)
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.accept()


async def test_of_raced_addresses_only_those_allowed_are_dialled(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    with socket.create_server(("127.0.0.3", port)):
        raced = replace(endpoint(port, "127.0.0.1", "127.0.0.3"), policy=NOT_THE_FIRST)
        assert peer(await dialed(raced)) == "127.0.0.3"
        raced = replace(endpoint(port, DEAD, "127.0.0.1", "127.0.0.3"), policy=NOT_THE_FIRST)
        assert peer(await dialed(raced)) == "127.0.0.3"
    listener.setblocking(False)
    with pytest.raises(BlockingIOError):
        listener.accept()
