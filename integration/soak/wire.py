"""The little HTTP/1.1 that clients and origin of the soak need, over any byte stream."""

from __future__ import annotations

from typing import NamedTuple, Protocol

_CHUNK = 65536


class ByteStream(Protocol):
    async def receive_some(self, max_bytes: int | None = None) -> bytes: ...
    async def send_all(self, data: bytes) -> None: ...


class Cut(Exception):
    """The stream ended within a message. `received` is what had come of it."""

    def __init__(self, received: bytes) -> None:
        super().__init__(f"ended after {len(received)} bytes")
        self.received = received


class Head(NamedTuple):
    """Start line as three words; field names in lower case, the last of a name wins."""

    words: tuple[str, ...]
    fields: dict[str, str]
    raw: bytes

    @property
    def status(self) -> int:
        return int(self.words[1])


class Reader:
    """Heads and bodies off a stream, with what was read too much kept."""

    def __init__(self, stream: ByteStream) -> None:
        self.stream = stream
        self.buffer = b""

    async def head(self) -> Head | None:
        """The next head; None at a clean end. Raises Cut."""
        while b"\r\n\r\n" not in self.buffer:
            if not await self._more():
                if self.buffer:
                    raise Cut(self.buffer)
                return None
        raw, _, self.buffer = self.buffer.partition(b"\r\n\r\n")
        first, *lines = raw.decode("latin-1").split("\r\n")
        pairs = (line.partition(":") for line in lines)
        fields = {name.lower(): value.strip() for name, _, value in pairs}
        return Head(tuple(first.split(" ", 2)), fields, raw)

    async def body(self, head: Head, *, to_end: bool) -> bytes:
        """The body that `head` announces; with `to_end`, one without length ends with the stream."""
        if "chunked" in head.fields.get("transfer-encoding", ""):
            return await self._chunks()
        if "content-length" in head.fields:
            return await self.exactly(int(head.fields["content-length"]))
        if not to_end:
            return b""
        while await self._more():
            pass
        found, self.buffer = self.buffer, b""
        return found

    async def exactly(self, size: int) -> bytes:
        """So many bytes. Raises Cut."""
        while len(self.buffer) < size:
            if not await self._more():
                raise Cut(self.buffer)
        found, self.buffer = self.buffer[:size], self.buffer[size:]
        return found

    async def _chunks(self) -> bytes:
        found = b""
        while True:
            while b"\r\n" not in self.buffer:
                if not await self._more():
                    raise Cut(found + self.buffer)
            line, _, self.buffer = self.buffer.partition(b"\r\n")
            size = int(line.split(b";")[0], 16)
            try:
                found += (await self.exactly(size + 2))[:-2]
            except Cut as cut:
                raise Cut(found + cut.received) from None
            if not size:
                return found

    async def _more(self) -> bool:
        data = await self.stream.receive_some(_CHUNK)
        self.buffer += data
        return bool(data)


def chunked(body: bytes, size: int) -> bytes:
    """`body` in chunks of `size` bytes."""
    parts = [body[at : at + size] for at in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
