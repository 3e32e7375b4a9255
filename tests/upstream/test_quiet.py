"""A connection goes back to its pool only when it is known that nothing has come behind the answer:
plain and TLS, however the bytes were split, before and after it became idle."""

from __future__ import annotations

import os
import socket
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import trustme

from egressd.api.service_entry import Resolution
from egressd.net import Stream
from egressd.routing.table import ClusterKey
from egressd.upstream import node_state
from egressd.upstream.cluster import Cluster, Endpoint
from egressd.upstream.connection import UpstreamConnection
from egressd.upstream.node_state import NodeState
from egressd.upstream.pool import Pool
from egressd.upstream.spec import ClusterSpec, EndpointSpec
from tests.net.driver import Loop, it

__all__ = ["it"]

_CA = trustme.CA()
_CERTIFICATE = _CA.issue_cert("origin.example")
_SPEC = ClusterSpec(
    key=ClusterKey("a.example", "", 80),
    resolution=Resolution.STATIC,
    endpoints=(EndpointSpec("10.0.0.1", 80),),
)


@dataclass
class Line:
    """A pool with one busy connection, and the origin's end of it."""

    it: Loop
    pool: Pool
    connection: UpstreamConnection
    origin: socket.socket
    unasked: list[Endpoint] = field(default_factory=list)

    def idle(self) -> list[UpstreamConnection]:
        return self.pool.idle.get(self.connection.endpoint, [])


def _handshake(client: ssl.SSLSocket, server: ssl.SSLSocket) -> None:
    done: set[ssl.SSLSocket] = set()
    while len(done) < 2:
        for side in (client, server):
            try:
                side.do_handshake()
                done.add(side)
            except ssl.SSLWantReadError:
                pass


@pytest.fixture(params=["plain", "TLS 1.2", "TLS 1.3"])
def line(request: pytest.FixtureRequest, it: Loop) -> Iterator[Line]:
    ours, origin = socket.socketpair()
    ours.setblocking(False)
    origin.setblocking(False)
    if request.param != "plain":
        server, client = (
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER),
            ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
        )
        _CERTIFICATE.configure_cert(server)
        _CA.configure_trust(client)
        client.minimum_version = ssl.TLSVersion.TLSv1_2
        if request.param == "TLS 1.2":
            client.maximum_version = ssl.TLSVersion.TLSv1_2
        options = {"do_handshake_on_connect": False, "suppress_ragged_eofs": False}
        ours = client.wrap_socket(ours, server_hostname="origin.example", **options)
        origin = server.wrap_socket(origin, server_side=True, **options)
        _handshake(ours, origin)  # type: ignore[arg-type]
    fd = node_state.create()
    node = NodeState(fd, 0)
    cluster = Cluster(_SPEC, node)
    unasked: list[Endpoint] = []
    pool = Pool(it.loop, cluster, unasked.append)
    endpoint = cluster.endpoints[0]
    assert cluster.admission.take_connection()
    pool.open += 1
    endpoint.connections += 1
    connection = UpstreamConnection(Stream(it.loop, ours), endpoint, 0)
    yield Line(it, pool, connection, origin, unasked)
    pool.close()
    connection.stream.close()
    origin.close()
    node.close()
    os.close(fd)


def _read(line: Line, size: int) -> bytes:
    """Take just so much, as the end of a body does; the kernel may have more."""
    stream = line.connection.stream
    line.it.run()
    data = b""
    while len(data) < size:
        piece = stream.recv_now(size - len(data))
        if piece is None:
            line.it.run()
            continue
        data += piece
    return data


def test_a_connection_with_nothing_behind_its_answer_is_kept_and_used_again(line: Line) -> None:
    line.origin.send(b"answer")
    assert _read(line, 6) == b"answer"
    line.pool.release(line.connection)
    assert line.idle() == [line.connection]
    line.it.run()
    assert line.pool.take_idle(line.connection.endpoint) is line.connection
    assert line.unasked == []


@pytest.mark.parametrize("behind", [b"H", b"HTTP/1.1 200 OK\r\n", b"x" * 40_000])
@pytest.mark.parametrize("together", [True, False])
def test_bytes_behind_an_answer_close_the_connection(
    line: Line, behind: bytes, together: bool
) -> None:
    for piece in [b"answer" + behind] if together else [b"answer", behind]:
        line.origin.send(piece)
    assert _read(line, 6) == b"answer"
    line.pool.release(line.connection)
    assert line.idle() == []
    assert line.connection.stream.closed
    assert line.unasked == [line.connection.endpoint]
    assert line.pool.open == 0


def test_bytes_that_were_read_with_the_answer_close_the_connection(line: Line) -> None:
    line.connection.buffer = b"HTT"
    line.pool.release(line.connection)
    assert line.connection.stream.closed
    assert line.unasked == [line.connection.endpoint]


def test_bytes_that_come_between_the_release_and_the_next_request_close_it(line: Line) -> None:
    line.origin.send(b"answer")
    assert _read(line, 6) == b"answer"
    line.pool.release(line.connection)
    line.origin.send(b"more")  # no event has told of it yet
    assert line.pool.take_idle(line.connection.endpoint) is None
    assert line.unasked == [line.connection.endpoint]


def test_bytes_on_an_idle_connection_close_it(line: Line) -> None:
    line.origin.send(b"answer")
    assert _read(line, 6) == b"answer"
    line.pool.release(line.connection)
    line.it.run()
    line.origin.send(b"more")
    line.it.run()
    assert line.idle() == []
    assert line.connection.stream.closed
    assert line.unasked == [line.connection.endpoint]


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("how", ["close", "shutdown"])
def test_an_origin_that_closes_is_no_protocol_error(line: Line, when: str, how: str) -> None:
    line.origin.send(b"answer")
    end: Callable[[], None] = line.origin.close
    if how == "shutdown":
        end = lambda: line.origin.shutdown(socket.SHUT_WR)  # noqa: E731
    if when == "before":
        end()
        assert _read(line, 6) == b"answer"
        line.pool.release(line.connection)
    else:
        assert _read(line, 6) == b"answer"
        line.pool.release(line.connection)
        line.it.run()
        end()
    line.it.run()
    assert line.pool.take_idle(line.connection.endpoint) is None
    assert line.connection.stream.closed
    assert line.unasked == []
    assert line.pool.open == 0
