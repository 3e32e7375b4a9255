"""A TCP port in front of a real server, which delays, garbles, rewrites or cuts what passes.

    with Interposer(consul.port) as between:
        between.disturb(rewrite=garbage)   # what the server says from now on
        ...
        between.disturb()                  # all is well again

Every setting holds for open connections too. One thread a direction of a connection.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Self

CHUNK = 64 * 1024
CONNECT_TIMEOUT_S = 10.0
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER of 0 s: close() sends RST, as a dying host does
Rewrite = Callable[[bytes], bytes]


def garbage(data: bytes) -> bytes:
    """As many bytes, none of them meant."""
    return random.randbytes(len(data))


class Interposer:
    """Forwards `port` of its own to `server_port`, both on 127.0.0.1."""

    def __init__(self, server_port: int) -> None:
        self._server_port = server_port
        self._delay_s = 0.0
        self._rewrite: Rewrite | None = None
        self._flows = threading.Event()  # not set: bytes of the server wait
        self._flows.set()
        self._is_down = False
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._open: set[socket.socket] = set()
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = int(self._listener.getsockname()[1])
        self.accepted = 0  # connections since the start

    @property
    def address(self) -> str:
        """The port as an HTTP URL."""
        return f"http://127.0.0.1:{self.port}"

    def disturb(
        self,
        *,
        delay_s: float = 0.0,
        rewrite: Rewrite | None = None,
        silent: bool = False,
        down: bool = False,
        cut: bool = False,
    ) -> None:
        """Set all at once; what is not named is as it should be. `delay_s` before each chunk of the
        server's, `rewrite` of each chunk, `silent`: connections stand and nothing comes, `down`: every
        connection is reset, old and new, `cut`: the open ones only."""
        self._delay_s, self._rewrite, self._is_down = delay_s, rewrite, down
        (self._flows.clear if silent else self._flows.set)()
        if down or cut:
            with self._lock:
                for each in self._open:
                    _reset(each)

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._ended.set()
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.disturb(down=True)

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while not self._ended.is_set():
                client, _ = self._listener.accept()
                self.accepted += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            address = ("127.0.0.1", self._server_port)
            server = socket.create_connection(address, CONNECT_TIMEOUT_S)
            server.settimeout(None)
        except OSError:
            _reset(client)
            client.close()
            return
        with client, server:
            with self._lock:
                self._open |= {client, server}
            if self._is_down:
                _reset(client)
            up = threading.Thread(target=_pump, args=(client, server, bytes), daemon=True)
            up.start()
            _pump(server, client, self._disturbed)
            up.join()
            with self._lock:
                self._open -= {client, server}

    def _disturbed(self, data: bytes) -> bytes:
        self._ended.wait(self._delay_s)
        self._flows.wait()
        rewrite = self._rewrite
        return rewrite(data) if rewrite else data


def _pump(source: socket.socket, target: socket.socket, change: Rewrite) -> None:
    """Bytes one way until either side ends; the end is passed on."""
    with contextlib.suppress(OSError):
        while data := source.recv(CHUNK):
            target.sendall(change(data))
    for end, how in ((target, socket.SHUT_WR), (source, socket.SHUT_RD)):
        with contextlib.suppress(OSError):
            end.shutdown(how)


def _reset(end: socket.socket) -> None:
    """Break the connection and wake whoever waits on it; its owner closes it."""
    with contextlib.suppress(OSError):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        end.shutdown(socket.SHUT_RDWR)
