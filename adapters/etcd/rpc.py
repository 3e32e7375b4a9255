"""gRPC behind a fence: calls to one member that trio awaits, and cancels at once.

The messages are python-etcd3's (its maintained fork `pyetcd`), its client is not used: see
docs/decisions/0006-etcd-client.md. A unary call is a gRPC future whose callback wakes the task; only
a stream needs a thread of its own, which ends with the call that it waits for.
"""

from __future__ import annotations

import os
import re
import ssl
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

import trio

from adapters.etcd.options import Target
from adapters.etcd.wire import (
    Change,
    Heard,
    Page,
    RpcFailed,
    range_end,
    text_of,
)
from adapters.http import Tls
from egressd.api.secret import REDACTED, Secret
from egressd.registry.keyvalue import Entry

Answer = TypeVar("Answer")
_CHANNEL: dict[str, int] = {
    "grpc.max_receive_message_length": -1,  # a page of large values
    "grpc.max_send_message_length": -1,
    "grpc.enable_http_proxy": 0,  # the gateway itself must not go out through http_proxy
    "grpc.use_local_subchannel_pool": 1,  # a new channel is a new connection, without back-off
    "grpc.enable_retries": 0,  # which member is asked next is ours to say
    "grpc.keepalive_permit_without_calls": 0,
}


class Member:
    """One connection to one member. Every call raises `RpcFailed`."""

    def __init__(self, target: Target, tls: Tls, timeout_s: float) -> None:
        """Reads the TLS files. Raises `OSError`."""
        os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # its log goes to stderr past ours
        import grpc
        from pyetcd import etcdrpc

        self.target = target
        self._timeout_s = timeout_s
        self._grpc: Any = grpc
        self._pb: Any = etcdrpc
        options = [*_CHANNEL.items(), ("grpc.min_reconnect_backoff_ms", int(timeout_s * 1000))]
        if target.is_tls:
            if tls.server_name:
                options.append(("grpc.ssl_target_name_override", tls.server_name))  # type: ignore[arg-type]
            credentials = grpc.ssl_channel_credentials(
                _roots(tls.ca_file), _content(tls.key_file), _content(tls.cert_file)
            )
            self._channel: Any = grpc.secure_channel(target.netloc, credentials, options)
        else:
            self._channel = grpc.insecure_channel(target.netloc, options)

    def close(self) -> None:
        """Close the connection; calls that run fail as CANCELLED."""
        self._channel.close()

    async def login(self, user: str, password: Secret) -> Secret:
        """A token for the user."""
        request = self._pb.AuthenticateRequest(name=user, password=password.reveal())
        method = self._pb.AuthStub(self._channel).Authenticate
        answer = await self._unary(method, request, Secret(), hidden=password)
        return Secret(str(answer.token))

    async def range(
        self,
        token: Secret,
        first: bytes,
        end: bytes,
        *,
        revision: int = 0,
        limit: int = 0,
        keys_only: bool = False,
        newest_first: bool = False,
    ) -> Page:
        """Keys from `first` to before `end` (b"" = the one key), as of a revision (0 = now)."""
        request = self._pb.RangeRequest(
            key=first, range_end=end, revision=revision, limit=limit, keys_only=keys_only
        )
        if newest_first:
            request.sort_order = self._pb.RangeRequest.DESCEND
            request.sort_target = self._pb.RangeRequest.MOD
        answer = await self._unary(self._pb.KVStub(self._channel).Range, request, token)
        return Page(
            cluster=answer.header.cluster_id,
            revision=answer.header.revision,
            count=answer.count,
            keys=tuple(_entry(kv) for kv in answer.kvs),
            after=answer.kvs[-1].key + b"\0" if answer.more else b"",
        )

    async def grant(self, token: Secret, ttl_s: int) -> int:
        """A new lease."""
        request = self._pb.LeaseGrantRequest(TTL=ttl_s)
        answer = await self._unary(self._pb.LeaseStub(self._channel).LeaseGrant, request, token)
        return int(answer.ID)

    async def revoke(self, token: Secret, lease: int) -> None:
        """End a lease, and so its keys."""
        request = self._pb.LeaseRevokeRequest(ID=lease)
        await self._unary(self._pb.LeaseStub(self._channel).LeaseRevoke, request, token)

    async def keep_alive(self, token: Secret, lease: int) -> bool:
        """Renew a lease; False = it has ended."""
        request = self._pb.LeaseKeepAliveRequest(ID=lease)
        stub = self._pb.LeaseStub(self._channel).LeaseKeepAlive
        alive = False

        async def heard(answer: Any) -> bool:
            nonlocal alive
            alive = answer.TTL > 0
            return False

        await self._stream(stub, request, token, heard, self._timeout_s)
        return alive

    async def put(self, token: Secret, key: str, value: bytes, lease: int) -> None:
        """Write a key that goes with a lease."""
        request = self._pb.PutRequest(key=key.encode(), value=value, lease=lease)
        await self._unary(self._pb.KVStub(self._channel).Put, request, token)

    async def transact(
        self,
        token: Secret,
        expected: Iterable[tuple[str, int]],
        writes: Iterable[tuple[str, bytes | None]],
        lease: int = 0,
    ) -> tuple[int, tuple[Entry, ...] | None]:
        """Do all writes (None deletes) when all keys stand at the expected revisions. The store's
        revision, and None, or the written keys as they stand where nothing was done."""
        pb = self._pb
        writes = tuple(writes)
        request = pb.TxnRequest()
        for key, revision in expected:
            request.compare.add(
                key=key.encode(),
                target=pb.Compare.MOD,
                result=pb.Compare.EQUAL,
                mod_revision=revision,
            )
        for key, value in writes:
            own = key.encode()
            if value is None:
                request.success.add().request_delete_range.CopyFrom(pb.DeleteRangeRequest(key=own))
            else:
                put = pb.PutRequest(key=own, value=value, lease=lease)
                request.success.add().request_put.CopyFrom(put)
            request.failure.add().request_range.CopyFrom(pb.RangeRequest(key=own))
        answer = await self._unary(pb.KVStub(self._channel).Txn, request, token)
        if answer.succeeded:
            return answer.header.revision, None
        stand = (kv for each in answer.responses for kv in each.response_range.kvs)
        return answer.header.revision, tuple(_entry(kv) for kv in stand)

    async def watch(
        self, token: Secret, prefix: bytes, revision: int, heard: Callable[[Heard], Awaitable[bool]]
    ) -> None:
        """Hear of every change below a prefix since a revision, itself included, until `heard` says
        False. A revision that is forgotten fails as OUT_OF_RANGE: compacted."""
        create = self._pb.WatchCreateRequest(
            key=prefix, range_end=range_end(prefix), start_revision=revision
        )

        async def take(answer: Any) -> bool:
            if answer.compact_revision:
                raise RpcFailed("OUT_OF_RANGE", f"compacted at {answer.compact_revision}")
            if answer.canceled:
                raise _refused_watch(answer.cancel_reason)
            changes = tuple(_change(event) for event in answer.events)
            return await heard(Heard(answer.header.cluster_id, answer.header.revision, changes))

        request = self._pb.WatchRequest(create_request=create)
        stub = self._pb.WatchStub(self._channel).Watch
        if not await self._stream(stub, request, token, take, None):
            raise RpcFailed("UNAVAILABLE", "the watch ended")

    async def _unary(
        self, method: Any, request: Any, token: Secret, hidden: Secret | None = None
    ) -> Any:
        """The answer to one question; neither the token nor `hidden` is in what it raises."""
        hidden = hidden or token
        done = trio.Event()
        wake = trio.lowlevel.current_trio_token().run_sync_soon
        metadata = _metadata(token)
        try:
            call = method.future(request, timeout=self._timeout_s, metadata=metadata)
        except ValueError as error:  # the channel was closed by another task
            raise RpcFailed("CANCELLED", _hide(str(error), hidden)) from None
        call.add_done_callback(lambda _: _wake(wake, done))
        try:
            await done.wait()
        finally:
            call.cancel()  # nothing, once it is done
        try:
            return call.result()
        except (self._grpc.RpcError, self._grpc.FutureCancelledError) as error:
            raise _failure(error, hidden) from None

    async def _stream(
        self,
        method: Any,
        request: Any,
        token: Secret,
        heard: Callable[[Any], Awaitable[bool]],
        timeout_s: float | None,
    ) -> bool:
        """One question, answers until `heard` says False or (False) the server ends. etcd goes on
        answering after our side of the stream is closed: no thread has to hold that open."""
        try:
            call = method(iter((request,)), timeout=timeout_s, metadata=_metadata(token))
        except ValueError as error:
            raise RpcFailed("CANCELLED", _hide(str(error), token)) from None
        limiter = trio.CapacityLimiter(
            1
        )  # a watch waits in its thread for ever: not in a shared one
        try:
            while True:
                answer = await trio.to_thread.run_sync(
                    next, call, None, abandon_on_cancel=True, limiter=limiter
                )
                if answer is None or not await heard(answer):
                    return answer is not None
        except self._grpc.RpcError as error:
            raise _failure(error, token) from None
        finally:
            call.cancel()  # its thread returns then


def _wake(soon: Callable[[Callable[[], None]], None], done: trio.Event) -> None:
    """In gRPC's thread. Nobody waits any more where trio has ended."""
    try:
        soon(done.set)
    except trio.RunFinishedError:
        pass


def _metadata(token: Secret) -> tuple[tuple[str, str], ...]:
    """`hasleader`: a member that is cut off from the leader says so instead of staying silent."""
    leader = (("hasleader", "true"),)
    return (*leader, ("token", token.reveal())) if token else leader


def _hide(text: str, secret: Secret) -> str:
    """A server may repeat what it was sent, and gRPC repeats metadata that it refuses."""
    return text.replace(secret.reveal(), REDACTED) if secret else text


_ADDRESS = re.compile(r"^(?:UNKNOWN: )?ipv[46]:\S+: ")
"""What gRPC puts before a reason; the endpoint is named already."""


def _failure(error: Any, hidden: Secret) -> RpcFailed:
    code = getattr(error, "code", None)
    if code is None:
        return RpcFailed("CANCELLED", "the connection was closed")
    said = _hide(str(error.details() or ""), hidden)
    said = said.rpartition("last error: ")[2]  # of several addresses
    return RpcFailed(code().name, _ADDRESS.sub("", said))


def _refused_watch(reason: str) -> RpcFailed:
    """etcd refuses a watch in words only."""
    if "permission denied" in reason:
        return RpcFailed("PERMISSION_DENIED", reason)
    return RpcFailed("UNAVAILABLE", reason or "the watch was cancelled")


def _entry(kv: Any) -> Entry:
    return Entry(text_of(kv.key), kv.value, kv.mod_revision)


def _change(event: Any) -> Change:
    is_put = event.type == 0  # mvccpb.Event.PUT
    return Change(text_of(event.kv.key), event.kv.value if is_put else None, event.kv.mod_revision)


def _content(path: str) -> bytes | None:
    return Path(path).read_bytes() if path else None


def _roots(ca_file: str) -> bytes | None:
    """The CA file, or the system's roots; None = those that gRPC brings."""
    system = ssl.get_default_verify_paths().cafile
    return _content(ca_file or system or "")
