"""The adapters' HTTP client against a server that answers as told, over TCP, TLS and Unix sockets."""

from __future__ import annotations

import gzip
import ssl
import zlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing
import trustme

from adapters.http import Endpoint, HttpClient, HttpError, Tls


def answer(body: bytes, head: bytes = b"", status: bytes = b"200 OK") -> bytes:
    return b"HTTP/1.1 %b\r\n%bContent-Length: %d\r\n\r\n%b" % (status, head, len(body), body)


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


class Server:
    """Answers each request with the next pieces of bytes, one after the other; () closes instead."""

    def __init__(self, *answers: tuple[bytes, ...] | bytes) -> None:
        self.answers = [(a,) if isinstance(a, bytes) else a for a in answers]
        self.requests: list[bytes] = []
        self.connections = 0

    async def serve(self, stream: trio.abc.Stream) -> None:
        self.connections += 1
        async with stream:
            while request := await stream.receive_some():
                self.requests.append(bytes(request))
                pieces = self.answers.pop(0)
                for piece in pieces:
                    await stream.send_all(piece)
                    await trio.testing.wait_all_tasks_blocked()
                if not pieces:
                    return


@asynccontextmanager
async def client_of(server: Server) -> AsyncIterator[HttpClient]:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, server.serve, 0, host="127.0.0.1"))
        port = listeners[0].socket.getsockname()[1]
        client = HttpClient(Endpoint("http", "127.0.0.1", port))
        yield client
        client.close()
        nursery.cancel_scope.cancel()


async def test_a_body_is_sent_with_its_length_and_headers() -> None:
    server = Server(answer(b"done"))
    async with client_of(server) as client:
        got = await client.request("PUT", "/a?b=c", {"X-Own": "1"}, b"body", timeout_s=5)
    assert (got.status, got.body) == (200, b"done")
    head, _, body = server.requests[0].partition(b"\r\n\r\n")
    assert head.startswith(b"PUT /a?b=c HTTP/1.1\r\n") and body == b"body"
    assert {b"X-Own: 1", b"Content-Length: 4"} <= set(head.split(b"\r\n"))


async def test_a_gzip_answer_is_decompressed_and_its_connection_kept() -> None:
    packed = answer(gzip.compress(b"long " * 1000), b"Content-Encoding: gzip\r\n")
    server = Server(packed, packed)
    async with client_of(server) as client:
        for _ in range(2):
            got = await client.request("GET", "/", {"Accept-Encoding": "gzip"}, timeout_s=5)
            assert got.body == b"long " * 1000
    assert server.connections == 1


async def test_a_request_on_a_connection_closed_meanwhile_is_repeated_on_a_new_one() -> None:
    server = Server(answer(b"1"), (), answer(b"2"))
    async with client_of(server) as client:
        await client.request("GET", "/", timeout_s=5)
        assert (await client.request("GET", "/", timeout_s=5)).body == b"2"
    assert server.connections == 2


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        ((), "closed without an answer"),
        ((b"nonsense\r\n\r\n",), "illegal status line"),
        ((b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",), "silent for 0.2 s"),
        ((answer(b"plain", b"Content-Encoding: gzip\r\n"),), "no gzip"),
        ((answer(b"", b"Content-Encoding: br\r\n"),), "coding 'br'"),
    ],
)
async def test_what_is_no_answer_is_an_error_that_names_the_address_and_no_query(
    reply: tuple[bytes, ...], reason: str
) -> None:
    async with client_of(Server(reply)) as client:
        with pytest.raises(HttpError, match=reason) as caught:
            await client.request("GET", "/path?secret=1", timeout_s=0.2)
        assert str(caught.value).startswith(f"{client.endpoint.url}/path: ")


async def test_lines_come_as_they_are_sent_whatever_the_pieces() -> None:
    pieces = (CHUNKED, chunk(b'{"a":1}\n{"b"'), chunk(b":2}\n"), chunk(b"\ncut"), b"0\r\n\r\n")
    async with client_of(Server(pieces)) as client:
        async with client.open("GET", "/watch", timeout_s=5, idle_s=5) as got:
            lines = [await got.line() for _ in range(5)]
    assert (got.status, lines) == (200, [b'{"a":1}', b'{"b":2}', b"", None, None])


async def test_lines_of_a_gzip_answer_come_before_its_end() -> None:
    packer = zlib.compressobj(wbits=31)
    first = packer.compress(b"one\n") + packer.flush(zlib.Z_SYNC_FLUSH)
    head = CHUNKED.replace(b"\r\n\r\n", b"\r\nContent-Encoding: gzip\r\n\r\n")
    async with client_of(Server((head, chunk(first)))) as client:
        async with client.open("GET", "/watch", timeout_s=5, idle_s=5) as got:
            assert await got.line() == b"one"


async def test_a_watch_that_falls_silent_or_is_cut_off_is_an_error() -> None:
    for rest, reason in ((b"", "silent for 0.2 s"), (b"zz\r\n", "illegal chunk header")):
        async with client_of(Server((CHUNKED + chunk(b"one\n") + rest,))) as client:
            async with client.open("GET", "/watch?x=1", timeout_s=5, idle_s=0.2) as got:
                assert await got.line() == b"one"
                with pytest.raises(HttpError, match=rf"{client.endpoint.url}/watch: {reason}"):
                    await got.line()


async def test_an_error_of_the_block_passes_as_it_is() -> None:
    async with client_of(Server(answer(b"refused", status=b"410 Gone"))) as client:
        with pytest.raises(FileNotFoundError):
            async with client.open("GET", "/watch", timeout_s=5, idle_s=5) as got:
                assert (got.status, await got.text()) == (410, "refused")
                raise FileNotFoundError


async def test_a_unix_socket_is_spoken_to(tmp_path: Path) -> None:
    server = Server(answer(b"local"))
    path = str(tmp_path / "s")
    with trio.socket.socket(trio.socket.AF_UNIX) as listening:
        await listening.bind(path)
        listening.listen()
        async with trio.open_nursery() as nursery:
            listeners = [trio.SocketListener(listening)]
            nursery.start_soon(trio.serve_listeners, server.serve, listeners)
            client = HttpClient(Endpoint("unix", path=path))
            assert (await client.request("GET", "/", timeout_s=5)).body == b"local"
            client.close()
            nursery.cancel_scope.cancel()
    assert b"Host: localhost\r\n" in server.requests[0]


async def test_a_rotated_client_certificate_is_used_by_the_next_connection(tmp_path: Path) -> None:
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    names: list[object] = []

    async def serve(stream: trio.SSLStream[trio.SocketStream]) -> None:
        await stream.do_handshake()
        peer = stream.getpeercert()
        assert peer is not None
        names.append(peer["subjectAltName"])
        await Server(answer(b"", b"Connection: close\r\n")).serve(stream)

    async with trio.open_nursery() as nursery:
        start = partial(trio.serve_ssl_over_tcp, serve, 0, context, host="127.0.0.1")
        listeners = await nursery.start(partial(start, https_compatible=True))
        port = listeners[0].transport_listener.socket.getsockname()[1]
        paths = {name: str(tmp_path / name) for name in ("ca.pem", "cert.pem", "key.pem")}
        tls = Tls(
            ca_file=paths["ca.pem"],
            cert_file=paths["cert.pem"],
            key_file=paths["key.pem"],
            server_name="localhost",
        )
        client = HttpClient(Endpoint("https", "127.0.0.1", port), tls)
        for name in ("one.example", "two.example"):
            issued = authority.issue_cert(name)
            issued.private_key_pem.write_to_path(paths["key.pem"])
            issued.cert_chain_pems[0].write_to_path(paths["cert.pem"])
            await client.request("GET", "/", timeout_s=5)
        client.close()
        nursery.cancel_scope.cancel()
    assert names == [(("DNS", "one.example"),), (("DNS", "two.example"),)]


async def test_a_server_that_nobody_vouches_for_is_refused() -> None:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    trustme.CA().issue_cert("localhost").configure_cert(context)

    async def serve(stream: trio.SSLStream[trio.SocketStream]) -> None:
        with pytest.raises(trio.BrokenResourceError):
            await stream.do_handshake()

    async with trio.open_nursery() as nursery:
        start = partial(trio.serve_ssl_over_tcp, serve, 0, context, host="127.0.0.1")
        listeners = await nursery.start(start)
        port = listeners[0].transport_listener.socket.getsockname()[1]
        client = HttpClient(Endpoint("https", "localhost", port))
        with pytest.raises(HttpError, match=r"https://localhost:\d+/: .*verify failed"):
            await client.request("GET", "/", timeout_s=5)
        nursery.cancel_scope.cancel()
