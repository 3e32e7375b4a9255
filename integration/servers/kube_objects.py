"""The objects of a Kubernetes API for tests, written over REST: to the real server or the double."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

REQUEST_TIMEOUT_S = 20.0
SERVICES = "/api/v1"
ISTIO = "networking.istio.io/v1beta1"


class KubernetesError(Exception):
    """The API server did not start, or refused a request."""


class KubernetesApi:
    """What a test may do with an API server. `token` is the administrator's."""

    url: str
    ca: Path | None = None  # PEM; None = no TLS
    token: str = ""
    slices: str = "/apis/discovery.k8s.io/v1"  # path of the API group of EndpointSlices

    def put_service(
        self,
        name: str,
        *,
        namespace: str = "default",
        labels: Mapping[str, str] | None = None,
        **spec: object,
    ) -> None:
        """Create a Service, or merge into it."""
        full = {"ports": [{"name": "http", "port": 80}], "selector": {"app": name}, **spec}
        meta = {"name": name, "labels": dict(labels or {})}
        self._put(SERVICES, "services", namespace, {"metadata": meta, "spec": full}, "Service")

    def put_slice(
        self,
        service: str,
        *ports: int,
        name: str = "",
        namespace: str = "default",
        address: str = "127.0.0.1",
        **conditions: bool,
    ) -> None:
        """Create or replace a slice per port of a Service's endpoints, all in one object: an
        endpoint is `address`, and one slice has one port."""
        for port in ports:
            endpoint = {"addresses": [address], "conditions": {"ready": True, **conditions}}
            own = name or f"{service}-{port}"
            document = {
                "metadata": {"name": own, "labels": {"kubernetes.io/service-name": service}},
                "addressType": "IPv4",
                "endpoints": [endpoint],
                "ports": [{"name": "http", "protocol": "TCP", "port": port}],
            }
            self._put(self.slices, "endpointslices", namespace, document, "EndpointSlice")

    def put_istio(self, resource: str, kind: str, name: str, spec: Mapping[str, object]) -> None:
        """Create an Istio resource of the namespace default, or merge into it."""
        document = {"metadata": {"name": name}, "spec": spec}
        self._put(f"/apis/{ISTIO}", resource, "default", document, kind)

    def delete_istio(self, resource: str, name: str) -> None:
        self.request("DELETE", f"/apis/{ISTIO}/namespaces/default/{resource}/{name}")

    def delete_service(self, name: str, *, namespace: str = "default") -> None:
        self.request("DELETE", f"{SERVICES}/namespaces/{namespace}/services/{name}")

    def delete_slice(self, name: str, *, namespace: str = "default") -> None:
        self.request("DELETE", f"{self.slices}/namespaces/{namespace}/endpointslices/{name}")

    def request(
        self, method: str, path: str, body: object = None, *, patch: bool = False
    ) -> object:
        """One API request; the decoded answer. Raises `KubernetesError` unless it succeeds."""
        parts = urlsplit(self.url)
        assert parts.hostname is not None
        connection: http.client.HTTPConnection
        if parts.scheme == "https":
            trust = ssl.create_default_context(cafile=str(self.ca))
            connection = http.client.HTTPSConnection(
                parts.hostname, parts.port, timeout=REQUEST_TIMEOUT_S, context=trust
            )
        else:
            connection = http.client.HTTPConnection(
                parts.hostname, parts.port, timeout=REQUEST_TIMEOUT_S
            )
        kind = "application/merge-patch+json" if patch else "application/json"
        headers = {"Authorization": f"Bearer {self.token}", "Content-Type": kind}
        try:
            connection.request(method, path, json.dumps(body) if body else None, headers)
            answer = connection.getresponse()
            data = answer.read()
        finally:
            connection.close()
        if answer.status >= 300:
            raise KubernetesError(f"{method} {path}: {answer.status} {data.decode()[:500]}")
        return json.loads(data)

    def kubeconfig(self, path: Path, token: str, *, url: str = "", **user: str) -> str:
        """Write a kubeconfig with that login; its path."""
        cluster: dict[str, object] = {"server": url or self.url}
        if self.ca is not None:
            cluster["certificate-authority"] = str(self.ca)
        login = {"token": token, **user} if token else user
        document = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "test",
            "clusters": [{"name": "test", "cluster": cluster}],
            "users": [{"name": "node", "user": login}],
            "contexts": [{"name": "test", "context": {"cluster": "test", "user": "node"}}],
        }
        path.write_text(json.dumps(document))
        return str(path)

    def _put(
        self, group: str, resource: str, namespace: str, document: Mapping[str, object], kind: str
    ) -> None:
        """Create, or merge into what is there."""
        place = f"{group}/namespaces/{namespace}/{resource}"
        version = group.removeprefix("/apis/").removeprefix("/api/")
        full = {"apiVersion": version, "kind": kind, **document}
        try:
            self.request("POST", place, full)
        except KubernetesError as error:
            if ": 409 " not in str(error):
                raise
            meta = document["metadata"]
            assert isinstance(meta, Mapping)
            self.request("PATCH", f"{place}/{meta['name']}", full, patch=True)
