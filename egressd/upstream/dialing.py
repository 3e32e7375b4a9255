"""A TCP or Unix connection to an endpoint: one address, or several raced (RFC 8305)."""

from __future__ import annotations

import errno
import os
import socket
from time import monotonic

from egressd.net.fiber import Fiber
from egressd.net.listening import is_of_this_host
from egressd.net.readiness import Readiness
from egressd.net.stream import Stream
from egressd.upstream.address_policy import DENIED
from egressd.upstream.spec import EndpointSpec, PoolLimits

ATTEMPT_DELAY_S = 0.25
"""How long an address has before the next one is tried beside it (RFC 8305 8)."""
_OWN = "this is a listener of the node itself: the request would come back without end"


class ConnectFailed(Exception):
    """No connection to an endpoint: `reason` names the endpoint and what went wrong."""

    def __init__(
        self, endpoint: str, reason: str, *, tls: bool = False, timeout: bool = False
    ) -> None:
        super().__init__(f"{endpoint}: {reason}")
        self.reason = f"{endpoint}: {reason}"
        self.tls = tls
        self.timeout = timeout


async def dial(loop: Readiness, fiber: Fiber, endpoint: EndpointSpec, limits: PoolLimits) -> Stream:
    """A connected stream. Raises `ConnectFailed`, `Deadline`."""
    if endpoint.alternates:
        return await _race(loop, fiber, endpoint, limits)
    stream = _start(loop, endpoint, endpoint.address, limits)
    try:
        while not stream.writable:
            await stream.wait_writable(fiber)
        _finish(loop, stream, endpoint)
    except BaseException:
        stream.close()
        raise
    return stream


async def _race(
    loop: Readiness, fiber: Fiber, endpoint: EndpointSpec, limits: PoolLimits
) -> Stream:
    """The first address that connects wins, the other attempts are closed. The next address is tried
    when one fails, or when none has connected for `ATTEMPT_DELAY_S`."""
    waiting = [endpoint.address, *endpoint.alternates]
    racing: list[Stream] = []
    failure: ConnectFailed | None = None
    next_at = 0.0
    try:
        while waiting or racing:
            now = monotonic()
            if waiting and now >= next_at:
                next_at = now + ATTEMPT_DELAY_S
                try:
                    stream = _start(loop, endpoint, waiting.pop(0), limits)
                except ConnectFailed as failed:
                    failure, next_at = failure or failed, 0.0
                    continue
                stream.write_waiter = fiber
                racing.append(stream)
            await fiber.nap(next_at - monotonic() if waiting else limits.connect_timeout_s)
            for stream in [one for one in racing if one.writable]:
                racing.remove(stream)
                try:
                    _finish(loop, stream, endpoint)
                except ConnectFailed as failed:
                    stream.close()
                    failure, next_at = failure or failed, 0.0
                    continue
                stream.write_waiter = None
                return stream
    finally:
        for stream in racing:
            stream.write_waiter = None
            stream.close()
    assert failure is not None
    raise failure


def _start(loop: Readiness, endpoint: EndpointSpec, address: str, limits: PoolLimits) -> Stream:
    """A stream whose connect is under way: `writable` when it has ended. Raises `ConnectFailed`."""
    if endpoint.policy is not None and endpoint.policy.denies(address):
        raise ConnectFailed(endpoint.id, DENIED)
    if loop.listening.has(address, endpoint.port):
        raise ConnectFailed(endpoint.id, _OWN)
    stream = Stream(loop, _open_socket(endpoint, address, limits))
    stream.readable = stream.writable = False  # an edge tells, also of a peer that speaks first
    return stream


def _finish(loop: Readiness, stream: Stream, endpoint: EndpointSpec) -> None:
    """Raises `ConnectFailed` when the connect failed, or led back to the node itself."""
    code = stream.sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if code:
        raise ConnectFailed(endpoint.id, os.strerror(code).lower())
    if loop.listening.has_any(endpoint.port) and _stays_here(stream.sock):
        raise ConnectFailed(endpoint.id, _OWN)


def _stays_here(sock: socket.socket) -> bool:
    return sock.family != socket.AF_UNIX and is_of_this_host(
        sock.getsockname()[0], sock.getpeername()[0]
    )


def _open_socket(endpoint: EndpointSpec, address: str, limits: PoolLimits) -> socket.socket:
    """A non-blocking socket with its connect under way. Raises `ConnectFailed`."""
    target: str | tuple[str, int] = address
    if address.startswith("/"):
        family = socket.AF_UNIX
    else:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        target = (address, endpoint.port)
    try:
        sock = socket.socket(
            family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        )
    except OSError as error:
        raise ConnectFailed(endpoint.id, str(error)) from None
    try:
        if family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if limits.keepalive is not None:
                _set_keepalive(sock, limits.keepalive)
        code = sock.connect_ex(target)
    except (OSError, ValueError) as error:
        sock.close()
        raise ConnectFailed(endpoint.id, str(error)) from None
    if code not in (0, errno.EINPROGRESS):
        sock.close()
        raise ConnectFailed(endpoint.id, os.strerror(code).lower())
    return sock


def _set_keepalive(sock: socket.socket, keepalive: tuple[int, int, int]) -> None:
    probes, time_s, interval_s = keepalive
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in (
        (socket.TCP_KEEPCNT, probes),
        (socket.TCP_KEEPIDLE, time_s),
        (socket.TCP_KEEPINTVL, interval_s),
    ):
        if value > 0:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
