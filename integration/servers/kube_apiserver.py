"""A real kube-apiserver for tests, over a real etcd: where one was built or is named.

No package carries the program. `scripts/build-kube-apiserver` makes one from Debian's source of
Kubernetes 1.20 (minutes); `EGRESSD_TEST_KUBE_APISERVER` names another. Tests that run against the
double run against it as well, so that the double can be believed.
"""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Self

import trustme

from integration.servers.consul import free_ports
from integration.servers.etcd import EtcdCluster
from integration.servers.fetch import CACHE
from integration.servers.kube_objects import ISTIO, KubernetesApi, KubernetesError

OVERRIDE = "EGRESSD_TEST_KUBE_APISERVER"
READY_TIMEOUT_S = 90.0
STOP_TIMEOUT_S = 20.0
READER = {
    "rules": [
        {"apiGroups": [""], "resources": ["services"], "verbs": ["list", "watch"]},
        {
            "apiGroups": ["discovery.k8s.io"],
            "resources": ["endpointslices"],
            "verbs": ["list", "watch"],
        },
        {
            "apiGroups": ["networking.istio.io", "security.istio.io"],
            "resources": ["*"],
            "verbs": ["list", "watch"],
        },
    ],
}
"""The least that the adapter needs, as docs/kubernetes.md has it."""


def apiserver_program() -> Path | None:
    """The program, or None where there is none."""
    path = Path(os.environ.get(OVERRIDE) or CACHE / "kube-apiserver")
    return path if path.is_file() else None


class KubeApiserver(KubernetesApi):
    """One API server on a free loopback port, kept over `stop` and `start`, with RBAC and TLS. The
    login `node_token` may what docs/kubernetes.md grants."""

    token = "admin"
    node_token = "node"

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        (self.port,) = free_ports(1)
        self.url = f"https://127.0.0.1:{self.port}"
        self.authority = trustme.CA()
        self.ca = directory / "ca.pem"
        self._etcd = EtcdCluster(directory / "etcd")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self._directory.mkdir(parents=True, exist_ok=True)
        (self._directory / "tokens.csv").write_text('admin,admin,1,"system:masters"\nnode,node,2\n')
        self.authority.cert_pem.write_to_path(str(self.ca))
        issued = self.authority.issue_cert("127.0.0.1")
        issued.cert_chain_pems[0].write_to_path(str(self._directory / "server.pem"))
        issued.private_key_pem.write_to_path(str(self._directory / "server.key"))
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()
        self._etcd.kill()

    def start(self) -> None:
        """Start, and wait until it is ready and the node's login has its rights."""
        program = apiserver_program()
        assert program is not None
        self._etcd.start()
        with (self._directory / "kube-apiserver.log").open("ab") as log:
            self._process = subprocess.Popen(
                [program, *self._arguments()], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        until = time.monotonic() + READY_TIMEOUT_S
        while not self._is_ready():
            if self._process.poll() is not None or time.monotonic() > until:
                self.stop()
                raise KubernetesError(f"no kube-apiserver: see {self._directory}")
            time.sleep(0.1)
        place = "/apis/rbac.authorization.k8s.io/v1"
        subject = {"kind": "User", "name": "node", "apiGroup": "rbac.authorization.k8s.io"}
        role = {"kind": "ClusterRole", "name": "egressd", "apiGroup": "rbac.authorization.k8s.io"}
        for resource, body in (
            ("clusterroles", READER),
            ("clusterrolebindings", {"subjects": [subject], "roleRef": role}),
        ):
            try:
                document = {"metadata": {"name": "egressd"}, **body}
                self.request("POST", f"{place}/{resource}", document)
            except KubernetesError as error:
                if ": 409 " not in str(error):
                    raise
        self.slices = "/apis/discovery.k8s.io/v1"
        try:
            self.request("GET", self.slices)
        except KubernetesError:
            self.slices = "/apis/discovery.k8s.io/v1beta1"

    def stop(self) -> None:
        """End the API server; etcd goes on."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def lose_state(self) -> None:
        """Start anew with an empty etcd."""
        self.stop()
        self._etcd.kill()
        shutil.rmtree(self._directory / "etcd")
        self._etcd = EtcdCluster(self._directory / "etcd")
        self.start()

    def clear(self) -> None:
        """Delete every Service and slice of the namespace default."""
        for group, kind in (("/api/v1", "services"), (self.slices, "endpointslices")):
            place = f"{group}/namespaces/default/{kind}"
            listed = self.request("GET", place)
            assert isinstance(listed, dict)
            for item in listed["items"]:
                if item["metadata"]["name"] != "kubernetes":
                    self.request("DELETE", f"{place}/{item['metadata']['name']}")

    def define_istio(self) -> None:
        """Two of Istio's kinds, without its schemas, and only in an older version."""
        group, _, version = ISTIO.partition("/")
        for plural, kind in (
            ("virtualservices", "VirtualService"),
            ("serviceentries", "ServiceEntry"),
        ):
            schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
            served = {
                "name": version,
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": schema},
            }
            names = {"plural": plural, "singular": kind.lower(), "kind": kind}
            definition = {
                "metadata": {"name": f"{plural}.{group}"},
                "spec": {
                    "group": group,
                    "scope": "Namespaced",
                    "names": names,
                    "versions": [served],
                },
            }
            place = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
            self.request("POST", place, definition)
            until = time.monotonic() + READY_TIMEOUT_S
            while True:
                try:
                    self.request("GET", f"/apis/{ISTIO}/{plural}")
                    break
                except KubernetesError:
                    assert time.monotonic() < until
                    time.sleep(0.1)

    def _arguments(self) -> list[str]:
        key = self._directory / "server.key"
        options = {
            "etcd-servers": self._etcd.endpoints[0],
            "bind-address": "127.0.0.1",
            "advertise-address": "127.0.0.1",
            "secure-port": self.port,
            "tls-cert-file": self._directory / "server.pem",
            "tls-private-key-file": key,
            "client-ca-file": self.ca,
            "token-auth-file": self._directory / "tokens.csv",
            "authorization-mode": "RBAC",
            "service-cluster-ip-range": "10.96.0.0/16",
            "service-account-issuer": "https://kubernetes.default.svc",
            "service-account-key-file": key,
            "service-account-signing-key-file": key,
            "cert-dir": self._directory / "certificates",
        }
        return [f"--{name}={value}" for name, value in options.items()]

    def _is_ready(self) -> bool:
        asked = urllib.request.Request(
            f"{self.url}/readyz", headers={"Authorization": f"Bearer {self.token}"}
        )
        trust = ssl.create_default_context(cafile=str(self.ca))
        try:
            with urllib.request.urlopen(asked, timeout=5, context=trust) as answer:
                return bool(answer.status == 200)
        except (urllib.error.URLError, OSError):
            return False
