"""What goes first on a new upstream connection: a PROXY header, a CONNECT to a proxy further on.

Source: Istio `TrafficPolicy.proxyProtocol` and `tunnel`; the PROXY protocol, versions 1 and 2
(haproxy.org/download/2.9/doc/proxy-protocol.txt); RFC 9110 9.3.6.
"""

from __future__ import annotations

import ipaddress
import struct

from egressd.net.fiber import Fiber
from egressd.net.stream import Stream, StreamClosed
from egressd.upstream.spec import TunnelSpec

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_MOST_HEAD = 16384


class TunnelRefused(Exception):
    """The proxy did not open the tunnel; the message says what it answered."""


def proxy_header(version: str, source: tuple[str, int], destination: tuple[str, int]) -> bytes:
    """A PROXY header, "V1" or "V2", of a client's connection: its address and the one that it came
    to. Addresses that are not IP, or of two families, are sent as unknown."""
    try:
        one, other = _without_zone(source[0]), _without_zone(destination[0])
        known = one.version == other.version
    except ValueError:
        known = False
    if not known:
        return b"PROXY UNKNOWN\r\n" if version == "V1" else _SIGNATURE + b"\x20\x00\x00\x00"
    if version == "V1":
        text = f"PROXY TCP{one.version} {one} {other} {source[1]} {destination[1]}\r\n"
        return text.encode()
    addresses = one.packed + other.packed + struct.pack("!HH", source[1], destination[1])
    family = 0x11 if one.version == 4 else 0x21
    return _SIGNATURE + bytes([0x21, family]) + struct.pack("!H", len(addresses)) + addresses


def _without_zone(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address:
    """Neither version has a place for the zone of a link-local address ("fe80::1%eth0"). Raises
    `ValueError`."""
    return ipaddress.ip_address(address.partition("%")[0])


async def open_tunnel(stream: Stream, fiber: Fiber, tunnel: TunnelSpec) -> bytes:
    """Ask the proxy at the other end for a tunnel: the head of its answer. Behind a POST both ways are
    bodies, see `egressd.proxy.post_tunnel`.

    Raises `TunnelRefused`, `StreamClosed`, `Deadline`.
    """
    host = f"[{tunnel.host}]" if ":" in tunnel.host else tunnel.host
    target = f"{host}:{tunnel.port}"
    if tunnel.method == "POST":
        request = f"POST / HTTP/1.1\r\nHost: {target}\r\nTransfer-Encoding: chunked\r\n\r\n"
    else:
        request = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n"
    await stream.send_all(fiber, request.encode())
    # One byte at a time near the end would be slow; the answer has no body, and the endpoint behind
    # the proxy may speak first: read no further than the end of the head.
    head = b""
    while not head.endswith(b"\r\n\r\n"):
        data = await stream.recv(fiber, 1)
        if not data:
            raise StreamClosed(f"the proxy closed before it answered {tunnel.method}")
        head += data
        if len(head) > _MOST_HEAD:
            raise TunnelRefused(f"its answer to {tunnel.method} has no end")
    status_line = head.partition(b"\r\n")[0].decode("latin-1")
    parts = status_line.split(" ", 2)
    if len(parts) < 2 or not parts[0].startswith("HTTP/1.") or not parts[1].startswith("2"):
        raise TunnelRefused(f"{tunnel.method} {target} was answered {status_line!r}")
    return head
