"""The three questions that are asked of Consul, typed: py-consul's requests over our transport."""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path
from typing import TypeVar

import msgspec
from consul import ConsulException
from consul.base import Consul

from adapters.consul.options import Endpoint, Options, seconds
from adapters.consul.transport import TransportError, TrioTransport, WatchedFiles
from adapters.consul.wire import Check, Instance

Answer = TypeVar("Answer")


class ReadError(Exception):
    """Consul could not be read. The message names the address, the question and what happened."""


class Token:
    """The ACL token: given, or in a file that is read again when it changes; else none."""

    def __init__(self, token: str, file: str) -> None:
        self._token = token
        self._file = file
        self._watched = WatchedFiles(file)

    def read(self) -> str | None:
        """The token to send now. A file that cannot be read is an error, never "no token": an
        anonymous answer would look like an empty catalog. Raises `ReadError`."""
        if self._file:
            try:
                if self._watched.changed():
                    self._token = Path(self._file).read_text().strip()
            except (OSError, UnicodeDecodeError) as error:
                self._watched = WatchedFiles(self._file)
                raise ReadError(f"token file {self._file}: {error}") from error
            if not self._token:
                self._watched = WatchedFiles(self._file)
                raise ReadError(f"token file {self._file}: found nothing, expected an ACL token")
        return self._token or None


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
        self._token = Token(options.token, options.token_file)
        self._wait = f"{max(1, round(seconds(options.wait)))}s"
        self._transport = TrioTransport(
            endpoint, options.tls, options.consistency, seconds(options.request_timeout)
        )
        self._consul = _TrioConsul(self._transport, options.datacenter)

    async def services(self, index: int) -> tuple[int, dict[str, tuple[str, ...]]]:
        """All services with their tags: `/v1/catalog/services`."""
        asked = self._consul.catalog.services
        answer = asked(index=index or None, wait=self._wait, token=self._token.read())
        shape = dict[str, tuple[str, ...] | None]
        newest, services = await self._typed("/v1/catalog/services", answer, shape)
        return newest, {name: tags or () for name, tags in services.items()}

    async def checks(self, index: int) -> tuple[int, tuple[Check, ...]]:
        """All checks of all nodes and services: `/v1/health/state/any`."""
        asked = self._consul.health.state
        answer = asked("any", index=index or None, wait=self._wait, token=self._token.read())
        return await self._typed("/v1/health/state/any", answer, tuple[Check, ...])

    async def instances(self, name: str) -> tuple[int, tuple[Instance, ...]]:
        """All instances of a service, whatever their health: `/v1/health/service/NAME`."""
        answer = self._consul.health.service(name, token=self._token.read())
        return await self._typed(f"/v1/health/service/{name}", answer, tuple[Instance, ...])

    def close(self) -> None:
        """Close idle connections."""
        self._transport.close()

    async def _typed(
        self, path: str, answer: Awaitable[tuple[str, object]], shape: type[Answer]
    ) -> tuple[int, Answer]:
        try:
            index, data = await answer
            return int(index), msgspec.convert(data, shape)
        except TransportError as error:
            raise ReadError(str(error)) from error
        except (ConsulException, msgspec.ValidationError, ValueError) as error:
            refused = f"{self._transport.endpoint.url}{path}: {type(error).__name__}: {error}"
            raise ReadError(refused.strip()[:500]) from error
