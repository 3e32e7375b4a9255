"""One attempt: a connection to one endpoint, the request sent, the response head read."""

from __future__ import annotations

from time import monotonic

from egressd.net.fiber import REQUEST_COST, Deadline, Fiber
from egressd.net.stream import StreamClosed
from egressd.proxy.addresses import preface_of
from egressd.proxy.body import RequestBody, upload
from egressd.proxy.context import Exchange
from egressd.proxy.http1.fields import MalformedMessage
from egressd.proxy.http1.response import ResponseHead, take_response
from egressd.proxy.plain_to_tls import is_plain_refused, is_tls_record
from egressd.proxy.reply import ClientGone, LocalReply
from egressd.proxy.retry import IDEMPOTENT, Failure
from egressd.telemetry.flags import ResponseFlag
from egressd.upstream.cluster import Endpoint
from egressd.upstream.connection import UpstreamConnection
from egressd.upstream.dialing import ConnectFailed
from egressd.upstream.tls import TlsConfigError

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_CONTINUE_WAIT_S = 1.0
"""How long an origin may take to say 100 before the client is told to go on (RFC 9110 10.1.1)."""


class AttemptFailed(Exception):
    """No response head came. `failure` decides on a retry, `flag` and `reason` are for the log."""

    def __init__(
        self,
        failure: Failure | None,
        flag: ResponseFlag,
        reason: str,
        *,
        status: int = 503,
        transport: str = "",
    ) -> None:
        super().__init__(reason)
        self.failure = failure
        self.flag = flag
        self.reason = reason
        self.status = status
        self.transport = transport


class Attempt:
    """What one attempt holds while it lasts."""

    __slots__ = ("connection", "response")

    def __init__(self, connection: UpstreamConnection) -> None:
        self.connection = connection
        self.response: ResponseHead | None = None

    def abandon(self, x: Exchange) -> None:
        """Give the attempt up: whatever is under way ends, its connection closes."""
        if x.uploads is not None:
            x.uploads.cancel()
        assert x.lease is not None
        x.lease.discard()


async def attempt(x: Exchange, head: bytes) -> Attempt:
    """Try the endpoint of the lease, or another one of which a connection comes free first. Raises
    `AttemptFailed`, `Overflow`, `ClientGone`, `MalformedMessage` (from downstream), `Deadline`.

    A pooled connection that its server has closed meanwhile is no failure of the endpoint: an
    idempotent request is sent once more on a new connection (RFC 9112 9.3.1).
    """
    endpoint = x.endpoint
    assert x.cluster is not None and x.lease is not None and endpoint is not None
    preface = preface_of(x, x.cluster) if x.cluster.cluster.spec.proxy_protocol else b""
    connection = x.cluster.pool.take_idle(endpoint, preface)
    if connection is not None:
        x.lease.use(connection)
        replayable = x.head.method in IDEMPOTENT and (x.body is None or x.body.kept is not None)
        try:
            return await _send_and_read(x, connection, head)
        except AttemptFailed as failed:
            if failed.failure is not Failure.RESET or not replayable:
                raise
            if x.body is not None and x.body.kept is None:
                raise
    return await _send_and_read(x, await _connect(x, endpoint, preface), head)


async def _connect(x: Exchange, endpoint: Endpoint, preface: bytes) -> UpstreamConnection:
    assert x.cluster is not None and x.lease is not None
    # Another endpoint's connection serves as well where the balancer chose freely.
    bound = x.hash_value is not None or x.attempts > 1
    try:
        tls = await x.cluster.origination(x.fiber)
        connection = await x.cluster.pool.open_new(x.fiber, endpoint, tls, preface, bound=bound)
    except ConnectFailed as failed:
        x.cluster.stats.connect_failures += 1
        what = "connection timeout" if failed.timeout else "connection failure"
        raise AttemptFailed(
            Failure.CONNECT,
            ResponseFlag.UF,
            "upstream connect error or disconnect/reset before headers. reset reason: "
            f"{what}, transport failure reason: {failed.reason}",
            transport=failed.reason,
        ) from None
    except TlsConfigError as error:
        raise AttemptFailed(
            None,
            ResponseFlag.UF,
            f"TLS origination: {error}",
            transport=str(error),
        ) from None
    x.lease.use(connection)
    x.endpoint = connection.endpoint
    return connection


async def _send_and_read(x: Exchange, connection: UpstreamConnection, head: bytes) -> Attempt:
    this = Attempt(connection)
    connection.requests += 1
    body = x.body
    stream = connection.stream
    x.downstream.watch.upstream = stream
    try:
        waits_for_continue = (
            x.head.expects_continue and body is not None and not (body.size or body.complete)
        )
        data = head if body is None or waits_for_continue else head + body.kept_encoded()
        await stream.send_all(x.fiber, data)
        if body is not None and not body.complete and not waits_for_continue:
            _start_upload(x, this)
        response = this.response = await _read_head(x, this, waits_for_continue)
        if response.status == 400 and is_plain_refused(connection.buffer):
            _note_tls(x, answered=True)
        return this
    except StreamClosed as error:
        if connection.requests == 1 and not connection.buffer:
            _note_tls(x, answered=False)
        this.abandon(x)
        raise _reset(x, str(error)) from None
    except MalformedMessage as error:
        if is_tls_record(connection.buffer):
            _note_tls(x, answered=True)
            error.reason += ": the endpoint speaks TLS, and no DestinationRule says so"
        this.abandon(x)
        if body is not None and body.failure is error:
            raise
        x.context.recorder.protocol_error("upstream")
        raise AttemptFailed(
            None,
            ResponseFlag.UPE,
            f"upstream protocol error: {error.reason}",
            status=502,
        ) from None
    except BaseException:
        this.abandon(x)
        raise


def _note_tls(x: Exchange, *, answered: bool) -> None:
    """What makes one think that a port which is called in plain speaks TLS (`egressd analyze`)."""
    runtime = x.cluster
    if runtime is not None and runtime.cluster.spec.tls is None:
        runtime.tls_answers += answered
        runtime.unanswered += not answered


def _reset(x: Exchange, why: str) -> AttemptFailed:
    return AttemptFailed(
        Failure.RESET,
        ResponseFlag.UC,
        "upstream connect error or disconnect/reset before headers. reset reason: "
        "connection termination" + (f" ({why})" if why else ""),
    )


def _start_upload(x: Exchange, this: Attempt) -> None:
    """Send the rest of the body beside reading the answer, which may come early."""
    body = x.body
    assert body is not None and x.uploads is not None
    main = x.fiber
    stream = this.connection.stream
    idle = x.context.settings.stream_idle_timeout_s

    async def run(fiber: Fiber) -> None:
        try:
            await upload(fiber, body, stream, idle)
        except (ClientGone, MalformedMessage, LocalReply, Deadline) as error:
            body.failure = error
            main.wake()
            return
        if body.complete:
            x.body_done(monotonic())

    x.uploads.start(run)


async def _read_head(x: Exchange, this: Attempt, waits_for_continue: bool) -> ResponseHead:
    """The final response head; interim ones are forwarded on the way (RFC 9110 15.2)."""
    connection = this.connection
    limits = x.context.settings.response_limits
    method = x.head.method
    looked_at = 0
    while True:
        buffer = connection.buffer
        taken = take_response(buffer, method, limits, looked_at) if buffer else None
        if taken is not None:
            response, end = taken
            connection.buffer = buffer[end:]
            if response.status >= 200 or (response.status == 101 and x.head.upgrade):
                return response
            if response.status == 101:
                raise MalformedMessage("101 without an Upgrade request")
            await _forward_interim(x, response)
            looked_at = 0
            if response.status == 100 and waits_for_continue:
                waits_for_continue = False
                _start_upload(x, this)
            continue
        looked_at = len(buffer)
        if not waits_for_continue:
            await _read_more(x, connection)
        elif not await _origin_speaks(x, this):
            waits_for_continue = False
            await _tell_client_to_go_on(x)
            _start_upload(x, this)


async def _read_more(x: Exchange, connection: UpstreamConnection) -> None:
    """More bytes of the head; looks at the upload meanwhile."""
    stream = connection.stream
    fiber = x.fiber
    while True:
        if stream.readable:
            data = stream.recv_now()
            if data:
                buffer = connection.buffer
                if buffer:
                    connection.buffer = buffer + data
                    x.head_dribbles(monotonic())
                else:
                    connection.buffer = data
                return
            if data is not None:
                raise StreamClosed("")
        # Looked at before each wait: what happened while the fiber waited elsewhere wakes it no more.
        if x.body is not None and x.body.failure is not None:
            raise x.body.failure
        stream.read_waiter = fiber
        try:
            await fiber.wait()
        finally:
            stream.read_waiter = None


async def _origin_speaks(x: Exchange, this: Attempt) -> bool:
    """Whether the origin says anything within the time given to its 100."""
    fiber = x.fiber
    outer = fiber.deadline
    fiber.set_deadline(min(outer, monotonic() + _CONTINUE_WAIT_S))
    try:
        await _read_more(x, this.connection)
    except Deadline:
        if monotonic() >= outer:
            raise
        return False
    finally:
        fiber.set_deadline(outer)
    return True


async def _tell_client_to_go_on(x: Exchange) -> None:
    try:
        await x.stream.send_all(x.fiber, CONTINUE)
    except StreamClosed:
        raise ClientGone from None


async def _forward_interim(x: Exchange, response: ResponseHead) -> None:
    """Interim responses are charged like requests: an origin may send them without end."""
    fiber = x.fiber
    fiber.budget -= REQUEST_COST
    if fiber.budget <= 0:
        await fiber.yield_now()
    if x.head.minor == 0:
        return
    data = b"HTTP/1.1 %d %b\r\n%b\r\n" % (
        response.status,
        response.reason,
        response.end_to_end_lines(),
    )
    try:
        await x.stream.send_all(fiber, data)
    except StreamClosed:
        raise ClientGone from None


__all__ = ["Attempt", "AttemptFailed", "RequestBody", "attempt"]
