"""The worker's side of the control socket: a line with a command in, one answer out, close."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial

import structlog
import trio

_LINE_S = 5.0
_MAX_LINE = 256

log = structlog.get_logger("egressd.worker")


async def serve_control(path: str, commands: Mapping[str, Callable[[], bytes]]) -> None:
    """Answer on a Unix socket until cancelled. A socket of a dead predecessor is replaced."""
    with suppress(FileNotFoundError):
        os.unlink(path)
    listener = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        await listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen(16)
        await trio.serve_listeners(
            partial(_answer, commands=commands), [trio.SocketListener(listener)]
        )
    finally:
        listener.close()


async def _answer(stream: trio.SocketStream, commands: Mapping[str, Callable[[], bytes]]) -> None:
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        async with stream:
            with trio.move_on_after(_LINE_S):
                line = b""
                while not line.endswith(b"\n") and len(line) < _MAX_LINE:
                    data = await stream.receive_some(_MAX_LINE)
                    if not data:
                        return
                    line += data
                command = commands.get(line.strip().decode("ascii", "replace"))
                if command is not None:
                    await stream.send_all(command())
