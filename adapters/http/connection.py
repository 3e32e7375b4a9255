"""One HTTP/1.1 connection: one exchange at a time, h11 over a trio stream."""

from __future__ import annotations

from collections.abc import Mapping

import h11
import trio

from egressd.api.secret import Secret

MAX_HEAD = 64 * 1024
RECEIVE_SIZE = 64 * 1024
Stream = trio.SocketStream | trio.SSLStream[trio.SocketStream]


class Connection:
    """Every method that waits raises `trio.BrokenResourceError` and `h11.ProtocolError`."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._protocol = h11.Connection(our_role=h11.CLIENT, max_incomplete_event_size=MAX_HEAD)
        self.is_silent = True  # nothing was received since the last request went out

    async def send(
        self, method: str, target: str, headers: Mapping[str, str | Secret], body: bytes
    ) -> None:
        """One whole request. `headers` name the Host."""
        self.is_silent = True
        fields = [
            (name, value.reveal() if isinstance(value, Secret) else value)
            for name, value in headers.items()
        ]
        if body or method not in ("GET", "HEAD", "DELETE"):
            fields.append(("Content-Length", str(len(body))))
        request = h11.Request(method=method, target=target, headers=fields)
        parts = [self._protocol.send(request)]
        if body:
            parts.append(self._protocol.send(h11.Data(data=body)))
        parts.append(self._protocol.send(h11.EndOfMessage()))
        await self._stream.send_all(b"".join(part for part in parts if part))

    async def head(self) -> tuple[int, dict[str, str]]:
        """The status and header fields of the final answer, names in lower case."""
        while True:
            event = await self._event()
            if isinstance(event, h11.Response):
                fields = {n.decode(): value.decode("latin-1") for n, value in event.headers}
                return event.status_code, fields
            if not isinstance(event, h11.InformationalResponse):
                raise h11.RemoteProtocolError("no answer")

    async def piece(self) -> bytes | None:
        """The next piece of the body, as it came; None at its end and after it."""
        if self._protocol.their_state in (h11.DONE, h11.MUST_CLOSE, h11.CLOSED):
            return None
        event = await self._event()
        return bytes(event.data) if isinstance(event, h11.Data) else None

    async def _event(self) -> h11.Event | type[h11.NEED_DATA] | type[h11.PAUSED]:
        """The next event, never NEED_DATA."""
        while (event := self._protocol.next_event()) is h11.NEED_DATA:
            data = await self._stream.receive_some(RECEIVE_SIZE)
            self.is_silent = self.is_silent and not data
            if not data and self._protocol.their_state is h11.SEND_RESPONSE:
                raise trio.BrokenResourceError("the server closed without an answer")
            self._protocol.receive_data(bytes(data))
        return event

    def can_be_reused(self) -> bool:
        """Make ready for the next exchange, unless one side asked for the connection to end."""
        if self._protocol.our_state is not h11.DONE or self._protocol.their_state is not h11.DONE:
            return False
        self._protocol.start_next_cycle()
        return True

    def abort(self) -> None:
        """Close now, without a TLS goodbye; never waits."""
        stream = self._stream
        plain = stream.transport_stream if isinstance(stream, trio.SSLStream) else stream
        plain.socket.close()
