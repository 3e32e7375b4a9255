"""The answer on its way back to the client, and what becomes of both connections behind it."""

from __future__ import annotations

from time import monotonic

from egressd.net.fiber import Deadline
from egressd.net.stream import StreamClosed
from egressd.proxy.attempt import Attempt
from egressd.proxy.body import relay_decoded, relay_length, send_downstream
from egressd.proxy.context import Exchange
from egressd.proxy.heads import downstream_head
from egressd.proxy.http1.chunked import ChunkedDecoder
from egressd.proxy.http1.fields import MalformedMessage
from egressd.proxy.http1.response import UNTIL_CLOSE, ResponseHead
from egressd.telemetry.flags import ResponseFlag


async def respond(x: Exchange, this: Attempt, response: ResponseHead) -> None:
    """Send the response downstream; raises nothing that would answer the client a second time."""
    head = x.head
    x.upstream_time = monotonic() - x.upstream_started
    x.status = response.status
    length = response.length
    reencode = head.minor == 1 and (response.chunked or length == UNTIL_CLOSE)
    if (length < 0 or response.chunked) and not reencode:
        x.keep_alive = False  # HTTP/1.0: the close ends the body
    if x.downstream.scope.draining or (x.body is not None and not x.body.complete):
        x.keep_alive = False
    data = downstream_head(x, response, reencode)
    try:
        if length >= 0 and not response.chunked:
            await _send_known(x, this, data, length)
        else:
            await _send_unknown(x, this, data, response, reencode)
    except (StreamClosed, MalformedMessage, Deadline) as error:
        _broken_off(x, error)
        this.abandon(x)
        return
    except BaseException:
        this.abandon(x)
        raise
    _finish(x, this, response)


async def _send_known(x: Exchange, this: Attempt, data: bytes, length: int) -> None:
    """A body of known length: head and what has come of it in one send."""
    connection = this.connection
    settings = x.context.settings
    buffered = connection.buffer
    if len(buffered) > length:
        connection.buffer = buffered[length:]  # more than was announced
        buffered = buffered[:length]
    else:
        connection.buffer = b""
    idle_s = settings.stream_idle_timeout_s
    await send_downstream(x.fiber, x.stream, data + buffered, idle_s, x.deadline)
    x.bytes_sent = len(buffered)
    left = length - len(buffered)
    if left:
        await relay_length(x.fiber, connection.stream, x.stream, left, idle_s, x.deadline, x)


async def _send_unknown(
    x: Exchange, this: Attempt, data: bytes, response: ResponseHead, reencode: bool
) -> None:
    connection = this.connection
    settings = x.context.settings
    await send_downstream(x.fiber, x.stream, data, settings.stream_idle_timeout_s, x.deadline)
    first, connection.buffer = connection.buffer, b""
    decoder = ChunkedDecoder() if response.chunked else None
    connection.buffer = await relay_decoded(
        x.fiber,
        connection.stream,
        x.stream,
        first,
        decoder,
        reencode,
        settings.stream_idle_timeout_s,
        x.deadline,
        x,
    )


def _broken_off(x: Exchange, error: Exception) -> None:
    """The response broke off behind its head: the only honest end is to close (RFC 9112 8)."""
    x.keep_alive = False
    x.aborted = True
    if isinstance(error, Deadline):
        x.add_flag(ResponseFlag.UT if monotonic() >= x.deadline else ResponseFlag.SI)
        x.details = "response_timeout"
    elif isinstance(error, MalformedMessage):
        x.add_flag(ResponseFlag.UPE)
        x.details = "upstream_protocol_error"
    else:
        x.add_flag(ResponseFlag.UC)
        x.details = "upstream_reset_after_response_started{connection_termination}"
    x.transport_failure = str(error)


def _finish(x: Exchange, this: Attempt, response: ResponseHead) -> None:
    lease = x.lease
    assert lease is not None
    uploading = x.body is not None and not x.body.complete
    if uploading:
        x.keep_alive = False
    if x.uploads is not None and x.uploads.is_busy:
        x.uploads.cancel()
        uploading = True  # the last of the body may not have gone out
    if response.keep_alive and not uploading:  # never of an answer that the close ends
        lease.give_back()
    else:
        lease.discard()
    if x.body is not None:
        x.put_back(x.body.rest)
