"""The three questions that are asked of Consul, typed: py-consul's requests over our transport."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TypeVar

import msgspec
from consul import ConsulException
from consul.base import Consul

from adapters.consul.options import Options
from adapters.consul.transport import TrioTransport
from adapters.consul.wire import Check, Instance
from adapters.http import Endpoint, HttpError, Secret
from adapters.options import seconds

Answer = TypeVar("Answer")


class ReadError(Exception):
    """Consul could not be read. The message names the address, the question and what happened."""


class _TrioConsul(Consul):  # type: ignore[misc]
    """py-consul's requests and error mapping with a trio transport."""

    def __init__(self, transport: TrioTransport, datacenter: str) -> None:
        self._transport = transport
        super().__init__(transport.endpoint.host, transport.endpoint.port, dc=datacenter or None)
        self.token = None  # py-consul reads CONSUL_HTTP_TOKEN itself; which token is ours to say

    def http_connect(self, *_: object, **__: object) -> TrioTransport:
        return self._transport


class ConsulClient:
    """Reads one datacenter through one agent. Every method raises `ReadError`.

    A method with an index returns the index of its answer, and blocks until that would be another
    one or the wait is over; index 0 answers at once.
    """

    def __init__(self, endpoint: Endpoint, options: Options) -> None:
        self._token = Secret(options.token, options.token_file, "token")
        self._wait = f"{max(1, round(seconds(options.wait)))}s"
        self._transport = TrioTransport(
            endpoint, options.tls, options.consistency, seconds(options.request_timeout)
        )
        self._consul = _TrioConsul(self._transport, options.datacenter)

    async def services(self, index: int) -> tuple[int, dict[str, tuple[str, ...]]]:
        """All services with their tags: `/v1/catalog/services`."""
        asked = self._consul.catalog.services
        answer = asked(index=index or None, wait=self._wait, token=self._read_token())
        shape = dict[str, tuple[str, ...] | None]
        newest, services = await self._typed("/v1/catalog/services", answer, shape)
        return newest, {name: tags or () for name, tags in services.items()}

    async def checks(self, index: int) -> tuple[int, tuple[Check, ...]]:
        """All checks of all nodes and services: `/v1/health/state/any`."""
        asked = self._consul.health.state
        answer = asked("any", index=index or None, wait=self._wait, token=self._read_token())
        return await self._typed("/v1/health/state/any", answer, tuple[Check, ...])

    async def instances(self, name: str) -> tuple[int, tuple[Instance, ...]]:
        """All instances of a service, whatever their health: `/v1/health/service/NAME`."""
        answer = self._consul.health.service(name, token=self._read_token())
        return await self._typed(f"/v1/health/service/{name}", answer, tuple[Instance, ...])

    def close(self) -> None:
        """Close idle connections."""
        self._transport.close()

    def _read_token(self) -> str | None:
        try:
            return self._token.read() or None
        except HttpError as error:
            raise ReadError(str(error)) from error

    async def _typed(
        self, path: str, answer: Awaitable[tuple[str, object]], shape: type[Answer]
    ) -> tuple[int, Answer]:
        try:
            index, data = await answer
            return int(index), msgspec.convert(data, shape)
        except HttpError as error:
            raise ReadError(str(error)) from error
        except (ConsulException, msgspec.ValidationError, ValueError) as error:
            refused = f"{self._transport.endpoint.url}{path}: {type(error).__name__}: {error}"
            raise ReadError(refused.strip()[:500]) from error
