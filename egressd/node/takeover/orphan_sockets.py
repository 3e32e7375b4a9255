"""Listening sockets from workers that serve on without a supervisor, for the next one.

The service manager keeps sockets too (`egressd.node.takeover.kept`), yet not for ever: systemd closes
what it keeps when the service has failed, as after a start with a wrong configuration. The workers have
the ports then: a supervisor that could not have their sockets could not start while they serve.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path

import structlog
import trio

from egressd.node.sockets import Named

_AT_ONCE = 100  # sockets of one message; the kernel takes 253
_MOST = 1 << 16  # bytes of their names
_PATIENCE_S = 1.0
_BACKLOG = 4

log = structlog.get_logger("egressd.worker")


async def hand_out(run_dir: str, sockets: Callable[[], Sequence[Named]]) -> None:
    """Give copies of `sockets` to who asks, until cancelled. The place has a file of its own in the run
    directory, which the node's user alone may use."""
    path = f"{run_dir}/orphan-{os.getpid()}.sock"
    try:
        with closing(_listen(path)) as listener:
            while True:
                await trio.lowlevel.wait_readable(listener)
                _answer(listener, sockets())
    except OSError as error:  # the next supervisor has what the service manager kept
        log.warning("no place to hand sockets out", path=path, error=error.strerror)
    finally:
        with suppress(OSError):
            os.unlink(path)


def _listen(path: str) -> socket.socket:
    with suppress(FileNotFoundError):
        os.unlink(path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_NONBLOCK)
    try:
        listener.bind(path)
        os.chmod(path, 0o600)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _answer(listener: socket.socket, sockets: Sequence[Named]) -> None:
    with suppress(OSError):
        asking, _ = listener.accept()
        with asking:
            asking.setblocking(False)
            for at in range(0, len(sockets), _AT_ONCE):
                some = sockets[at : at + _AT_ONCE]
                names = "\0".join(name for name, _ in some)
                socket.send_fds(asking, [names.encode()], [sock.fileno() for _, sock in some])


def ask_orphans(run_dir: str, have: Sequence[Named]) -> list[Named]:
    """The sockets of every worker that serves on, each once, without those in `have`."""
    known = {os.fstat(sock.fileno()).st_ino for _, sock in have}
    found: list[Named] = []
    for path in sorted(Path(run_dir).glob("orphan-*.sock")):
        for name, sock in _ask(path):
            inode = os.fstat(sock.fileno()).st_ino
            if inode in known:
                sock.close()
            else:
                known.add(inode)
                sock.setblocking(False)
                found.append((name, sock))
    return found


def _ask(path: Path) -> list[Named]:
    found: list[Named] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as line:
        line.settimeout(_PATIENCE_S)
        try:
            line.connect(str(path))
            while True:
                names, fds, _, _ = socket.recv_fds(line, _MOST, _AT_ONCE)
                if not names:
                    break
                opened = [socket.socket(fileno=fd) for fd in fds]
                found.extend(zip(names.decode().split("\0"), opened, strict=False))
        except ConnectionRefusedError:  # it was killed
            with suppress(OSError):
                path.unlink()
        except OSError as error:
            log.warning("a worker gives no sockets", path=str(path), error=str(error))
    return found
