"""Where the API server is and how to log in: a kubeconfig, or the service account of a pod.

Certificates that a kubeconfig carries inline live in memory-backed files (Python's TLS loads files
only): nothing secret is written to disk.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import msgspec
import yaml

from adapters.http import Credential, Endpoint, Tls, WatchedFiles
from egressd.api.secret import RedactedError, Secret, SecretUrl, shown
from egressd.registry.option_faults import decode_secret

SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
"""Where Kubernetes puts token and CA into every container."""


class AccessError(RedactedError):
    """The message names the file, the field, what was found and what is expected."""


class Access(msgspec.Struct, frozen=True):
    """One API server, and who we are there."""

    endpoint: Endpoint
    prefix: str  # of every path; "" unless a proxy serves several clusters
    tls: Tls
    token: Credential
    files: WatchedFiles  # when one of them changed, the access is another one
    descriptors: tuple[int, ...] = ()  # of certificates that are in memory only

    def close(self) -> None:
        """No new connections by this access from now on."""
        for descriptor in self.descriptors:
            os.close(descriptor)


class _Cluster(msgspec.Struct, frozen=True, rename="kebab"):
    """kubeconfig `clusters[].cluster`."""

    server: SecretUrl = SecretUrl()
    certificate_authority: str = ""
    certificate_authority_data: str = ""
    insecure_skip_tls_verify: bool = False
    tls_server_name: str = ""
    proxy_url: SecretUrl = SecretUrl()


class _User(msgspec.Struct, frozen=True, rename="kebab"):
    """kubeconfig `users[].user`."""

    token: Secret = Secret()
    token_file: str = msgspec.field(name="tokenFile", default="")
    client_certificate: str = ""
    client_certificate_data: str = ""
    client_key: str = ""
    client_key_data: Secret = Secret()
    username: str = ""
    password: Secret = Secret()
    exec: object = None
    auth_provider: object = None
    as_: str = msgspec.field(name="as", default="")


class _Context(msgspec.Struct, frozen=True):
    """kubeconfig `contexts[].context`."""

    cluster: str = ""
    user: str = ""


class _NamedCluster(msgspec.Struct, frozen=True):
    name: str
    cluster: _Cluster


class _NamedUser(msgspec.Struct, frozen=True):
    name: str
    user: _User = _User()


class _NamedContext(msgspec.Struct, frozen=True):
    name: str
    context: _Context


class _Config(msgspec.Struct, frozen=True, rename="kebab"):
    """A kubeconfig file."""

    current_context: str = ""
    clusters: tuple[_NamedCluster, ...] | None = None
    users: tuple[_NamedUser, ...] | None = None
    contexts: tuple[_NamedContext, ...] | None = None


def load_access(
    kubeconfig: str,
    context: str,
    environment: Mapping[str, str],
    service_account: str = SERVICE_ACCOUNT,
) -> Access:
    """The access that the options name: `kubeconfig`, else the pod's service account when this is a
    pod, else the file that KUBECONFIG names. Raises `AccessError`."""
    if not kubeconfig and environment.get("KUBERNETES_SERVICE_HOST"):
        return _in_cluster(environment, service_account)
    named = kubeconfig or environment.get("KUBECONFIG", "")
    if not named or os.pathsep in named:
        found = shown(named) if named else "nothing, neither KUBECONFIG nor a pod's service account"
        raise AccessError(f"found {found}, expected the path of one kubeconfig")
    return _of_file(Path(named), context)


def _in_cluster(environment: Mapping[str, str], directory: str) -> Access:
    port = environment.get("KUBERNETES_SERVICE_PORT", "443")
    if not port.isdecimal():
        raise AccessError(f"KUBERNETES_SERVICE_PORT: found {shown(port)}, expected a port")
    host = environment["KUBERNETES_SERVICE_HOST"]
    files = WatchedFiles()
    files.changed()
    return Access(
        endpoint=Endpoint(scheme="https", host=host, port=int(port)),
        prefix="",
        tls=Tls(ca_file=f"{directory}/ca.crt"),
        token=Credential(Secret(), f"{directory}/token", "token"),
        files=files,
    )


def _of_file(path: Path, context: str) -> Access:
    files = WatchedFiles(str(path))
    try:
        files.changed()
        config = msgspec.convert(
            yaml.load(path.read_bytes(), yaml.CSafeLoader), _Config, dec_hook=decode_secret
        )
    except (OSError, yaml.YAMLError, msgspec.ValidationError) as error:
        said = error.strerror if isinstance(error, OSError) else " ".join(str(error).split())
        raise AccessError(f"{path}: {said}") from error
    wanted = context or config.current_context
    contexts = {each.name: each.context for each in config.contexts or ()}
    chosen = contexts.get(wanted)
    if chosen is None:
        known = ", ".join(contexts) or "none"
        raise AccessError(
            f"{path}: current-context: found {shown(wanted)}, expected one of {known}"
        )
    clusters = {each.name: each.cluster for each in config.clusters or ()}
    users = {each.name: each.user for each in config.users or ()}
    cluster, user = clusters.get(chosen.cluster), users.get(chosen.user)
    if cluster is None:
        raise AccessError(f"{path}: clusters: found no {shown(chosen.cluster)} of context {wanted}")
    if user is None and chosen.user:
        raise AccessError(f"{path}: users: found no {shown(chosen.user)} of context {wanted}")
    return _Login(path, cluster, user or _User()).access(files)


class _Login:
    """One context's cluster and user on their way to an access."""

    def __init__(self, path: Path, cluster: _Cluster, user: _User) -> None:
        self._path = path
        self._cluster = cluster
        self._user = user
        self._descriptors: list[int] = []

    def access(self, files: WatchedFiles) -> Access:
        cluster, user = self._cluster, self._user
        self._refuse_foreign()
        endpoint, prefix = self._server(cluster.server)
        certificate = self._file(
            "client-certificate", user.client_certificate, user.client_certificate_data
        )
        key = self._file("client-key", user.client_key, user.client_key_data)
        if bool(certificate) != bool(key):
            raise self._error(
                "users", "a client certificate without its key, or a key alone", "both"
            )
        tls = Tls(
            ca_file=self._file(
                "certificate-authority",
                cluster.certificate_authority,
                cluster.certificate_authority_data,
            ),
            cert_file=certificate,
            key_file=key,
            server_name=cluster.tls_server_name,
            insecure_skip_verify=cluster.insecure_skip_tls_verify,
        )
        token_file = self._resolved(user.token_file)
        return Access(
            endpoint,
            prefix,
            tls,
            Credential(Secret() if token_file else user.token, token_file, "token"),
            files,
        )

    def _refuse_foreign(self) -> None:
        """What kubectl would act on and this does not must not be passed over in silence."""
        user = self._user
        expected = "token, tokenFile or client-certificate (a ServiceAccount's token serves a node)"
        for name, value in (
            ("exec", user.exec),
            ("auth-provider", user.auth_provider),
            ("username", user.username or user.password),
            ("as", user.as_),
        ):
            if value:
                raise self._error(f"users: {name}", "a login that is not supported", expected)
        if self._cluster.proxy_url:
            raise self._error(
                "clusters: proxy-url", str(self._cluster.proxy_url), "a direct connection"
            )

    def _server(self, server: SecretUrl) -> tuple[Endpoint, str]:
        try:
            parts = urlsplit(server.reveal())
            port = parts.port
        except ValueError:
            parts, port = urlsplit(""), None
        is_plain = not parts.query and parts.username is None
        if parts.scheme not in ("http", "https") or not parts.hostname or not is_plain:
            raise self._error("clusters: server", repr(str(server)), "an https://HOST:PORT URL")
        host, prefix = parts.hostname, parts.path.rstrip("/")
        if parts.scheme == "https":
            return Endpoint(scheme="https", host=host, port=port or 443), prefix
        return Endpoint(scheme="http", host=host, port=port or 80), prefix

    def _file(self, field: str, path: str, data: str | Secret) -> str:
        """The file of a PEM field; inline data wins, as in kubectl."""
        if not data:
            return self._resolved(path)
        try:
            text = data.reveal() if isinstance(data, Secret) else data
            pem = base64.b64decode(text, validate=True)
        except binascii.Error as error:
            raise self._error(f"{field}-data", str(error), "base64 of PEM") from error
        descriptor = os.memfd_create("kubeconfig")
        self._descriptors.append(descriptor)
        os.write(descriptor, pem)
        return f"/proc/self/fd/{descriptor}"

    def _resolved(self, path: str) -> str:
        """kubectl: relative paths start at the kubeconfig."""
        return str(self._path.parent / path) if path else ""

    def _error(self, field: str, found: str, expected: str) -> AccessError:
        return AccessError(f"{self._path}: {field}: found {found}, expected {expected}")
