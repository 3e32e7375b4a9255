"""GETs as py-consul asks for them, over our own HTTP client.

py-consul leaves the transport to its `http_connect`; its own two are threads (requests) and
asyncio. This one is cancelled at once wherever it waits, needs no thread and keeps few connections.
See docs/decisions/0005-consul-client.md.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar
from urllib.parse import quote, urlencode

from consul.base import Response

from adapters.consul.options import Consistency
from adapters.http import Endpoint, HttpClient, HttpError, Tls

Answer = TypeVar("Answer")
_CONSUL_HEADERS = ("X-Consul-Index", "X-Consul-KnownLeader")


class TrioTransport:
    """`get` is all that py-consul calls of a transport to read, and awaitable.

    Raises `HttpError`, and what py-consul's callback raises for a refusing status.
    """

    def __init__(
        self, endpoint: Endpoint, tls: Tls, consistency: Consistency, timeout_s: float
    ) -> None:
        self.endpoint = endpoint
        self._http = HttpClient(endpoint, tls)
        self._consistency = consistency
        self._timeout_s = timeout_s

    async def get(
        self,
        callback: Callable[[Response], Answer],
        path: str,
        params: list[tuple[str, str | int]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """One GET. A query that blocks for its `wait` gets the time-out on top of that."""
        asked = dict(params or ())
        if self._consistency != "default":
            asked.setdefault(self._consistency, "")
        timeout_s = self._timeout_s
        if "index" in asked:
            wait_s = float(str(asked["wait"]).rstrip("s"))
            timeout_s += wait_s + wait_s / 16  # Consul adds up to that as jitter
        target = quote(path, safe="/:") + (f"?{urlencode(asked)}" if asked else "")
        answer = await self._http.request("GET", target, headers, timeout_s=timeout_s)
        found = {
            name: answer.headers[name.lower()]
            for name in _CONSUL_HEADERS
            if name.lower() in answer.headers
        }
        if answer.status == 200 and found.get("X-Consul-KnownLeader") == "false":
            raise HttpError(f"{self.endpoint.url}{path}: answered without a known leader")
        body = answer.body if answer.status == 200 else answer.body.decode("utf-8", "replace")
        return callback(Response(answer.status, found, body))  # a refusal goes into messages

    def close(self) -> None:
        """Close the idle connections. Those in use close with the task that uses them."""
        self._http.close()
