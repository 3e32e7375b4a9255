"""The far ends of the proxy's connections: they write and read what a script says, plain or TLS."""

from __future__ import annotations

import os
import socket
import ssl
from contextlib import suppress

_SIZE = 1 << 18


class Peer:
    """One end of a socket pair; the proxy has the other, `far`.

    `ended`: the proxy has closed or half-closed. `reset`: it did so by a reset.
    """

    def __init__(self, far: socket.socket, near: socket.socket) -> None:
        near.setblocking(False)
        self.sock = near
        self.far_fd = far.fileno()
        self.received = b""
        self.ended = False
        self.reset = False
        self.lingers = False  # the proxy's next close is a reset
        self.closed = False
        self.paused = False  # does not read
        self.gone = False  # the script closed this end
        self._outbox = b""
        self._ends = False

    def send(self, data: bytes) -> None:
        self._outbox += data

    def fin(self) -> None:
        """Send what waits, then no more; reading goes on."""
        self._ends = True
        self.gone = True

    def rst(self) -> None:
        """A reset, as the proxy sees it: ECONNRESET behind what it has not read yet.

        A Unix socket resets its peer when it closes on unread bytes, so there have to be some.
        """
        self.gone = True
        if self.closed:
            return
        if not self.ended:
            with suppress(OSError):
                echo = socket.socket(fileno=os.dup(self.far_fd))
                with echo:
                    echo.send(b"unread")
        self.close()

    def close(self) -> None:
        if not self.closed:
            self.closed = True
            self.sock.close()

    def pump(self) -> bool:
        """Write and read what can be now. Returns whether anything moved."""
        if self.closed:
            return False
        return self._write() | (not self.paused and self._read())

    def _write(self) -> bool:
        moved = False
        while self._outbox:
            try:
                count = self.sock.send(self._outbox)
            except BlockingIOError:
                return moved
            except OSError:
                self._outbox = b""
                return True
            self._outbox = self._outbox[count:]
            moved = True
        if self._ends:
            self._ends = False
            self._shut()
            return True
        return moved

    def _shut(self) -> None:
        with suppress(OSError):
            self.sock.shutdown(socket.SHUT_WR)

    def _read(self) -> bool:
        moved = False
        while not self.ended:
            try:
                data = self.sock.recv(_SIZE)
            except BlockingIOError:
                return moved
            except OSError:
                self.ended = self.reset = True
                return True
            moved = True
            self._take(data)
        return moved

    def _take(self, data: bytes) -> None:
        if data:
            self.received += data
        else:
            self.ended = True


class TlsPeer(Peer):
    """The same over TLS, by an `SSLObject`: each `send` is a record of its own."""

    def __init__(
        self, far: socket.socket, near: socket.socket, context: ssl.SSLContext, *, server: bool
    ) -> None:
        super().__init__(far, near)
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        name = None if server else "a.x"
        self._tls = context.wrap_bio(self._in, self._out, server_side=server, server_hostname=name)
        self._shaken = False
        self._records: list[bytes] = []
        self.clean = False  # the proxy said close_notify
        self._advance()

    def send(self, data: bytes) -> None:
        self._records.append(data)
        self._advance()

    def fin(self) -> None:
        self._advance()
        with suppress(ssl.SSLError):
            self._tls.unwrap()
        self._outbox += self._out.read()
        super().fin()

    def _take(self, data: bytes) -> None:
        if data:
            self._in.write(data)
        else:
            self._in.write_eof()
            self.ended = True
        self._advance()

    def _advance(self) -> None:
        try:
            if not self._shaken:
                self._tls.do_handshake()
                self._shaken = True
            for record in self._records:
                self._tls.write(record)
            self._records.clear()
            while data := self._tls.read(_SIZE):
                self.received += data
            self.clean = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.clean = True
        except (ssl.SSLError, OSError):
            pass  # the end of the connection says what there is to say
        self._outbox += self._out.read()
