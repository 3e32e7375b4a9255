"""What is asked of Consul, typed: py-consul's requests over our transport."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Literal, TypeVar

import msgspec
from consul import ConsulException
from consul.base import Consul

from adapters.consul.options import Options
from adapters.consul.rights import NEEDED
from adapters.consul.transport import Reply, TrioTransport
from adapters.consul.wire import Check, Instance, QueryResult
from adapters.http import Credential, HttpError
from adapters.options import seconds
from egressd.api.secret import RedactedError, Secret

Shape = TypeVar("Shape")
State = Literal["critical", "warning"]


class ReadError(RedactedError):
    """Consul could not be read. The message names the address, the question and what happened."""


class TrioConsul(Consul):  # type: ignore[misc]
    """py-consul's requests and error mapping with a trio transport."""

    def __init__(self, transport: TrioTransport, datacenter: str = "") -> None:
        self._transport = transport
        super().__init__(transport.endpoint.host, transport.endpoint.port, dc=datacenter or None)
        self.token = None  # py-consul reads CONSUL_HTTP_TOKEN itself; which token is ours to say

    def http_connect(self, *_: object, **__: object) -> TrioTransport:
        return self._transport


async def reply_of(
    transport: TrioTransport, path: str, asked: Callable[[], Awaitable[object]]
) -> Reply:
    """What Consul answers to py-consul's request. Raises `ReadError`."""
    try:
        reply = await asked()
    except HttpError as error:
        raise ReadError(str(error)) from error
    except ConsulException as error:
        refused = f"{transport.endpoint.url}{path}: {type(error).__name__}: {error}".strip()[:500]
        unknown = " (Consul does not know the token)" if "ACL not found" in refused else ""
        raise ReadError(refused + unknown) from error
    if not isinstance(reply, Reply):  # py-consul takes 404 for an answer
        raise ReadError(f"{transport.endpoint.url}{path}: found nothing there")
    return reply


class ConsulClient:
    """Reads one datacenter through one agent. Every method raises `ReadError`.

    A method with an index blocks until the index of its answer would be another one or the wait is
    over; index 0 answers at once. `decode` makes the values of a reply.
    """

    def __init__(
        self, transport: TrioTransport, token: Credential, options: Options, datacenter: str = ""
    ) -> None:
        self._transport = transport
        self._token = token
        self._wait = f"{max(1, round(seconds(options.wait)))}s"
        self._datacenter = datacenter
        self._consul = TrioConsul(transport, datacenter)

    @property
    def url(self) -> str:
        """Of the agent."""
        return self._transport.endpoint.url

    async def datacenters(self) -> tuple[str, ...]:
        """The datacenters that the agent's servers know, reachable or not."""
        path = "/v1/catalog/datacenters"
        reply = await reply_of(self._transport, path, self._consul.catalog.datacenters)
        return self._typed(path, reply, tuple[str, ...])

    async def services(self, index: int) -> tuple[Reply, dict[str, tuple[str, ...]]]:
        """All services with their tags: `/v1/catalog/services`."""
        path = "/v1/catalog/services"
        reply = await self._block(path, index, self._consul.catalog.services)
        services = self._typed(path, reply, dict[str, tuple[str, ...] | None])
        return reply, {name: tags or () for name, tags in services.items()}

    async def checks(self, state: State, index: int) -> tuple[Reply, tuple[Check, ...]]:
        """All checks of nodes and services in a state: `/v1/health/state/STATE`."""
        path = f"/v1/health/state/{state}"
        reply = await self._block(path, index, self._consul.health.state, state)
        return reply, self._typed(path, reply, tuple[Check, ...])

    async def instances(self, name: str, index: int = 0, wait: str = "") -> Reply:
        """All instances of a service, whatever their health: `/v1/health/service/NAME`. `wait`: of this
        query, in seconds as "300s"."""
        path = f"/v1/health/service/{name}"
        return await self._block(path, index, self._consul.health.service, name, wait=wait)

    def decode_instances(self, name: str, reply: Reply) -> tuple[Instance, ...]:
        """The instances that such a reply names."""
        return self._typed(f"/v1/health/service/{name}", reply, tuple[Instance, ...])

    async def execute(self, query: str) -> tuple[Instance, ...]:
        """What a prepared query finds: `/v1/query/NAME/execute`."""
        path = f"/v1/query/{query}/execute"
        token, dc = self._read_token(), self._datacenter or None
        reply = await reply_of(
            self._transport, path, lambda: self._consul.query.execute(query, token=token, dc=dc)
        )
        found = self._typed(path, reply, QueryResult).nodes or ()
        if not found and reply.is_filtered:
            raise ReadError(f"{self.url}{path}: nothing that the token may see (ACL): {NEEDED}")
        return found

    async def _block(
        self,
        path: str,
        index: int,
        ask: Callable[..., Awaitable[object]],
        *what: str,
        wait: str = "",
    ) -> Reply:
        token = self._read_token()
        reply = await reply_of(
            self._transport,
            path,
            lambda: ask(*what, index=index or None, wait=wait or self._wait, token=token),
        )
        if reply.index < 0:
            raise ReadError(
                f"{self._transport.endpoint.url}{path}: answered without X-Consul-Index: is it Consul?"
            )
        return reply

    def _read_token(self) -> Secret | None:
        try:
            return self._token.read() or None
        except HttpError as error:
            raise ReadError(str(error)) from error

    def _typed(self, path: str, reply: Reply, shape: type[Shape]) -> Shape:
        try:
            return msgspec.json.decode(reply.body, type=shape)
        except msgspec.DecodeError as error:
            raise ReadError(f"{self._transport.endpoint.url}{path}: {error}") from error
