"""The two questions that are asked of a Eureka server."""

from __future__ import annotations

from base64 import b64encode
from urllib.parse import quote

import msgspec

from adapters.eureka.options import Options, Server
from adapters.eureka.wire import Listing, read_listing
from adapters.http import Answer, Credential, HttpClient, HttpError
from adapters.options import seconds
from egressd.api.secret import RedactedError, Secret

NO_DELTA = (403, 404)  # deltas disabled at the server; a make of server without them


class ReadError(RedactedError):
    """Eureka could not be read. The message names the address, the question and what happened."""


class EurekaClient:
    """Reads one server. Every method raises `ReadError`."""

    def __init__(self, server: Server, options: Options) -> None:
        self.url = server.url
        self._server = server
        self._http = HttpClient(server.endpoint, options.tls)
        self._username = server.username or options.username
        password, file = options.password, options.password_file
        self._password = (
            Credential(server.password, "", "password")
            if server.username
            else Credential(password, file, "password")
        )
        self._timeout_s = seconds(options.request_timeout)
        regions = ",".join(quote(region) for region in options.regions)
        self._query = f"?regions={regions}" if regions else ""

    async def full(self) -> Listing:
        """All applications: `/apps`."""
        return self._listing("/apps", await self._get("/apps"))

    async def delta(self) -> Listing | None:
        """What changed within the server's retention time: `/apps/delta`; None = not offered."""
        answer = await self._get("/apps/delta")
        return None if answer.status in NO_DELTA else self._listing("/apps/delta", answer)

    def close(self) -> None:
        """Close idle connections."""
        self._http.close()

    async def _get(self, path: str) -> Answer:
        headers: dict[str, str | Secret] = {
            "Accept": "application/json",
            "Accept-Encoding": "gzip",
            "User-Agent": "egressd",
        }
        try:
            if self._username:
                pair = f"{self._username}:{self._password.read().reveal()}".encode()
                headers["Authorization"] = Secret(f"Basic {b64encode(pair).decode()}")
            target = self._server.base + path + self._query
            return await self._http.request("GET", target, headers, timeout_s=self._timeout_s)
        except HttpError as error:
            raise ReadError(str(error)) from error

    def _listing(self, path: str, answer: Answer) -> Listing:
        if answer.status != 200:
            raise ReadError(f"{self.url}{path}: {answer.status} {answer.text}".strip())
        try:
            return read_listing(answer.body)
        except msgspec.DecodeError as error:
            raise ReadError(f"{self.url}{path}: no list of applications: {error}") from error
