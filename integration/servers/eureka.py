"""A stand-in for a Eureka server, for tests: no registry that this project may use carries a real one.

    with Eureka() as eureka:
        eureka.register("WEB", port=8080)

It keeps a registry as Netflix's `AbstractInstanceRegistry` does and says it as `EurekaJacksonCodec`
does: leases, overrides, the queue of recent changes behind `/apps/delta` with its retention, the hash
code, a version that grows with every delta that is made anew and is lost with the process, responses
cached until something changes, gzip, ETag, self-preservation. Instances register, renew, cancel and set
their status over HTTP, so that a real client library works against it. It answers JSON only.
"""

from __future__ import annotations

import base64
import gzip
import json
import threading
import time
from collections import Counter, deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, unquote, urlsplit

from integration.servers.consul import free_ports

Json = dict[str, object]
RENEWAL_THRESHOLD = 0.85  # `renewalPercentThreshold`


@dataclass
class Lease:
    """One registered instance. Times in milliseconds of the epoch."""

    holder: Json
    registered: int
    renewed: int
    duration_s: int = 90
    evicted: int = 0


@dataclass
class Registry:
    """What is lost when the server's process ends."""

    apps: dict[str, dict[str, Lease]] = field(default_factory=dict)
    overrides: dict[str, str] = field(default_factory=dict)
    recent: deque[tuple[int, Lease]] = field(default_factory=deque)
    version: int = 0
    cached: dict[str, bytes] = field(default_factory=dict)
    renewals: int = 0  # since the last eviction run


class Eureka:
    """One server on a port of its own, kept over `restart`. Every method may be called at any time."""

    def __init__(self, *, credentials: str = "", retention_s: float = 180.0) -> None:
        """`credentials` as "user:password": asked for by HTTP basic, as Spring Security does."""
        self.credentials = credentials
        self.without_delta = 0  # the status that refuses deltas: 403 for `disableDelta`
        self.is_ready = True  # `shouldAllowAccess`: not while it waits for its peers' registry
        self.remote_regions: dict[str, Eureka] = {}
        self.requests: list[str] = []  # paths with queries
        self._retention_ms = retention_s * 1000
        self._lock = threading.RLock()
        self._registry = Registry()
        self._server: _Server | None = None
        self.port = free_ports(1)[0]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/eureka"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        """Listen."""
        self._server = _Server(("127.0.0.1", self.port), _handler(self))
        serve = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        serve.start()

    def stop(self) -> None:
        """End: open connections are closed."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server.end_connections()
            self._server = None

    def restart(self, *, copy_from: Eureka | None = None) -> None:
        """End and start with an empty registry, or with a peer's as `syncUp` copies it."""
        self.stop()
        with self._lock:
            self._registry = Registry()
        if copy_from is not None:
            for app in copy_from.instances():
                self.add(app)
        self.start()

    # -- what instances do -------------------------------------------------------------------

    def register(
        self,
        app: str,
        port: int = 8080,
        *,
        instance_id: str = "",
        status: str = "UP",
        secure_port: int = 0,
        **more: object,
    ) -> str:
        """Register as Spring Cloud does; `more` are fields of the instance. Returns its id."""
        own = instance_id or f"127.0.0.1:{app.lower()}:{port or secure_port}"
        self.add(
            {
                "instanceId": own,
                "hostName": "127.0.0.1",
                "app": app.upper(),
                "ipAddr": "127.0.0.1",
                "status": status,
                "overriddenStatus": "UNKNOWN",
                "port": {"$": port or 7001, "@enabled": str(port > 0).lower()},
                "securePort": {"$": secure_port or 443, "@enabled": str(secure_port > 0).lower()},
                "countryId": 1,
                "dataCenterInfo": {
                    "@class": "com.netflix.appinfo.InstanceInfo$DefaultDataCenterInfo",
                    "name": "MyOwn",
                },
                "metadata": {"@class": "java.util.Collections$EmptyMap"},
                "vipAddress": app.lower(),
                "secureVipAddress": app.lower(),
                **more,
            }
        )
        return own

    def add(self, instance: Json) -> None:
        """`register`: the newest of two with one id wins."""
        with self._lock:
            now = _now_ms()
            app, own = str(instance["app"]).upper(), str(instance["instanceId"])
            instance = {**instance, "app": app, "actionType": "ADDED"}
            instance |= {"lastUpdatedTimestamp": str(now), "lastDirtyTimestamp": str(now)}
            override = self._registry.overrides.get(own)
            if override is not None:
                instance |= {"overriddenStatus": override, "status": override}
            lease = Lease(instance, registered=now, renewed=now)
            self._registry.apps.setdefault(app, {})[own] = lease
            self._changed(lease)

    def renew(self, app: str, own: str) -> bool:
        """A heartbeat; False = not registered (404), the instance must register again."""
        with self._lock:
            lease = self._registry.apps.get(app.upper(), {}).get(own)
            if lease is not None:
                lease.renewed = _now_ms()
                self._registry.renewals += 1
            return lease is not None

    def cancel(self, app: str, own: str) -> bool:
        """The instance says goodbye."""
        with self._lock:
            lease = self._registry.apps.get(app.upper(), {}).pop(own, None)
            self._registry.overrides.pop(own, None)
            if lease is not None:
                lease.evicted = _now_ms()
                lease.holder["actionType"] = "DELETED"
                self._changed(lease)
            return lease is not None

    def set_status(self, app: str, own: str, status: str) -> bool:
        """An operator's override, as `PUT …/status?value=`; "" takes it away."""
        with self._lock:
            lease = self._registry.apps.get(app.upper(), {}).get(own)
            if lease is None:
                return False
            if status:
                self._registry.overrides[own] = status
            else:
                self._registry.overrides.pop(own, None)
            lease.holder |= {
                "status": status or "UP",
                "overriddenStatus": status or "UNKNOWN",
                "actionType": "MODIFIED",
            }
            self._changed(lease)
            return True

    def age(self, seconds: float) -> None:
        """Let all that is registered have been so for as long, renewing all the while."""
        with self._lock:
            for held in self._registry.apps.values():
                for lease in held.values():
                    lease.registered -= int(seconds * 1000)
            self._registry.cached.clear()

    def expire(self, app: str, own: str) -> None:
        """Let the lease be over, as after 90 s without a heartbeat."""
        with self._lock:
            self._registry.apps[app.upper()][own].renewed -= 10 * 90_000

    def evict(self) -> int:
        """One run of the eviction task; how many went. None in self-preservation: when fewer than 85 %
        of the instances renewed since the last run; and never more than 15 % at once."""
        with self._lock:
            leases = [(a, o, x) for a, held in self._registry.apps.items() for o, x in held.items()]
            renewals, self._registry.renewals = self._registry.renewals, 0
            if renewals <= len(leases) * RENEWAL_THRESHOLD:
                return 0
            now = _now_ms()
            over = [(a, o) for a, o, x in leases if now > x.renewed + x.duration_s * 1000]
            most = len(leases) - int(len(leases) * RENEWAL_THRESHOLD)
            for app, own in over[:most]:
                self.cancel(app, own)
            return len(over[:most])

    def forget_changes(self) -> None:
        """Let the retention time of all recent changes pass."""
        with self._lock:
            self._registry.recent.clear()
            self._registry.cached.clear()

    def instances(self) -> list[Json]:
        """What is registered."""
        with self._lock:
            return [x.holder for held in self._registry.apps.values() for x in held.values()]

    # -- what clients read -------------------------------------------------------------------

    def full(self, regions: tuple[str, ...] = ()) -> bytes:
        """`getApplicationsFromMultipleRegions`; its version is always 1."""
        return self._cached(f"full{regions}", lambda: self._say(1, self._leases(regions), regions))

    def delta(self, regions: tuple[str, ...] = ()) -> bytes:
        """`getApplicationDeltasFromMultipleRegions`: the queue of changes, oldest first."""

        def make() -> bytes:
            self._registry.version += 1
            oldest = _now_ms() - self._retention_ms
            recent = [lease for at, lease in self._registry.recent if at >= oldest]
            return self._say(self._registry.version, recent, regions)

        return self._cached(f"delta{regions}", make)

    def _leases(self, regions: tuple[str, ...]) -> list[Lease]:
        own = [lease for held in self._registry.apps.values() for lease in held.values()]
        others = (self.remote_regions[r] for r in regions if r in self.remote_regions)
        return own + [lease for other in others for lease in other._leases(())]

    def _say(self, version: int, leases: list[Lease], regions: tuple[str, ...]) -> bytes:
        apps: dict[str, dict[str, Json]] = {}
        for lease in leases:
            held = apps.setdefault(str(lease.holder["app"]), {})
            held.pop(str(lease.holder["instanceId"]), None)  # the last of several stands
            held[str(lease.holder["instanceId"])] = _instance(lease)
        counts = Counter(str(lease.holder["status"]) for lease in self._leases(regions))
        said = {
            "versions__delta": str(version),
            "apps__hashcode": "".join(f"{s}_{n}_" for s, n in sorted(counts.items())),
            "application": [{"name": a, "instance": [*x.values()]} for a, x in apps.items()],
        }
        return json.dumps({"applications": said}).encode()

    def _cached(self, key: str, make: object) -> bytes:
        assert callable(make)
        with self._lock:
            if key not in self._registry.cached:
                self._registry.cached[key] = make()
            return self._registry.cached[key]

    def _changed(self, lease: Lease) -> None:
        self._registry.recent.append((_now_ms(), lease))
        self._registry.cached.clear()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.open: set[object] = set()

    def process_request(self, request: object, client_address: object) -> None:
        self.open.add(request)
        super().process_request(request, client_address)  # type: ignore[arg-type]

    def shutdown_request(self, request: object) -> None:
        self.open.discard(request)
        super().shutdown_request(request)  # type: ignore[arg-type]

    def end_connections(self) -> None:
        for each in list(self.open):
            self.shutdown_request(each)

    def handle_error(self, request: object, client_address: object) -> None:
        """Clients may go away."""


def _instance(lease: Lease) -> Json:
    times = {
        "renewalIntervalInSecs": 30,
        "durationInSecs": lease.duration_s,
        "registrationTimestamp": lease.registered,
        "lastRenewalTimestamp": lease.renewed,
        "evictionTimestamp": lease.evicted,
        "serviceUpTimestamp": lease.registered,
    }
    return {**lease.holder, "leaseInfo": times, "isCoordinatingDiscoveryServer": "false"}


def _now_ms() -> int:
    return int(time.time() * 1000)


def _handler(eureka: Eureka) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            url = urlsplit(self.path)
            eureka.requests.append(self.path)
            path = url.path.removeprefix("/eureka").rstrip("/")
            named = parse_qs(url.query).get("regions", [""])[0].lower()
            regions = tuple(sorted(region for region in named.split(",") if region))
            if path not in ("/apps", "/apps/delta"):
                self.answer(404)
            elif not self.is_let_in():
                self.answer(401, headers={"WWW-Authenticate": 'Basic realm="Realm"'})
            elif not eureka.is_ready:
                self.answer(403)
            elif path == "/apps/delta" and eureka.without_delta:
                self.answer(eureka.without_delta)
            elif "json" not in self.headers.get("Accept", ""):
                self.answer(406)  # a real one would answer XML
            else:
                self.listing(eureka.full(regions) if path == "/apps" else eureka.delta(regions))

        def do_POST(self) -> None:
            sent = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            eureka.add(sent["instance"])
            self.answer(204)

        def do_PUT(self) -> None:
            url = urlsplit(self.path)
            app, own, *rest = map(unquote, url.path.removeprefix("/eureka/apps/").split("/"))
            if rest == ["status"]:
                found = eureka.set_status(app, own, parse_qs(url.query)["value"][0])
            else:
                found = eureka.renew(app, own)
            self.answer(200 if found else 404)

        def do_DELETE(self) -> None:
            url = urlsplit(self.path)
            app, own, *rest = map(unquote, url.path.removeprefix("/eureka/apps/").split("/"))
            found = eureka.set_status(app, own, "") if rest else eureka.cancel(app, own)
            self.answer(200 if found else 404)

        def is_let_in(self) -> bool:
            wanted = base64.b64encode(eureka.credentials.encode()).decode()
            given = self.headers.get("Authorization", "")
            return not eureka.credentials or given == f"Basic {wanted}"

        def listing(self, body: bytes) -> None:
            etag = f'"source=127.0.0.1,id={hash(body)}"'
            headers = {"Content-Type": "application/json", "ETag": etag}
            if "gzip" in self.headers.get("Accept-Encoding", ""):
                headers["Content-Encoding"] = "gzip"
                body = gzip.compress(body, 1)
            self.answer(200, body, headers)

        def answer(
            self, status: int, body: bytes = b"", headers: dict[str, str] | None = None
        ) -> None:
            self.send_response(status)
            for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Silence."""

    return Handler
