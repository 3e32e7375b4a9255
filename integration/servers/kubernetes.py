"""A double of the Kubernetes API server for tests: Services and EndpointSlices in its wire format.

    with KubernetesDouble(tmp_path) as api:
        api.put_service("web")
        api.put_slice("web", 8080)

No package carries a kube-apiserver; its answers here are those that a real one gave
(`kube_apiserver.py`, which builds one, runs the same tests against it), with their texts: lists by
pages, watches with bookmarks, 410 as an ERROR event, Status objects for refusals.
"""

from __future__ import annotations

import contextlib
import json
import re
import socket
import ssl
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl, urlsplit

import trustme

from integration.servers.consul import free_ports
from integration.servers.kube_objects import ISTIO, KubernetesApi
from integration.servers.kube_store import Expired, Object, Store, merged

_PATH = re.compile(
    r"/apis?/(?P<group>v1|[a-z0-9.]+/v[a-z0-9]+)"
    r"(?:/namespaces/(?P<namespace>[^/]+))?/(?P<resource>[a-z]+)(?:/(?P<name>[^/]+))?"
)
_TYPES = {
    "services": ("v1", "Service", "ServiceList"),
    "endpointslices": ("discovery.k8s.io/v1", "EndpointSlice", "EndpointSliceList"),
    "virtualservices": (ISTIO, "VirtualService", "VirtualServiceList"),
    "serviceentries": (ISTIO, "ServiceEntry", "ServiceEntryList"),
}
_REASONS = {
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "AlreadyExists",
    410: "Expired",
    503: "ServiceUnavailable",
}
BOOKMARK_S = 1.0  # a real server: a minute


class KubernetesDouble(KubernetesApi):
    """One server on a free loopback port, kept over `stop` and `start`. Ended at the end of `with`.

    Logins: `token`, `node_token`, and client certificates of `ca`. `forbidden` are resources that
    nobody but the administrator may read.
    """

    token = "admin"
    node_token = "node"

    def __init__(self, directory: Path, *, tls: bool = False) -> None:
        (self.port,) = free_ports(1)
        self.url = f"{'https' if tls else 'http'}://127.0.0.1:{self.port}"
        self.store = Store()
        self.forbidden: set[str] = set()
        self.requests: list[str] = []  # method and target of each
        self.authority = trustme.CA()
        self._tls = tls
        self._server: _Server | None = None
        if tls:
            directory.mkdir(parents=True, exist_ok=True)
            self.ca = directory / "ca.pem"
            self.authority.cert_pem.write_to_path(str(self.ca))

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
        """Listen; what is stored is what was."""
        self.store.is_interrupted = False
        context = None
        if self._tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.authority.issue_cert("127.0.0.1").configure_cert(context)
            self.authority.configure_trust(context)
            context.verify_mode = ssl.CERT_OPTIONAL
        self._server = _Server(self, context)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """End, and cut every connection."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()
            self.store.interrupt()
            server.cut()

    def lose_state(self) -> None:
        """As after a restore of an older backup, or a new etcd: nothing there, versions from 1."""
        self.stop()
        self.store = Store()
        self.start()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 256

    def __init__(self, double: KubernetesDouble, tls: ssl.SSLContext | None) -> None:
        self.double = double
        self.tls = tls
        self.open: set[socket.socket] = set()
        super().__init__(("127.0.0.1", double.port), _Handler)

    def get_request(self) -> tuple[socket.socket, object]:
        accepted, address = super().get_request()
        if self.tls is not None:
            accepted = self.tls.wrap_socket(
                accepted, server_side=True, do_handshake_on_connect=False
            )
        self.open.add(accepted)
        return accepted, address

    def shutdown_request(self, request: socket.socket) -> None:  # type: ignore[override]
        self.open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, address: object) -> None:
        """Clients go away; that is no error of the double."""

    def cut(self) -> None:
        for each in tuple(self.open):
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """One connection."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def log_message(self, *_: object) -> None:
        """Nothing."""

    def do_GET(self) -> None:
        self._answer(self._read)

    def do_POST(self) -> None:
        self._answer(self._create)

    def do_PATCH(self) -> None:
        self._answer(self._merge)

    def do_DELETE(self) -> None:
        self._answer(self._delete)

    def _answer(self, act: Callable[[], None]) -> None:
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"] or 0)) or "{}")
        self.double = self.server.double
        self.store = self.double.store
        self.double.requests.append(f"{self.command} {self.path}")
        parts = urlsplit(self.path)
        found = _PATH.fullmatch(parts.path)
        known = found and _TYPES.get(found["resource"])
        if not found or not known or known[0] != found["group"]:
            self._status(404, "the server could not find the requested resource")
            return
        self.query = dict(parse_qsl(parts.query))
        self.resource = found["resource"]
        self.namespace = found["namespace"] or ""
        self.name = found["name"] or ""
        if self._is_allowed():
            act()

    def _is_allowed(self) -> bool:
        login = (self.headers["Authorization"] or "").removeprefix("Bearer ")
        by_certificate = (
            isinstance(self.connection, ssl.SSLSocket) and self.connection.getpeercert()
        )
        if login == self.double.token:
            return True
        if login and login != self.double.node_token:
            self._status(401, "Unauthorized")
            return False
        user = "node" if login or by_certificate else "system:anonymous"
        group = _TYPES[self.resource][0].rpartition("/")[0]
        if user != "node" or self.resource in self.double.forbidden or self.command != "GET":
            place = (
                f'in the namespace "{self.namespace}"' if self.namespace else "at the cluster scope"
            )
            verb = "watch" if "watch" in self.query else "list"
            self._status(
                403,
                f'{self.resource} is forbidden: User "{user}" cannot {verb} resource '
                f'"{self.resource}" in API group "{group}" {place}',
            )
            return False
        return True

    def _read(self) -> None:
        if self.query.get("watch") in ("1", "true"):
            self._watch()
            return
        selector = self.query.get("labelSelector", "")
        limit, after = int(self.query.get("limit", 0)), self.query.get("continue", "")
        try:
            page = self.store.page(self.resource, self.namespace, selector, limit, after)
        except Expired:
            self._status(
                410,
                "The provided continue parameter is too old to display a consistent list result. You "
                "can start a new list without the continue parameter.",
            )
            return
        version, one, kind = _TYPES[self.resource]
        items = page.items
        if version == ISTIO:  # objects of custom kinds say in lists, too, what they are
            items = [{"apiVersion": version, "kind": one, **item} for item in items]
        meta: dict[str, object] = {"resourceVersion": str(page.version)}
        if page.after:
            meta["continue"] = page.after
            if not selector:  # the API does not count what a selector hides
                meta["remainingItemCount"] = page.remaining
        self._send(200, {"kind": kind, "apiVersion": version, "metadata": meta, "items": items})

    def _watch(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        for kind, item in self._events():
            line = (
                json.dumps({"type": kind, "object": item}, separators=(",", ":")).encode() + b"\n"
            )
            self.wfile.write(b"%x\r\n%b\r\n" % (len(line), line))
        self.wfile.write(b"0\r\n\r\n")

    def _events(self) -> Iterator[tuple[str, Object]]:
        version = int(self.query["resourceVersion"])
        until = time.monotonic() + int(self.query.get("timeoutSeconds", 1800))
        api, kind, _ = _TYPES[self.resource]
        selector = self.query.get("labelSelector", "")
        bookmarked = time.monotonic()
        store = self.store
        while True:
            rest = until - time.monotonic()
            try:
                version, changes = store.since(version, max(0.0, min(rest, BOOKMARK_S)))
            except Expired as error:
                yield "ERROR", _status(410, f"too old resource version: {version} ({error})")
                return
            for change in changes:
                if change.resource == self.resource and change.is_in(self.namespace):
                    was, now = change.seen_by(selector)
                    if was or now:
                        told = "MODIFIED" if was and now else "ADDED" if now else "DELETED"
                        yield told, {"kind": kind, "apiVersion": api, **change.item}
            is_due = rest <= 0 or time.monotonic() - bookmarked >= BOOKMARK_S
            if is_due and self.query.get("allowWatchBookmarks") == "true":
                bookmarked = time.monotonic()
                meta = {"resourceVersion": str(version), "creationTimestamp": None}
                yield "BOOKMARK", {"kind": kind, "apiVersion": api, "metadata": meta}
            if rest <= 0 or store.is_interrupted:
                return

    def _create(self) -> None:
        meta = {
            "namespace": self.namespace,
            "uid": str(uuid.uuid4()),
            "creationTimestamp": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "managedFields": [{"manager": "test", "operation": "Update", "fieldsType": "FieldsV1"}],
        }
        item = {key: value for key, value in self.body.items() if key not in ("kind", "apiVersion")}
        item["metadata"] = {**item["metadata"], **meta}
        if self.resource == "services":
            item.setdefault("status", {"loadBalancer": {}})
            item["spec"] = {"type": "ClusterIP", "sessionAffinity": "None", **item["spec"]}
            for port in item["spec"].get("ports") or ():
                port.setdefault("protocol", "TCP")
        name = item["metadata"]["name"]
        if self.store.get(self.resource, self.namespace, name) is not None:
            self._status(409, f'{self.resource} "{name}" already exists')
        else:
            self._send(201, self.store.put(self.resource, item))

    def _merge(self) -> None:
        before = self.store.get(self.resource, self.namespace, self.name)
        if before is None:
            self._status(404, f'{self.resource} "{self.name}" not found')
        else:
            change = {k: v for k, v in self.body.items() if k not in ("kind", "apiVersion")}
            self._send(200, self.store.put(self.resource, merged(before, change)))

    def _delete(self) -> None:
        if self.store.delete(self.resource, self.namespace, self.name):
            self._send(200, {**_status(200, ""), "status": "Success"})
        else:
            self._status(404, f'{self.resource} "{self.name}" not found')

    def _status(self, code: int, message: str) -> None:
        self._send(code, _status(code, message))

    def _send(self, code: int, body: Object) -> None:
        data = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def _status(code: int, message: str) -> Object:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": _REASONS.get(code, ""),
        "code": code,
    }
