"""Plain requests to an agent, for what py-consul has no typed call for, or none that can be awaited."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode

from adapters.consul.options import Options
from adapters.http import Answer, Credential, Endpoint, HttpClient, HttpError
from adapters.options import seconds


class Refusal(HttpError):
    """Consul answered, with a status that was not hoped for."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Agent:
    """One agent, with the token and the deadline of its options. For several tasks at once."""

    def __init__(self, endpoint: Endpoint, options: Options) -> None:
        self._http = HttpClient(endpoint, options.tls)
        self._token = Credential(options.token, options.token_file, "token")
        self._timeout_s = seconds(options.request_timeout)
        self.url = endpoint.url

    async def ask(
        self,
        method: str,
        path: str,
        query: Mapping[str, str],
        body: bytes = b"",
        *,
        allowed: tuple[int, ...] = (),
        extra_s: float = 0.0,
    ) -> Answer:
        """One request that Consul answers with 200 or an allowed status; `extra_s` on top of the
        time-out. Raises `HttpError`, `Refusal` for another status."""
        target = path + (f"?{urlencode(query)}" if query else "")
        token = self._token.read()
        headers = {"X-Consul-Token": token} if token else {}
        timeout_s = self._timeout_s + extra_s
        answer = await self._http.request(method, target, headers, body, timeout_s=timeout_s)
        if answer.status != 200 and answer.status not in allowed:
            said = f"{self.url}{path}: {answer.status} {answer.text}".strip()
            raise Refusal(said, answer.status)
        return answer

    def close(self) -> None:
        """Close idle connections."""
        self._http.close()
