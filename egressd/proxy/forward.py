"""Forwarding: admission, the attempts with their retries, and the answer on its way back."""

from __future__ import annotations

from time import monotonic

from egressd.net.fiber import Deadline, FiberGroup
from egressd.proxy.attempt import Attempt, AttemptFailed, attempt
from egressd.proxy.body import RequestBody
from egressd.proxy.context import Exchange
from egressd.proxy.directory import ClusterRuntime
from egressd.proxy.hash_key import hash_value
from egressd.proxy.header_values import with_values
from egressd.proxy.heads import upstream_head
from egressd.proxy.http1.response import ResponseHead
from egressd.proxy.mirror import send_mirrors
from egressd.proxy.overrides import timeout_status
from egressd.proxy.reply import LocalReply, no_endpoint
from egressd.proxy.respond import respond
from egressd.proxy.retry import Failure, backoff_s, retries_failure, retries_response
from egressd.proxy.tunnel import tunnel
from egressd.registry.view import awaited
from egressd.telemetry.flags import ResponseFlag
from egressd.upstream.cluster import Endpoint, Outcome
from egressd.upstream.lease import Lease
from egressd.upstream.pool import Overflow, StillWaiting

_NEVER = float("inf")


async def forward(x: Exchange) -> None:
    """Carry an exchange to its cluster and back.

    Raises `LocalReply` while nothing was sent to the client, `ClientGone`, `MalformedMessage`.
    """
    runtime = x.cluster
    assert runtime is not None
    if runtime.failure:
        raise _unusable(x, runtime)
    try:
        lease = x.lease = Lease(runtime.pool, runtime.stats)
    except Overflow as overflow:
        raise _overflow(x, overflow.limit) from None
    runtime.used = x.started
    watch = x.downstream.watch
    try:
        watch.begin()
        if not runtime.resolved:
            await x.context.directory.resolve(x.fiber, runtime)
            if runtime.failure:
                raise _unusable(x, runtime)
        if x.head.has_body:
            keep = x.context.settings.retry_buffer_bytes
            x.body = RequestBody(x.stream, x.head, x.take_buffer(), keep)
        if x.body is None or x.body.complete:
            await _carry(x)
        else:
            async with FiberGroup(x.context.loop, x.fiber) as x.uploads:
                await _carry(x)
    finally:
        watch.end()
        lease.release()


async def _carry(x: Exchange) -> None:
    """The attempts, then the answer of the one that stands."""
    assert x.route is not None and x.cluster is not None
    whole = x.body is None or x.body.complete
    if x.route.timeout_s and whole:
        x.deadline = monotonic() + x.route.timeout_s
    by = x.cluster.cluster.spec.hash_policy
    if by is not None:
        x.hash_value = hash_value(x, by)
    head = upstream_head(x, lambda ops: with_values(ops, x), x.context.settings.paths)
    mirrors = x.route.mirrors
    if mirrors and whole:
        send_mirrors(x, head, mirrors)
    try:
        this = await _attempts(x, head)
        if mirrors and not whole:
            send_mirrors(x, head, mirrors)
    except Deadline:
        raise LocalReply(
            timeout_status(x.head.envoy),
            "upstream request timeout",
            flag=ResponseFlag.UT,
            details="response_timeout",
        ) from None
    except Overflow as overflow:
        raise _overflow(x, overflow.limit) from None
    assert this.response is not None
    if this.response.status == 101:
        await tunnel(x, this)
    else:
        await respond(x, this, this.response)


def _unusable(x: Exchange, runtime: ClusterRuntime) -> LocalReply:
    is_unknown = runtime.failure_status == 503 and not runtime.may_heal
    return LocalReply(
        runtime.failure_status,
        runtime.failure + (awaited(x.downstream.scope.view) if is_unknown else ""),
        flag=ResponseFlag.NC,
        details="cluster_not_found",
    )


def _overflow(x: Exchange, limit: str) -> LocalReply:
    assert x.cluster is not None
    x.cluster.stats.overflow(limit)
    return LocalReply(
        503,
        "upstream connect error or disconnect/reset before headers. reset reason: overflow "
        f"({limit} of {x.cluster.key})",
        flag=ResponseFlag.UO,
        details="upstream_reset_before_response_started{overflow}",
        headers=((b"x-envoy-overloaded", b"true"),),
    )


async def _attempts(x: Exchange, head: bytes) -> Attempt:
    """Try endpoints until one answers with a head that stands. Raises as `forward` does.

    A retry counts against `maxRetries` from its back-off to its response head.
    """
    lease, route = x.lease, x.route
    assert lease is not None and route is not None
    policy = route.retry
    tried: tuple[Endpoint, ...] = ()
    retries = 0
    while True:
        last = policy is None or retries >= policy.attempts
        try:
            this = await _one_try(x, head, tried)
        except AttemptFailed as failed:
            retryable = not last and _covers(x, failed)
            if retries:
                lease.end_retry()
            if not retryable or not lease.begin_retry():
                raise _failed(x, failed, retries, overflow=retryable) from None
        else:
            if retries:
                lease.end_retry()
            if not _wants_another(x, this, last, retries):
                return this
            this.abandon(x)
        retries += 1
        lease.stats.retries += 1
        tried = await _back_off(x, tried, retries)


def _wants_another(x: Exchange, this: Attempt, last: bool, retries: int) -> bool:
    """Whether a response is given up for a retry, which is admitted then."""
    assert this.response is not None and x.lease is not None and x.route is not None
    if x.route.retry is None or not _covers_response(x, this.response):
        return False
    if last:
        if retries:
            x.add_flag(ResponseFlag.URX)
        return False
    if not x.lease.begin_retry():
        x.lease.stats.overflow("maxRetries")
        x.add_flag(ResponseFlag.UO)
        return False
    return True


async def _back_off(x: Exchange, tried: tuple[Endpoint, ...], retries: int) -> tuple[Endpoint, ...]:
    """Wait before a retry; returns the endpoints tried so far."""
    assert x.lease is not None and x.route is not None and x.route.retry is not None
    assert x.endpoint is not None
    tried = (*tried, x.endpoint)
    x.lease.end_attempt()
    x.endpoint = None
    x.fiber.set_deadline(x.deadline)
    await x.fiber.sleep(backoff_s(x.route.retry, retries, x.context.rng()))
    return tried if x.route.retry.ignore_previous_hosts else ()


def _no_healthy_upstream(runtime: ClusterRuntime) -> LocalReply:
    total = len(runtime.cluster.endpoints)
    return LocalReply(
        503,
        f"no healthy upstream: {no_endpoint(runtime.key, total, runtime.name_trouble)}",
        flag=ResponseFlag.UH,
        details="no_healthy_upstream",
    )


async def _one_try(x: Exchange, head: bytes, tried: tuple[Endpoint, ...]) -> Attempt:
    """One attempt under its own time limit; tells the outlier detector how it went."""
    runtime, route, lease = x.cluster, x.route, x.lease
    assert runtime is not None and route is not None and lease is not None
    cluster = runtime.cluster
    x.upstream_started = now = monotonic()
    key = x.hash_value if cluster.spec.hash_policy is not None else None
    remote = bool(tried) and route.retry is not None and route.retry.remote_localities
    x.endpoint = cluster.pick(now, x.context.rng, tried, key, remote)
    if x.endpoint is None:
        raise _no_healthy_upstream(runtime)
    x.attempts += 1
    lease.begin_attempt(x.endpoint)
    per_try = route.retry.per_try_timeout_s if route.retry is not None else None
    x.try_until = _NEVER if per_try is None else now + per_try
    # While the body is still coming its own fiber watches for idleness, see `body_done`.
    idle_s = x.context.settings.stream_idle_timeout_s
    idle_until = now + idle_s if x.body is None or x.body.complete else _NEVER
    x.fiber.set_deadline(min(x.deadline, x.try_until, idle_until))
    try:
        this = await attempt(x, head)
    except Overflow:
        # Refused before anything was done to the endpoint: it is not the one that failed.
        lease.end_attempt(refused=True)
        x.endpoint = None
        raise
    except AttemptFailed as failed:
        outcome = Outcome.GATEWAY_ERROR if failed.flag is ResponseFlag.UPE else Outcome.LOCAL_ORIGIN
        _report(x, outcome, failed.transport or failed.reason)
        raise
    except Deadline as error:
        if not isinstance(error, StillWaiting):
            _report(x, Outcome.TIMEOUT, "no answer in time")
        now = monotonic()
        if now >= x.deadline:
            raise
        if now < x.try_until:
            raise LocalReply(
                504,
                "stream timeout",
                flag=ResponseFlag.SI,
                details="stream_idle_timeout",
            ) from None
        raise AttemptFailed(
            Failure.PER_TRY_TIMEOUT,
            ResponseFlag.UT,
            "upstream request timeout (perTryTimeout)",
            status=504,
        ) from None
    x.try_until = _NEVER
    response = this.response
    assert response is not None
    if cluster.spec.outlier is not None:
        assert x.endpoint is not None
        if response.status < 500 and not cluster.spec.outlier.error_statuses:
            cluster.report_success(x.endpoint)
        else:
            _report_status(x, x.endpoint, response.status)
    return this


def _report(x: Exchange, outcome: Outcome, why: str) -> None:
    endpoint = x.endpoint
    assert x.cluster is not None and endpoint is not None
    endpoint.failures += 1
    endpoint.last_failure = why
    reason = x.cluster.cluster.report(endpoint, outcome, monotonic())
    if reason:
        x.context.recorder.ejected(x, endpoint, reason)


def _report_status(x: Exchange, endpoint: Endpoint, status: int) -> None:
    assert x.cluster is not None
    if status >= 500:
        endpoint.failures += 1
        endpoint.last_failure = f"answered {status}"
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


def _failed(x: Exchange, failed: AttemptFailed, retries: int, *, overflow: bool) -> LocalReply:
    x.transport_failure = failed.transport or x.transport_failure
    flags: tuple[ResponseFlag, ...] = (failed.flag,)
    if retries:
        flags = (failed.flag, ResponseFlag.URX)
    if overflow:
        assert x.cluster is not None
        x.cluster.stats.overflow("maxRetries")
        flags = (failed.flag, ResponseFlag.UO)
    details = f"upstream_reset_before_response_started{{{failed.flag}}}"
    return LocalReply(failed.status, failed.reason, flag=flags, details=details)
