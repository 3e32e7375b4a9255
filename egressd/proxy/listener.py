"""Accepting: one trio task a listening socket, a fiber a connection."""

from __future__ import annotations

import errno
import socket

import structlog
import trio

from egressd.net.readiness import Readiness
from egressd.net.stream import Stream
from egressd.proxy.context import WorkerContext
from egressd.proxy.downstream import Downstream

_OUT_OF_DESCRIPTORS = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_PAUSE_S = 0.1
_ACCEPTS = 256
"""Accepted in one go before other tasks get their turn."""

log = structlog.get_logger("egressd.worker")


async def serve_listener(context: WorkerContext, name: str, listener: socket.socket) -> None:
    """Accept until cancelled. Out of descriptors, it waits: the kernel's queue holds the rest."""
    listener.setblocking(False)
    while True:
        await trio.lowlevel.wait_readable(listener)
        if not accept_waiting(context, name, listener):
            await trio.sleep(_PAUSE_S)


def accept_waiting(context: WorkerContext, name: str, listener: socket.socket) -> bool:
    """Start to serve the connections that wait now, a bounded number. False: no more can be had."""
    for _ in range(_ACCEPTS):
        if _is_full(context):
            return False
        try:
            sock, address = listener.accept()
        except (BlockingIOError, ConnectionError):
            return True
        except OSError as error:
            if error.errno not in _OUT_OF_DESCRIPTORS:
                raise
            log.error("cannot accept", listener=name, reason=str(error))
            return False
        start_connection(context, sock, address)
    return True


def _is_full(context: WorkerContext) -> bool:
    limit = context.settings.max_connections
    return limit > 0 and len(context.connections) >= limit


def start_connection(context: WorkerContext, sock: socket.socket, address: object) -> None:
    """Begin to serve an accepted connection."""
    loop: Readiness = context.loop
    try:
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        local = _text(sock.getsockname())
    except OSError:
        sock.close()  # the client went before it was served
        return
    downstream = Downstream(context, Stream(loop, sock), "mesh", local, _text(address))
    loop.spawn(downstream.serve)


def _text(address: object) -> str:
    if isinstance(address, tuple) and len(address) >= 2:
        host, port = address[0], address[1]
        return f"[{host}]:{port}" if ":" in str(host) else f"{host}:{port}"
    return str(address)
