"""Requests as py-consul makes them, over our own HTTP client.

py-consul leaves the transport to its `http_connect`; its own two are threads (requests) and
asyncio. This one is cancelled at once wherever it waits, needs no thread and keeps few connections.
See docs/decisions/0005-consul-client.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import quote, urlencode

import msgspec
from consul.base import Response

from adapters.consul.options import Options
from adapters.http import Endpoint, HttpClient, HttpError
from adapters.options import seconds
from egressd.api.secret import Secret

Refusal = TypeVar("Refusal")


class Reply(msgspec.Struct, frozen=True):
    """An answer with status 200. `index` is -1 where the answer has none; `is_filtered`: the token's
    rights hide a part of it (Consul 1.11 and later say so)."""

    body: bytes
    index: int = -1
    is_filtered: bool = False


class TrioTransport:
    """`get` and `put` are all that is called of a transport here, and awaitable. py-consul's callbacks
    decode with `json`: a `Reply` is handed on undecoded instead, and the callback only turns a refusing
    status into its exception.

    Raises `HttpError`, and what py-consul's callback raises.
    """

    def __init__(self, endpoint: Endpoint, options: Options) -> None:
        self.endpoint = endpoint
        self._http = HttpClient(endpoint, options.tls)
        self._consistency = options.consistency
        self._timeout_s = seconds(options.request_timeout)
        tenancy = (("ns", options.consul_namespace), ("partition", options.partition))
        self._tenancy = {key: value for key, value in tenancy if value}

    async def get(
        self,
        callback: Callable[[Response], Refusal],
        path: str,
        params: list[tuple[str, str | int]] | None = None,
        headers: Mapping[str, str | Secret] | None = None,
    ) -> Reply | Refusal:
        """One GET. A query that blocks for its `wait` gets the time-out on top of that."""
        asked = dict(params or ())
        if self._consistency != "default" and not path.startswith("/v1/agent/"):
            asked.setdefault(self._consistency, "")
        timeout_s = self._timeout_s
        if "index" in asked:
            wait_s = float(str(asked["wait"]).rstrip("s"))
            timeout_s += wait_s + wait_s / 16  # Consul adds up to that as jitter
        return await self._ask("GET", path, asked, headers, b"", timeout_s, callback)

    async def put(
        self,
        callback: Callable[[Response], Refusal],
        path: str,
        params: list[tuple[str, str | int]] | None = None,
        data: str = "",
        headers: Mapping[str, str | Secret] | None = None,
    ) -> Reply | Refusal:
        """One PUT. It may have been done although no answer came: ask for what may be repeated."""
        body = data.encode()
        return await self._ask(
            "PUT", path, dict(params or ()), headers, body, self._timeout_s, callback
        )

    async def _ask(
        self,
        method: str,
        path: str,
        params: dict[str, str | int],
        headers: Mapping[str, str | Secret] | None,
        body: bytes,
        timeout_s: float,
        callback: Callable[[Response], Refusal],
    ) -> Reply | Refusal:
        params |= self._tenancy
        target = quote(path, safe="/:") + (f"?{urlencode(params)}" if params else "")
        answer = await self._http.request(method, target, headers, body, timeout_s=timeout_s)
        found = answer.headers
        if answer.status != 200:  # a refusal goes into messages
            return callback(Response(answer.status, found, answer.text))
        if found.get("x-consul-knownleader") == "false":
            raise HttpError(f"{self.endpoint.url}{path}: answered without a known leader")
        try:
            index = int(found.get("x-consul-index", "-1"))
        except ValueError:
            raise HttpError(f"{self.endpoint.url}{path}: X-Consul-Index: no number") from None
        filtered = found.get("x-consul-results-filtered-by-acls") == "true"
        return Reply(answer.body, index, filtered)

    def close(self) -> None:
        """Close the idle connections. Those in use close with the task that uses them."""
        self._http.close()
