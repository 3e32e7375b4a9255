"""Consul KV as a key-value store with revisions: the entry point `consul` of `egressd.keyvalue`.

Reads are answered by the leader: what is written next depends on them. A status is bound to a session
with a time to live, which deletes the key when nobody renews it.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from typing import TypeVar
from urllib.parse import quote

import msgspec
import trio

from adapters.consul.asking import Agent
from adapters.consul.options import Options, read_options
from adapters.http import Answer, Endpoint, HttpError
from adapters.options import seconds
from egressd.registry.adapter_options import declares_options
from egressd.registry.keyvalue import (
    Conflict,
    Entry,
    KeyValue,
    KeyValueError,
    Listing,
    Write,
)

_SESSION_TTL_S = (10.0, 86400.0)  # what Consul takes
Shape = TypeVar("Shape")


class _Pair(msgspec.Struct, frozen=True, rename="pascal"):
    """One key of `/v1/kv`. The value is base64 in JSON."""

    key: str
    modify_index: int
    value: bytes | None = None
    session: str = ""

    @property
    def entry(self) -> Entry:
        return Entry(self.key, self.value or b"", self.modify_index)


class _Fault(msgspec.Struct, frozen=True, rename="pascal"):
    """What one operation of a transaction failed of."""

    what: str
    op_index: int = 0


class _TxnResult(msgspec.Struct, frozen=True):
    kv: _Pair | None = msgspec.field(name="KV", default=None)


class _TxnAnswer(msgspec.Struct, frozen=True, rename="pascal"):
    results: tuple[_TxnResult, ...] | None = None
    errors: tuple[_Fault, ...] | None = None


class _Session(msgspec.Struct, frozen=True):
    id: str = msgspec.field(name="ID")


def operation(write: Write) -> dict[str, object]:
    """One write as an operation of `/v1/txn`.

    Consul's `delete-cas` of a key that is gone does nothing and fails nothing: what was wanted.
    """
    verb: dict[str, object]
    if write.value is not None:
        value = base64.b64encode(write.value).decode()
        verb = {"Verb": "set", "Value": value}
        if write.expected is not None:
            verb = {"Verb": "cas", "Value": value, "Index": write.expected}
    elif write.expected is None:
        verb = {"Verb": "delete"}
    elif write.expected == 0:
        verb = {"Verb": "check-not-exists"}
    else:
        verb = {"Verb": "delete-cas", "Index": write.expected}
    return {"KV": {"Key": write.key, **verb}}


class ConsulKeyValue:
    """`egressd.registry.keyvalue.KeyValue` through one agent. For several tasks at once."""

    def __init__(self, endpoint: Endpoint, options: Options) -> None:
        self._agent = Agent(endpoint, options)
        self._where = {"dc": options.datacenter} if options.datacenter else {}
        self._wait_s = max(1, round(seconds(options.wait)))
        self._session = ""
        self._renewed_at = 0.0

    async def list(self, prefix: str) -> Listing:
        """All entries below a prefix: `GET /v1/kv/PREFIX?recurse`."""
        answer = await self._ask("GET", f"/v1/kv/{quote(prefix)}", {"recurse": ""}, allowed=(404,))
        pairs = () if answer.status == 404 else _decode(answer, tuple[_Pair, ...])
        return Listing(_index(answer), tuple(pair.entry for pair in pairs))

    async def get(self, key: str) -> Entry | None:
        """One entry: `GET /v1/kv/KEY`."""
        pair = await self._pair(key)
        return None if pair is None else pair.entry

    async def commit(self, writes: tuple[Write, ...]) -> int:
        """All writes or none: `PUT /v1/txn`."""
        body = msgspec.json.encode([operation(write) for write in writes])
        answer = await self._ask("PUT", "/v1/txn", {}, body, allowed=(409,))
        said = _decode(answer, _TxnAnswer)
        for fault in said.errors or ():
            key = writes[min(fault.op_index, len(writes) - 1)].key
            kind = Conflict if _is_conflict(fault.what) else KeyValueError
            raise kind(f"{self._agent.url}: {key}: {fault.what}")
        return max(
            (result.kv.modify_index for result in said.results or () if result.kv), default=0
        )

    async def wait(self, prefix: str, revision: int) -> None:
        """A blocking query on the prefix, again and again. An index that is smaller is news as well:
        the state behind it was replaced."""
        path = f"/v1/kv/{quote(prefix)}"
        asked = {"keys": "", "index": str(max(revision, 1)), "wait": f"{self._wait_s}s"}
        extra_s = self._wait_s * (1 + 1 / 16)  # Consul adds up to that as jitter
        while True:
            answer = await self._ask("GET", path, asked, allowed=(404,), extra_s=extra_s)
            if _index(answer) != max(revision, 1):
                return

    async def publish_status(self, key: str, value: bytes, ttl_s: float) -> None:
        """Write a key under this client's session, or under the one that it was left with when an
        earlier client of this node wrote it."""
        path = f"/v1/kv/{quote(key)}"
        said = ""
        for _ in range(2):  # a session that ended unseen is replaced
            await self._renew(key, ttl_s)
            answer = await self._ask("PUT", path, {"acquire": self._session}, value, allowed=(500,))
            if answer.status == 200 and answer.body.strip() == b"true":
                return
            self._session = ""
            said = answer.text if answer.status != 200 else "another session holds it"
        raise KeyValueError(f"{self._agent.url}{path}: {said}")

    async def aclose(self) -> None:
        """Close idle connections. The status stays until its time is over."""
        self._agent.close()
        await trio.lowlevel.checkpoint()

    async def _renew(self, key: str, ttl_s: float) -> None:
        """Have a living session."""
        low, high = _SESSION_TTL_S
        ttl_s = min(max(ttl_s, low), high)
        if self._session and trio.current_time() - self._renewed_at < ttl_s / 4:
            return
        if not self._session:
            pair = await self._pair(key)
            self._session = pair.session if pair is not None else ""
        now = trio.current_time()
        if self._session:
            path = f"/v1/session/renew/{self._session}"
            answer = await self._ask("PUT", path, {}, allowed=(404,))
            if answer.status == 200:
                self._renewed_at = now
                return
        wanted = {
            "Name": "egressd status",
            "TTL": f"{round(ttl_s)}s",
            "Behavior": "delete",
            "LockDelay": "0s",
            "Checks": [],  # not bound to the agent's own health: another one may serve us then
            "NodeChecks": [],
        }
        body = msgspec.json.encode(wanted)
        answer = await self._ask("PUT", "/v1/session/create", {}, body)
        self._session, self._renewed_at = _decode(answer, _Session).id, now

    async def _pair(self, key: str) -> _Pair | None:
        answer = await self._ask("GET", f"/v1/kv/{quote(key)}", {}, allowed=(404,))
        pairs = () if answer.status == 404 else _decode(answer, tuple[_Pair, ...])
        return pairs[0] if pairs else None

    async def _ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: bytes = b"",
        *,
        allowed: tuple[int, ...] = (),
        extra_s: float = 0.0,
    ) -> Answer:
        """As `Agent.ask`. Raises `KeyValueError`."""
        asked = {**self._where, **query}
        try:
            return await self._agent.ask(
                method, path, asked, body, allowed=allowed, extra_s=extra_s
            )
        except HttpError as error:
            raise KeyValueError(str(error)) from error


def _decode(answer: Answer, shape: type[Shape]) -> Shape:
    try:
        return msgspec.json.decode(answer.body, type=shape)
    except msgspec.DecodeError as error:
        raise KeyValueError(f"Consul answers {answer.text[:100]!r}: {error}") from error


def _index(answer: Answer) -> int:
    """The state that the answer shows. Raises `KeyValueError` for an answer that tells none."""
    index = answer.headers.get("x-consul-index", "")
    if not index.isdigit() or answer.headers.get("x-consul-knownleader") == "false":
        raise KeyValueError(f"Consul answers without an index or a leader: {answer.text[:100]!r}")
    return max(int(index), 1)


def _is_conflict(what: str) -> bool:
    """Whether a transaction failed of somebody else's write, by Consul's own words for it."""
    return "index is stale" in what or what.endswith("exists")


@declares_options(Options)
def make_keyvalue(options: Mapping[str, object]) -> KeyValue:
    """The entry point `consul` of `egressd.keyvalue`. Raises `AdapterConfigError`."""
    read, endpoint = read_options("fleet", options, os.environ)
    return ConsulKeyValue(endpoint, read)
