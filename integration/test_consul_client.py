"""The Consul client and adapter against agents that misbehave, played by a small server."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial

import pytest
import trio

from adapters.consul import make_adapter
from adapters.consul.client import ConsulClient, ReadError
from adapters.consul.options import read_options
from adapters.consul.transport import TrioTransport
from adapters.http import Credential
from egressd.registry.adapter import AdapterContext
from integration.recorder import Recorder, recorded


def answer(
    body: bytes, *, head: bytes = b"X-Consul-Index: 7\r\n", status: bytes = b"200 OK"
) -> bytes:
    length = str(len(body)).encode()
    return b"HTTP/1.1 %s\r\n%bContent-Length: %b\r\n\r\n%b" % (status, head, length, body)


INSTANCE = b'[{"Node": {"Node": "vm", "Address": "10.0.0.1"}, "Service": {"ID": "a", "Port": 80}}]'
SERVICES = answer(b'{"web": ["a"], "consul": null}')


class Agent:
    """Answers each request with the next of its answers; b"" closes the connection instead."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[bytes] = []
        self.connections = 0

    async def serve(self, stream: trio.SocketStream) -> None:
        self.connections += 1
        async with stream:
            while True:
                request = await stream.receive_some()
                if not request:
                    return
                self.requests.append(bytes(request))
                reply = self.answers.pop(0)
                await stream.send_all(reply)
                if not reply:
                    return


@asynccontextmanager
async def client_of(agent: Agent, **options: object) -> AsyncIterator[ConsulClient]:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, agent.serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        given = {"address": f"127.0.0.1:{port}", **options}
        read, endpoint = read_options("c", given, {})
        transport = TrioTransport(endpoint, read)
        yield ConsulClient(transport, Credential(read.token, "", "token"), read, read.datacenter)
        transport.close()
        nursery.cancel_scope.cancel()


async def test_a_blocking_query_asks_stale_with_index_wait_and_token() -> None:
    agent = Agent(SERVICES)
    async with client_of(agent, token="secret", datacenter="dc2") as client:
        reply, services = await client.services(5)
    assert (reply.index, services) == (7, {"web": ("a",), "consul": ()})
    line, *fields = agent.requests[0].decode().split("\r\n")
    assert line.startswith("GET /v1/catalog/services?")
    assert {"dc=dc2", "index=5", "wait=30s", "stale="} <= set(
        line.split()[1].split("?")[1].split("&")
    )
    assert "x-consul-token: secret" in {field.lower() for field in fields}


async def test_enterprise_names_go_with_every_question() -> None:
    agent = Agent(SERVICES, answer(b"[]"))
    async with client_of(agent, consulNamespace="shop", partition="eu") as client:
        await client.services(0)
        await client.instances("web")
    for request in agent.requests:
        query = request.decode().split()[1].partition("?")[2].split("&")
        assert {"ns=shop", "partition=eu"} <= set(query)


async def test_an_answer_says_whether_rights_hide_a_part_of_it() -> None:
    head = b"X-Consul-Index: 7\r\nX-Consul-Results-Filtered-By-ACLs: true\r\n"
    async with client_of(Agent(answer(b"{}", head=head), SERVICES)) as client:
        assert (await client.services(0))[0].is_filtered
        assert not (await client.services(0))[0].is_filtered


async def test_a_connection_is_kept_for_the_next_question() -> None:
    agent = Agent(SERVICES, SERVICES)
    async with client_of(agent) as client:
        await client.services(0)
        await client.services(0)
    assert agent.connections == 1


async def test_a_kept_connection_that_the_agent_closed_is_replaced() -> None:
    agent = Agent(SERVICES, b"", SERVICES)
    async with client_of(agent) as client:
        await client.services(0)
        assert (await client.services(0))[0].index == 7
    assert agent.connections == 2


async def test_a_chunked_answer_is_read_whole() -> None:
    chunked = (
        b"HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\nTransfer-Encoding: chunked\r\n\r\n"
        b'8\r\n{"web": \r\n4\r\n[]} \r\n0\r\n\r\n'
    )
    async with client_of(Agent(chunked)) as client:
        assert (await client.services(0))[1] == {"web": ()}


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (b"", "closed without an answer"),
        (b"nonsense\r\n\r\n", "illegal status line"),
        (SERVICES.replace(b"Content-Length: ", b"Content-Length: x"), "bad Content-Length"),
        (answer(b"{"), "Input data was truncated"),
        (answer(b'["web"]'), "Expected `object`, got `array`"),
        (answer(b"{}", head=b""), "without X-Consul-Index"),
        (answer(b"{}", head=b"X-Consul-Index: many\r\n"), "X-Consul-Index: no number"),
        (answer(b"ACL not found", status=b"403 Forbidden"), "ACLPermissionDenied: ACL not found"),
        (answer(b"No cluster leader", status=b"500 Oops"), "500 No cluster leader"),
        (
            answer(b"{}", head=b"X-Consul-Index: 7\r\nX-Consul-KnownLeader: false\r\n"),
            "answered without a known leader",
        ),
    ],
)
async def test_a_bad_answer_is_an_error_that_names_the_agent(reply: bytes, reason: str) -> None:
    async with client_of(Agent(reply), requestTimeout="1s") as client:
        with pytest.raises(ReadError, match=f"^http://127.0.0.1:.*({reason})"):
            await client.services(0)


async def test_a_silent_agent_is_left_after_the_time_out() -> None:
    agent = Agent(b"HTTP/1.1 200 OK\r\n")
    async with client_of(agent, requestTimeout="50ms") as client:
        with pytest.raises(ReadError, match=r"silent for 0\.05 s"):
            await client.services(0)


@asynccontextmanager
async def watching(
    serve: Callable[[trio.SocketStream], Awaitable[None]],
) -> AsyncIterator[Recorder]:
    """An adapter at a server."""
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        options = {"address": f"127.0.0.1:{port}", "maxBackoff": "10ms"}
        async with recorded(make_adapter(AdapterContext(name="consul"), options)) as sink:
            yield sink
        nursery.cancel_scope.cancel()


async def test_a_service_that_cannot_be_read_fails_alone_until_it_can() -> None:
    refused = 0

    async def serve(stream: trio.SocketStream) -> None:
        nonlocal refused
        async with stream:
            while request := await stream.receive_some():
                path = bytes(request).split()[1].decode()
                if "index=" in path:
                    await trio.sleep_forever()  # nothing changes
                reply = answer(INSTANCE if "/health/service/" in path else b"[]")
                if path.startswith("/v1/catalog/services"):
                    reply = answer(b'{"bad": [], "good": []}')
                elif path.startswith("/v1/health/service/bad") and refused < 3:
                    refused += 1
                    reply = answer(b"rpc error", status=b"500 Oops")
                await stream.send_all(reply)

    async with watching(serve) as sink:
        await sink.until(lambda: len(sink.snapshots) == 2)
    first, second = sink.snapshots
    assert first.failed_origins == {"bad"}
    assert [record.origin for record in first.records] == ["good"]
    assert second.failed_origins == frozenset()
    assert {record.origin for record in second.records} == {"bad", "good"}


async def test_a_listed_service_without_instances_is_kept_until_the_list_drops_it() -> None:
    """A token that may not read nodes any more sees services, and no instance of any."""
    hides = trio.Event()

    async def serve(stream: trio.SocketStream) -> None:
        async with stream:
            while request := await stream.receive_some():
                path = bytes(request).split()[1].decode()
                if "index=" in path:
                    await (trio.sleep_forever if hides.is_set() else hides.wait)()
                reply = answer(b"[]", head=b"X-Consul-Index: 9\r\n")
                if path.startswith("/v1/catalog/services"):
                    reply = answer(b'{"web": []}')
                elif path.startswith("/v1/health/service/web") and not hides.is_set():
                    reply = answer(INSTANCE)
                await stream.send_all(reply)

    async with watching(serve) as sink:
        await sink.until(lambda: sink.endpoints("web") == ["10.0.0.1"])
        hides.set()
        await sink.until(lambda: any("without an instance" in one for one in sink.failures))
        assert sink.endpoints("web") == ["10.0.0.1"]
        assert sink.snapshots[-1].failed_origins <= {"web"}
