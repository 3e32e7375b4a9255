"""A Consul-shaped server for catalogs of a size that a real agent takes minutes to fill.

    with ConsulDouble(services=10_000, endpoints=10, port=origin.port) as consul:
        consul.set_health("svc-7", 0, "critical")
        consul.move("svc-7", 0, port=other.port)

It answers what the adapter asks of a catalog, byte for byte as Consul 1.8 shapes it, with its rules of
blocking queries: one index for all, a query waits until the index of *its* service or list is another,
and a list of checks in a state wakes up only for a check that enters or leaves that state. It has no
writing API, no ACLs, no nodes' checks. Endpoint n of each service is 127.0.n.1: an origin that listens
on 0.0.0.0 is all of them. Connections are served by one thread.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

T = TypeVar("T")
_SERVICES = "services"  # the list's key among what queries wait for; "service/NAME", "state/STATE"
_STATES = ("critical", "warning", "passing", "any")


class _Instance:
    def __init__(self, number: int, port: int) -> None:
        self.number = number
        self.port = port
        self.status = "passing"

    def node(self) -> dict[str, object]:
        return {
            "ID": "",
            "Node": f"vm-{self.number}",
            "Address": f"127.0.{self.number}.1",
            "Datacenter": "dc1",
            "TaggedAddresses": None,
            "Meta": None,
            "CreateIndex": 13,
            "ModifyIndex": 13,
        }

    def service(self, name: str) -> dict[str, object]:
        return {
            "ID": f"{name}-{self.number}",
            "Service": name,
            "Tags": [],
            "Address": f"127.0.{self.number}.1",
            "Meta": None,
            "Port": self.port,
            "Weights": {"Passing": 1, "Warning": 1},
            "EnableTagOverride": False,
            "Proxy": {"MeshGateway": {}, "Expose": {}},
            "Connect": {},
            "CreateIndex": 13,
            "ModifyIndex": 13,
        }

    def check(self, name: str) -> dict[str, object]:
        return {
            "Node": f"vm-{self.number}",
            "CheckID": f"c:{name}-{self.number}",
            "Name": "check",
            "Status": self.status,
            "Notes": "",
            "Output": "",
            "ServiceID": f"{name}-{self.number}",
            "ServiceName": name,
            "ServiceTags": [],
            "Type": "",
            "Definition": {},
            "CreateIndex": 13,
            "ModifyIndex": 13,
        }


class ConsulDouble:
    """Services svc-0, svc-1, ..., each with `endpoints` passing instances at `port`."""

    def __init__(self, services: int, endpoints: int, port: int) -> None:
        self.connections = 0  # open now
        self.requests: Counter[str] = Counter()  # answered, by the kind of question
        self._catalog = {
            f"svc-{number}": {each: _Instance(each, port) for each in range(endpoints)}
            for number in range(services)
        }
        self._own = {0: _Instance(0, 8300)}  # Consul lists itself
        self._ill: dict[str, dict[str, _Instance]] = {"critical": {}, "warning": {}}  # by id
        self._index = 13
        self._indexes: dict[str, int] = {}
        self._bodies: dict[str, bytes] = {}
        self._waiting: dict[str, set[_Connection]] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.port = 0

    @property
    def address(self) -> str:
        """The HTTP address as an URL."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        start = self._loop.create_server(lambda: _Connection(self), "127.0.0.1", 0, backlog=1024)
        server = asyncio.run_coroutine_threadsafe(start, self._loop).result()
        self.port = int(server.sockets[0].getsockname()[1])
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # -- changes, from any thread ------------------------------------------------------------

    def set_health(self, name: str, number: int, status: str) -> None:
        """Set the check of one instance: passing, warning or critical."""

        def change() -> None:
            instance = self._catalog[name][number]
            left, instance.status = instance.status, status
            own_id = f"{name}-{number}"
            self._ill.get(left, {}).pop(own_id, None)
            if status in self._ill:
                self._ill[status][own_id] = instance
            self._touch(f"service/{name}", f"state/{left}", f"state/{status}", "state/any")

        self._do(change)

    def move(self, name: str, number: int, port: int) -> None:
        """Register one instance again, at another port. No list says which."""

        def change() -> None:
            self._catalog[name][number].port = port
            self._touch(f"service/{name}", _SERVICES)

        self._do(change)

    def deregister(self, name: str, number: int) -> None:
        """Take one instance out; the last one takes its service along."""

        def change() -> None:
            gone = self._catalog[name].pop(number)
            self._ill.get(gone.status, {}).pop(f"{name}-{number}", None)
            if not self._catalog[name]:
                del self._catalog[name]
            self._touch(f"service/{name}", _SERVICES, f"state/{gone.status}", "state/any")

        self._do(change)

    def _do(self, change: Callable[[], T]) -> T:
        async def run() -> T:
            return change()

        return asyncio.run_coroutine_threadsafe(run(), self._loop).result()

    def _touch(self, *keys: str) -> None:
        self._index += 1
        for key in dict.fromkeys(keys):
            self._indexes[key] = self._index
            self._bodies.pop(key, None)
            for connection in self._waiting.pop(key, ()):
                connection.answer()

    # -- answers -----------------------------------------------------------------------------

    def index_of(self, key: str) -> int:
        """The index that a query has to wait past."""
        return self._indexes.get(key, 13)

    def shown_index(self, key: str) -> int:
        """The index that an answer carries: of a list of checks that of the last change of any."""
        if key.startswith("state/"):
            return max(self.index_of(f"state/{state}") for state in _STATES)
        return self.index_of(key)

    def body(self, key: str) -> bytes:
        """The JSON of a list or a service."""
        if key not in self._bodies:
            self._bodies[key] = json.dumps(self._value(key), separators=(",", ":")).encode()
        return self._bodies[key]

    def _value(self, key: str) -> object:
        kind, _, name = key.partition("/")
        if kind == _SERVICES:
            return {"consul": [], **{name: [] for name in self._catalog}}
        if kind == "datacenters":
            return ["dc1"]
        if name in self._ill:
            found = self._ill[name].items()
            return [one.check(own_id.rpartition("-")[0]) for own_id, one in found]
        if kind == "state":
            return [
                instance.check(service)
                for service, instances in self._catalog.items()
                for instance in instances.values()
                if name in ("any", instance.status)
            ]
        return [
            {"Node": i.node(), "Service": i.service(name), "Checks": [i.check(name)]}
            for i in (self._own if name == "consul" else self._catalog.get(name, {})).values()
        ]

    def wait(self, connection: _Connection, key: str) -> None:
        self._waiting.setdefault(key, set()).add(connection)

    def leave(self, connection: _Connection, key: str) -> None:
        with contextlib.suppress(KeyError):
            self._waiting[key].discard(connection)


class _Connection(asyncio.Protocol):
    """One client connection, one question at a time."""

    def __init__(self, double: ConsulDouble) -> None:
        self._double = double
        self._key = ""
        self._timer: asyncio.TimerHandle | None = None
        self._received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._double.connections += 1

    def connection_lost(self, error: Exception | None) -> None:
        self._double.connections -= 1
        self._forget()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if b"\r\n\r\n" not in self._received:
            return
        head, _, self._received = self._received.partition(b"\r\n\r\n")
        target = urlsplit(head.split(b" ", 2)[1].decode())
        self._key = _key_of(unquote(target.path))
        if not self._key:
            self._transport.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
            return
        query = parse_qs(target.query)
        asked = int(query.get("index", ["0"])[0])
        if not asked or asked < self._double.index_of(self._key):
            self.answer()
            return
        wait_s = float(query.get("wait", ["300s"])[0].rstrip("s"))
        self._double.wait(self, self._key)
        self._timer = asyncio.get_running_loop().call_later(wait_s * 17 / 16, self.answer)

    def answer(self) -> None:
        self._forget()
        double, body = self._double, self._double.body(self._key)
        double.requests[self._key.partition("/")[0]] += 1
        head = (
            "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"
            f"X-Consul-Index: {double.shown_index(self._key)}\r\nX-Consul-Knownleader: true\r\n"
            f"X-Consul-Lastcontact: 0\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        self._transport.write(head.encode() + body)

    def _forget(self) -> None:
        self._double.leave(self, self._key)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


def _key_of(path: str) -> str:
    """What a path asks for; "" = nothing that is known here."""
    if path == "/v1/catalog/services":
        return _SERVICES
    if path == "/v1/catalog/datacenters":
        return "datacenters"
    for prefix, kind in (("/v1/health/service/", "service"), ("/v1/health/state/", "state")):
        if path.startswith(prefix):
            return f"{kind}/{path.removeprefix(prefix)}"
    return ""
