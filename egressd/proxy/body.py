"""Bodies on their way: the request's, kept as far as a retry may need it, and the response's.

Nothing is buffered that nobody needs: a request body is kept up to the retry bound while it streams
and forgotten past it; a response body goes through one buffer that the worker's fibers share, because
it is written out before anybody else runs.
"""

from __future__ import annotations

from time import monotonic
from typing import Protocol

from egressd.net.fiber import Deadline, Fiber
from egressd.net.stream import Stream, StreamClosed
from egressd.proxy.http1.chunked import ChunkedDecoder, encode_chunk, encode_last
from egressd.proxy.http1.request import RequestHead
from egressd.proxy.reply import ClientGone, LocalReply
from egressd.telemetry.flags import ResponseFlag

_SHARED = memoryview(bytearray(256 * 1024))
_READ = 65536
CHUNK_COST = 1024
"""What decoding a chunk costs of a step's budget, whatever its size, in bytes."""


class RequestBody:
    """The body of one request as it comes from downstream."""

    __slots__ = (
        "_decoder",
        "_left",
        "_stream",
        "chunked",
        "complete",
        "failure",
        "keep_limit",
        "kept",
        "kept_size",
        "rest",
        "size",
    )

    def __init__(self, stream: Stream, head: RequestHead, buffered: bytes, keep_limit: int) -> None:
        self._stream = stream
        self.chunked = head.chunked
        self._decoder = ChunkedDecoder() if head.chunked else None
        self._left = head.length
        self.kept: list[bytes] | None = []  # None: passed the bound, no retry any more
        self.kept_size = 0
        self.size = 0
        self.complete = False
        self.failure: Exception | None = None
        self.rest = b""  # what came behind the body: the next request
        # What came with the head is in memory anyway: kept whatever its size, for the first attempt.
        self.keep_limit = max(keep_limit, len(buffered))
        self._take(buffered)

    def _take(self, data: bytes) -> bytes:
        """Decode what came; raises `MalformedMessage`."""
        if self._decoder is not None:
            piece = self._decoder.feed(data)
            if self._decoder.done:
                self.complete = True
                self.rest = self._decoder.rest
        else:
            piece = data[: self._left]
            self.rest = data[self._left :]
            self._left -= len(piece)
            self.complete = self._left == 0
        if piece:
            self.size += len(piece)
            self._keep(piece)
        return piece

    def _keep(self, piece: bytes) -> None:
        if self.kept is not None:
            self.kept_size += len(piece)
            if self.kept_size > self.keep_limit and not self.complete:
                self.kept = None
            else:
                self.kept.append(piece)

    def kept_encoded(self) -> bytes:
        """What has come so far, framed for the wire, with the end of the body when that has come."""
        data = b"".join(self.kept or ())
        if not self.chunked:
            return data
        encoded = encode_chunk(data) if data else b""
        return encoded + self.last_chunk() if self.complete else encoded

    def last_chunk(self) -> bytes:
        return encode_last(self._decoder.trailers) if self._decoder is not None else b""

    async def read(self, fiber: Fiber) -> bytes:
        """The next piece, b"" when none was decoded from what came.

        Raises `ClientGone`, `MalformedMessage`, `Deadline`.
        """
        try:
            data = await self._stream.recv(fiber, _READ)
        except StreamClosed:
            raise ClientGone from None
        if not data:
            raise ClientGone
        piece = self._take(data)
        if self._decoder is not None:
            fiber.budget -= self._decoder.chunks * CHUNK_COST
        return piece


async def upload(fiber: Fiber, body: RequestBody, stream: Stream, idle_timeout_s: float) -> None:
    """Send the part of a body that is still to come upstream.

    An upstream that closes is no failure here: it may have answered already. Raises what
    `RequestBody.read` raises but `Deadline`, which is an upstream that takes nothing for so long; a
    client that sends nothing for so long gets a `LocalReply` (Envoy `stream_idle_timeout`: 408 before
    the end of the request).
    """
    chunked = body.chunked
    while not body.complete:
        fiber.set_deadline(monotonic() + idle_timeout_s)
        try:
            piece = await body.read(fiber)
        except Deadline:
            raise LocalReply(
                408,
                "stream timeout",
                flag=ResponseFlag.SI,
                details="stream_idle_timeout",
                close=True,
            ) from None
        fiber.set_deadline(monotonic() + idle_timeout_s)
        out = encode_chunk(piece) if chunked and piece else piece
        if chunked and body.complete:
            out += body.last_chunk()
        if out:
            try:
                await stream.send_all(fiber, out)
            except StreamClosed:
                return


class Progress(Protocol):
    """Where bytes of a body are counted that went to the client."""

    bytes_sent: int


async def relay_length(
    fiber: Fiber,
    source: Stream,
    target: Stream,
    left: int,
    idle_timeout_s: float,
    limit: float,
    progress: Progress,
) -> None:
    """Move `left` bytes. `limit` is the exchange's own deadline.

    Raises `ClientGone`, `StreamClosed` (also when the source ends before), `Deadline`.
    """
    while left:
        if fiber.budget <= 0:
            await fiber.yield_now()
        count = source.recv_into_now(_SHARED[: min(left, len(_SHARED))]) if source.readable else -1
        if count < 0:
            fiber.set_deadline(min(limit, monotonic() + idle_timeout_s))
            await source.wait_readable(fiber)
            continue
        if count == 0:
            raise StreamClosed("the upstream ended before the announced length")
        left -= count
        fiber.budget -= count
        await send_downstream(fiber, target, _SHARED[:count], idle_timeout_s, limit)
        progress.bytes_sent += count


async def send_downstream(
    fiber: Fiber, target: Stream, data: bytes | memoryview, idle_timeout_s: float, limit: float
) -> None:
    """Send to the client. Raises `ClientGone`, `Deadline`."""
    try:
        sent = target.send_now(data)
        if sent < len(data):
            # The rest must leave the shared buffer before another fiber reads into it.
            rest = bytes(data[sent:])
            fiber.set_deadline(min(limit, monotonic() + idle_timeout_s))
            await target.send_all(fiber, rest)
    except StreamClosed:
        raise ClientGone from None


async def relay_decoded(
    fiber: Fiber,
    source: Stream,
    target: Stream,
    first: bytes,
    decoder: ChunkedDecoder | None,
    encode: bool,
    idle_timeout_s: float,
    limit: float,
    progress: Progress,
) -> bytes:
    """Move a body whose length is not known: chunked (`decoder`) or ended by the close.

    Returns what came behind its end. Raises `ClientGone`, `StreamClosed` (also when the source breaks
    off; with `encode` the target then sees no last chunk), `Deadline`, `MalformedMessage`.
    """
    data = first
    while True:
        piece = data
        ended = False
        if decoder is not None:
            piece = decoder.feed(data)
            ended = decoder.done
            fiber.budget -= decoder.chunks * CHUNK_COST
        if piece or ended:
            out = encode_chunk(piece) if encode and piece else piece
            if ended and encode and decoder is not None:
                out += encode_last(decoder.trailers)
            if out:
                await send_downstream(fiber, target, out, idle_timeout_s, limit)
            progress.bytes_sent += len(piece)
        if ended and decoder is not None:
            return decoder.rest
        fiber.set_deadline(min(limit, monotonic() + idle_timeout_s))
        data = await source.recv(fiber, _READ)
        if not data:
            if decoder is not None or source.truncated:
                raise StreamClosed("the upstream broke off its response")
            if encode:
                await send_downstream(fiber, target, encode_last(), idle_timeout_s, limit)
            return b""
