"""etcd's HTTP gateway, as one member offers it: calls in JSON, logged in where that is asked for."""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

REQUEST_TIMEOUT_S = 10.0


class EtcdError(Exception):
    """The cluster did not start, or refused a request."""


class NoLeader(EtcdError):
    """The member has no leader now."""


@dataclass(frozen=True)
class ServerTls:
    """PEM files for the clients' side of every member; `client_auth` asks clients for certificates."""

    cert: Path
    key: Path
    ca: Path
    client_auth: bool = False


class Gateway:
    """Calls of one user; `login` and `token` are shared by all members."""

    def __init__(self, ports: list[int], tls: ServerTls | None) -> None:
        self._ports = ports
        self._tls = tls
        self.login: tuple[str, str] | None = None
        self.token = ""

    def call(self, member: int, path: str, body: Mapping[str, object]) -> dict[str, object]:
        """One call of a member. Raises `EtcdError` unless it is 200, `OSError` when it is not there."""
        for attempt in (1, 2):
            if self.login and not self.token:
                name, password = self.login
                login = {"name": name, "password": password}
                answer = self._post(member, "/v3/auth/authenticate", login)[1]
                self.token = str(answer.get("token", ""))
            status, answer = self._post(member, path, body)
            if status == 200:
                return answer
            if not (self.login and attempt == 1 and status in (400, 401)):
                break
            self.token = ""  # it ended, or the store of users has changed
        raise (NoLeader if status == 503 else EtcdError)(f"{path}: {status} {answer}")

    def _post(
        self, member: int, path: str, body: Mapping[str, object]
    ) -> tuple[int, dict[str, object]]:
        connection = self.connection(member)
        headers = {"Authorization": self.token} if self.token else {}
        with contextlib.closing(connection):
            connection.request("POST", path, json.dumps(body), headers)
            response = connection.getresponse()
            data = json.loads(response.read() or b"{}")
        assert isinstance(data, dict)
        return response.status, data

    def connection(self, member: int) -> http.client.HTTPConnection:
        """A new one, not connected yet."""
        port = self._ports[member]
        if self._tls is None:
            return http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_TIMEOUT_S)
        context = ssl.create_default_context(cafile=str(self._tls.ca))
        if self._tls.client_auth:
            context.load_cert_chain(self._tls.cert, self._tls.key)
        return http.client.HTTPSConnection(
            "127.0.0.1", port, timeout=REQUEST_TIMEOUT_S, context=context
        )


def b64(text: str) -> str:
    """As the gateway writes bytes."""
    return base64.b64encode(text.encode()).decode()


def range_end(prefix: str) -> str:
    """The first key after all keys that begin with a prefix (of ASCII)."""
    return b64(prefix[:-1] + chr(ord(prefix[-1]) + 1))


def revision_of(answer: Mapping[str, object]) -> int:
    """The store's revision in an answer's header."""
    header = answer["header"]
    assert isinstance(header, dict)
    return int(header["revision"])
