"""One query to one server: UDP, TCP when the answer is cut off, without EDNS where that is unknown.

Nothing here has a deadline: the caller's scope ends it. Datagrams that do not belong to the query
(another id or question, garbage) are passed over, as RFC 5452 9.1 asks.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable

import dns.exception
import dns.flags
import dns.message
import dns.rcode
import trio

from egressd.dns.servers import Server

EDNS_PAYLOAD = 1232
"""Bytes that fit every path without fragments (DNS flag day 2020)."""
_LARGEST = 65535
_MALFORMED = (dns.exception.DNSException, ValueError, IndexError, struct.error)


class Malformed(Exception):
    """What came is no answer to the query."""


async def exchange(
    server: Server, name: str, kind: str, on_garbage: Callable[[], None]
) -> dns.message.Message:
    """The server's response. Raises `OSError`, `Malformed`."""
    query = dns.message.make_query(name, kind, use_edns=0, payload=EDNS_PAYLOAD)
    response = await _ask(server, query, on_garbage)
    if response.rcode() in (dns.rcode.FORMERR, dns.rcode.NOTIMP):  # RFC 6891 7
        response = await _ask(server, dns.message.make_query(name, kind), on_garbage)
    return response


async def _ask(
    server: Server, query: dns.message.QueryMessage, on_garbage: Callable[[], None]
) -> dns.message.Message:
    response = await _over_udp(server, query, on_garbage)
    if response is None or response.flags & dns.flags.TC:
        return await _over_tcp(server, query)
    return response


def _family(server: Server) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in server.address else socket.AF_INET


async def _over_udp(
    server: Server, query: dns.message.QueryMessage, on_garbage: Callable[[], None]
) -> dns.message.Message | None:
    """None: cut off so that it cannot even be read."""
    wire = query.to_wire()
    with trio.socket.socket(_family(server), socket.SOCK_DGRAM) as sock:
        # Connected: the kernel drops what others send, and says at once when nobody listens there.
        await sock.connect((server.address, server.port))
        await sock.send(wire)
        while True:
            data = await sock.recv(_LARGEST)
            try:
                response = dns.message.from_wire(data, ignore_trailing=True)
            except _MALFORMED:
                if data[:2] == wire[:2] and len(data) > 2 and data[2] & 0x82 == 0x82:  # QR, TC
                    return None
                on_garbage()
                continue
            if query.is_response(response):
                return response
            on_garbage()


async def _over_tcp(server: Server, query: dns.message.QueryMessage) -> dns.message.Message:
    wire = query.to_wire()
    sock = trio.socket.socket(_family(server), socket.SOCK_STREAM)
    try:
        await sock.connect((server.address, server.port))
    except BaseException:
        sock.close()
        raise
    async with trio.SocketStream(sock) as stream:
        await stream.send_all(len(wire).to_bytes(2, "big") + wire)
        size = int.from_bytes(await _exactly(stream, 2), "big")
        data = await _exactly(stream, size)
    try:
        response = dns.message.from_wire(data, ignore_trailing=True)
    except _MALFORMED as error:
        raise Malformed(f"over TCP: {error}") from None
    if not query.is_response(response):
        raise Malformed("the answer over TCP is to another question")
    return response


async def _exactly(stream: trio.SocketStream, size: int) -> bytes:
    data = b""
    while len(data) < size:
        try:
            more = await stream.receive_some(size - len(data))
        except trio.BrokenResourceError as error:
            raise OSError(f"TCP: {error.__cause__ or error}") from None
        if not more:
            raise OSError("TCP: closed before the answer")
        data += more
    return data
