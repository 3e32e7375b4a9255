"""Forwarding: admission, the attempts with their retries, and the answer on its way back."""

from __future__ import annotations

from time import monotonic

from egressd.net.readiness import Deadline
from egressd.net.stream import StreamClosed
from egressd.proxy.attempt import Attempt, AttemptFailed, attempt
from egressd.proxy.body import RequestBody, relay_decoded, relay_length, send_downstream
from egressd.proxy.context import Exchange
from egressd.proxy.directory import ClusterRuntime
from egressd.proxy.http1.chunked import ChunkedDecoder
from egressd.proxy.http1.fields import MalformedMessage, join_fields, split_fields
from egressd.proxy.http1.response import UNTIL_CLOSE, ResponseHead
from egressd.proxy.reply import ClientGone, LocalReply, connection_line, reason_phrase
from egressd.proxy.retry import Failure, backoff_s, retries_failure, retries_response
from egressd.proxy.tunnel import tunnel
from egressd.routing.match import apply_header_ops, rewrite_target
from egressd.routing.table import HeaderOps
from egressd.upstream.cluster import Endpoint, Outcome
from egressd.upstream.pool import Overflow

_NEVER = float("inf")


async def forward(x: Exchange) -> None:
    """Carry an exchange to its cluster and back.

    Raises `LocalReply` while nothing was sent to the client, `ClientGone`, `MalformedMessage`.
    """
    runtime = x.cluster
    assert runtime is not None
    if runtime.failure:
        raise _unusable(runtime)
    cluster = runtime.cluster
    if not cluster.admit_request():
        raise _overflow(x, "http2MaxRequests")
    runtime.stats.requests_active += 1
    try:
        if not runtime.resolved:
            await x.context.directory.resolve(x.fiber, runtime)
            if runtime.failure:
                raise _unusable(runtime)
        await _forward_admitted(x)
    finally:
        runtime.stats.requests_active -= 1
        cluster.done_request()


async def _forward_admitted(x: Exchange) -> None:
    if x.head.has_body:
        x.body = RequestBody(
            x.stream, x.head, x.take_buffer(), x.context.settings.retry_buffer_bytes
        )
    assert x.route is not None
    if x.route.timeout_s and (x.body is None or x.body.complete):
        x.body_done(monotonic())
    head = upstream_head(x)
    try:
        this = await _attempts(x, head)
    except Deadline:
        raise LocalReply(
            504, "upstream request timeout", flag="UT", details="response_timeout"
        ) from None
    except Overflow as overflow:
        raise _overflow(x, overflow.limit) from None
    assert this.response is not None
    if this.response.status == 101:
        await tunnel(x, this)
    else:
        await _respond(x, this, this.response)


def _unusable(runtime: ClusterRuntime) -> LocalReply:
    return LocalReply(
        runtime.failure_status, runtime.failure, flag="NC", details="cluster_not_found"
    )


def _overflow(x: Exchange, limit: str) -> LocalReply:
    assert x.cluster is not None
    x.cluster.stats.overflow(limit)
    return LocalReply(
        503,
        "upstream connect error or disconnect/reset before headers. reset reason: overflow "
        f"({limit} of {x.cluster.key})",
        flag="UO",
        details="upstream_reset_before_response_started{overflow}",
        headers=((b"x-envoy-overloaded", b"true"),),
    )


# -- the request head that goes upstream ---------------------------------------------------------


def upstream_head(x: Exchange) -> bytes:
    """The head as the endpoint gets it: rewritten, hop-by-hop fields off, framing and id on."""
    route, head, destination = x.route, x.head, x.destination
    assert route is not None and destination is not None
    authority = x.sent_authority
    if route.rewrite is not None:
        target = rewrite_target(route, x.match, x.request)
        if route.rewrite.authority is not None:
            authority = route.rewrite.authority
    else:
        target = b"%b?%b" % (x.path, x.query) if x.query else x.path
    lines = head.end_to_end_lines()
    if route.request_headers or destination.request_headers:
        lines, authority = _with_ops(
            lines, authority, (route.request_headers, destination.request_headers)
        )
    if authority != head.host:
        lines = _with_host(lines, authority)
    x.sent_target, x.sent_authority = target, authority
    extra = b""
    if not head.request_id:
        x.request_id = x.context.new_request_id()
        extra = b"x-request-id: %b\r\n" % x.request_id
    if head.chunked:
        extra += b"transfer-encoding: chunked\r\n"
    if head.upgrade:
        extra += b"connection: upgrade\r\nupgrade: %b\r\n" % head.upgrade
    return b"%b %b HTTP/1.1\r\n%b%b\r\n" % (head.method, target, lines, extra)


def _with_ops(
    lines: bytes, authority: bytes, all_ops: tuple[HeaderOps | None, ...]
) -> tuple[bytes, bytes]:
    """Istio applies the route's operations, then the destination's; `host` rewrites the authority."""
    fields = split_fields(lines)
    before = [value for name, value in fields if name.lower() == b"host"]
    for ops in all_ops:
        if ops is not None:
            fields = apply_header_ops(fields, ops)
    after = [value for name, value in fields if name.lower() in (b"host", b":authority")]
    fields = [field for field in fields if field[0][:1] != b":"]
    if after and after[-1:] != before[-1:]:
        authority = after[-1]
    return join_fields(fields), authority


def _with_host(lines: bytes, authority: bytes) -> bytes:
    fields = [field for field in split_fields(lines) if field[0].lower() != b"host"]
    return b"Host: %b\r\n" % authority + join_fields(fields)


# -- attempts ------------------------------------------------------------------------------------


async def _attempts(x: Exchange, head: bytes) -> Attempt:
    """Try endpoints until one answers with a head that stands. Raises as `forward` does."""
    runtime, route = x.cluster, x.route
    assert runtime is not None and route is not None
    cluster, policy, rng = runtime.cluster, route.retry, x.context.rng
    tried: tuple[Endpoint, ...] = ()
    retries = 0
    while True:
        endpoint = cluster.pick(monotonic(), rng, tried)
        if endpoint is None:
            raise LocalReply(
                503,
                f"no healthy upstream: {_no_endpoint(x)}",
                flag="UH",
                details="no_healthy_upstream",
            )
        x.endpoint = endpoint
        x.attempts += 1
        x.upstream_started = monotonic()
        may_retry = policy is not None and retries < policy.attempts
        try:
            this = await _one_try(x, endpoint, head)
        except AttemptFailed as failed:
            if not (may_retry and _covers(x, failed)) or not cluster.admit_retry():
                raise _failed(x, failed, retries) from None
            retry_admitted = True
        else:
            assert this.response is not None
            if not may_retry or not _covers_response(x, this.response):
                if retries and policy is not None and _covers_response(x, this.response):
                    x.add_flag("URX")
                return this
            if not cluster.admit_retry():
                x.add_flag("UO")
                return this
            retry_admitted = True
            this.abandon(x)
        try:
            endpoint.active -= 1
            retries += 1
            runtime.stats.retries += 1
            tried = (*tried, endpoint)
            assert policy is not None
            await x.fiber.sleep(backoff_s(policy, retries, rng()))
        finally:
            if retry_admitted:
                cluster.done_retry()
            x.endpoint = None
        if x.stream.dead:
            raise ClientGone


async def _one_try(x: Exchange, endpoint: Endpoint, head: bytes) -> Attempt:
    """One attempt under its own time limit; tells the outlier detector how it went.

    `endpoint.active` counts from here to the end of the exchange (`serve_exchange`).
    """
    runtime, route = x.cluster, x.route
    assert runtime is not None and route is not None
    cluster = runtime.cluster
    endpoint.active += 1
    endpoint.requests += 1
    runtime.stats.requests_total += 1
    per_try = route.retry.per_try_timeout_s if route.retry is not None else None
    limit = x.deadline if per_try is None else min(x.deadline, monotonic() + per_try)
    x.fiber.set_deadline(limit)
    try:
        this = await attempt(x, endpoint, head)
    except AttemptFailed as failed:
        outcome = Outcome.GATEWAY_ERROR if failed.flag == "UPE" else Outcome.LOCAL_ORIGIN
        _report(x, endpoint, outcome)
        raise
    except Deadline:
        _report(x, endpoint, Outcome.TIMEOUT)
        if monotonic() >= x.deadline:
            raise
        raise AttemptFailed(
            Failure.PER_TRY_TIMEOUT, "UT", "upstream request timeout (perTryTimeout)", status=504
        ) from None
    response = this.response
    assert response is not None
    if cluster.spec.outlier is not None:
        if response.status < 500 and not cluster.spec.outlier.error_statuses:
            cluster.report_success(endpoint)
        else:
            _report_status(x, endpoint, response.status)
    return this


def _report(x: Exchange, endpoint: Endpoint, outcome: Outcome) -> None:
    assert x.cluster is not None
    endpoint.failures += 1
    reason = x.cluster.cluster.report(endpoint, outcome, monotonic())
    if reason:
        x.context.recorder.ejected(x, endpoint, reason)


def _report_status(x: Exchange, endpoint: Endpoint, status: int) -> None:
    assert x.cluster is not None
    if status >= 500:
        endpoint.failures += 1
    reason = x.cluster.cluster.report_status(endpoint, status, monotonic())
    if reason:
        x.context.recorder.ejected(x, endpoint, reason)


def _covers(x: Exchange, failed: AttemptFailed) -> bool:
    assert x.route is not None and x.route.retry is not None
    if x.body is not None and x.body.kept is None:
        x.transport_failure = "not retried: the request body is past retryBufferBytes"
        return False
    return failed.failure is not None and retries_failure(
        x.route.retry, failed.failure, x.head.method
    )


def _covers_response(x: Exchange, response: ResponseHead) -> bool:
    assert x.route is not None and x.route.retry is not None
    if x.body is not None and x.body.kept is None:
        return False
    return retries_response(x.route.retry, response.status, response.lines, x.head.method)


def _failed(x: Exchange, failed: AttemptFailed, retries: int) -> LocalReply:
    x.transport_failure = failed.transport or x.transport_failure
    flag = f"{failed.flag},URX" if retries else failed.flag
    details = f"upstream_reset_before_response_started{{{failed.flag}}}"
    return LocalReply(failed.status, failed.reason, flag=flag, details=details)


def _no_endpoint(x: Exchange) -> str:
    assert x.cluster is not None
    total = len(x.cluster.cluster.endpoints)
    where = f"{x.cluster.key}"
    return (
        f"{where} has no endpoints"
        if not total
        else f"all {total} endpoints of {where} are ejected"
    )


# -- the answer ----------------------------------------------------------------------------------


async def _respond(x: Exchange, this: Attempt, response: ResponseHead) -> None:
    """Send the response downstream; raises nothing that would answer the client a second time."""
    head = x.head
    x.upstream_time = monotonic() - x.upstream_started
    x.status = response.status
    length = response.length
    reencode = head.minor == 1 and (response.chunked or length == UNTIL_CLOSE)
    if (length < 0 or response.chunked) and not reencode:
        x.keep_alive = False  # HTTP/1.0: the close ends the body
    if x.context.draining or (x.body is not None and not x.body.complete):
        x.keep_alive = False
    data = downstream_head(x, response, reencode)
    try:
        if length >= 0 and not response.chunked:
            clean = await _send_known(x, this, data, length)
        else:
            clean = await _send_unknown(x, this, data, response, reencode)
    except (StreamClosed, MalformedMessage, Deadline) as error:
        _broken_off(x, error)
        this.abandon(x)
        return
    except BaseException:
        this.abandon(x)
        raise
    _finish(x, this, response, clean)


def downstream_head(x: Exchange, response: ResponseHead, reencode: bool) -> bytes:
    """The head as the client gets it."""
    route, destination = x.route, x.destination
    assert route is not None and destination is not None
    lines = response.end_to_end_lines()
    if route.response_headers or destination.response_headers:
        fields = split_fields(lines)
        for ops in (route.response_headers, destination.response_headers):
            if ops is not None:
                fields = apply_header_ops(fields, ops)
        lines = join_fields(fields)
    if reencode:
        lines += b"transfer-encoding: chunked\r\n"
    reason = response.reason or reason_phrase(response.status)
    last = b"" if x.keep_alive and x.head.minor else connection_line(x.head.minor, x.keep_alive)
    return b"HTTP/1.1 %d %b\r\n%b%b\r\n" % (response.status, reason, lines, last)


async def _send_known(x: Exchange, this: Attempt, data: bytes, length: int) -> bool:
    """A body of known length: head and what has come of it in one send. True: all went well."""
    connection = this.connection
    settings = x.context.settings
    buffered = connection.buffer
    if len(buffered) > length:
        connection.buffer = buffered[length:]  # more than was announced: not reused
        buffered = buffered[:length]
    else:
        connection.buffer = b""
    x.bytes_sent = length
    await send_downstream(
        x.fiber, x.stream, data + buffered, settings.stream_idle_timeout_s, x.deadline
    )
    left = length - len(buffered)
    if left:
        missing = await relay_length(
            x.fiber, connection.stream, x.stream, left, settings.stream_idle_timeout_s, x.deadline
        )
        if missing:
            x.bytes_sent = length - missing
            raise StreamClosed("the upstream ended before the announced length")
    return True


async def _send_unknown(
    x: Exchange, this: Attempt, data: bytes, response: ResponseHead, reencode: bool
) -> bool:
    connection = this.connection
    settings = x.context.settings
    await send_downstream(x.fiber, x.stream, data, settings.stream_idle_timeout_s, x.deadline)
    first, connection.buffer = connection.buffer, b""
    decoder = ChunkedDecoder() if response.chunked else None
    x.bytes_sent, rest = await relay_decoded(
        x.fiber,
        connection.stream,
        x.stream,
        first,
        decoder,
        reencode,
        settings.stream_idle_timeout_s,
        x.deadline,
    )
    if rest is None:
        raise StreamClosed("the upstream broke off its response")
    connection.buffer = rest
    return decoder is not None


def _broken_off(x: Exchange, error: Exception) -> None:
    """The response broke off behind its head: the only honest end is to close (RFC 9112 8)."""
    x.keep_alive = False
    x.aborted = True
    if isinstance(error, Deadline):
        x.add_flag("UT" if monotonic() >= x.deadline else "SI")
        x.details = "response_timeout"
    elif isinstance(error, MalformedMessage):
        x.add_flag("UPE")
        x.details = "upstream_protocol_error"
    else:
        x.add_flag("UC")
        x.details = "upstream_reset_after_response_started{connection_termination}"
    x.transport_failure = str(error)


def _finish(x: Exchange, this: Attempt, response: ResponseHead, clean: bool) -> None:
    runtime = x.cluster
    assert runtime is not None
    connection = this.connection
    uploading = x.body is not None and not x.body.complete
    if uploading:
        x.keep_alive = False
        if this.uploader is not None:
            this.uploader.cancel()
    elif this.uploader is not None and not this.uploader.done:
        this.uploader.cancel()
        uploading = True
    if clean and response.keep_alive and not uploading and not connection.buffer:
        runtime.pool.release(connection)
    else:
        runtime.pool.discard(connection)
    if x.body is not None:
        x.put_back(x.body.rest)


__all__ = ["downstream_head", "forward", "upstream_head"]
