"""The options of what talks to etcd: the adapter, the key-value store, the registrar."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeVar, get_args
from typing import Literal as Choice
from urllib.parse import urlsplit

import msgspec

from adapters.http import Tls
from adapters.options import (
    DOMAIN_EXPECTED,
    DURATION_EXPECTED,
    LABEL_EXPECTED,
    PROTOCOL_EXPECTED,
    DomainText,
    DurationText,
    LabelText,
    Protocol,
    check_tls,
    convert_options,
)
from egressd.api.secret import Secret, SecretUrl, shown
from egressd.registry.adapter import AdapterConfigError
from egressd.registry.adapter_options import SecretPath

DEFAULT_PORT = 2379
Layout = Choice["istio", "skydns"]
DEFAULT_PREFIX: Mapping[Layout, str] = {"istio": "/egressd/resources/", "skydns": "/skydns/"}
_EXPECTED = {
    "endpoints": "a list of http://HOST:PORT, https://HOST:PORT or HOST:PORT",
    "layout": f"one of {', '.join(get_args(Layout))}",
    "protocol": PROTOCOL_EXPECTED,
    "domain": DOMAIN_EXPECTED,
    "namespace": LABEL_EXPECTED,
} | dict.fromkeys(("requestTimeout", "probeInterval", "maxBackoff"), DURATION_EXPECTED)


class Connection(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """How to reach a cluster and who to be there."""

    endpoints: tuple[SecretUrl, ...] = (SecretUrl(f"http://127.0.0.1:{DEFAULT_PORT}"),)
    user: str = ""
    password: Secret = Secret()
    password_file: SecretPath = ""  # read again at every login
    tls: Tls = Tls()  # without caPath and insecureSkipVerify, which gRPC has not
    request_timeout: DurationText = "3s"  # of one question to one member
    probe_interval: DurationText = "5s"  # between two proofs that a silent watch lives
    max_backoff: DurationText = "5s"


class Options(Connection, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What the bootstrap's `options:` of an `etcd` adapter may say."""

    layout: Layout = "istio"
    prefix: str = ""  # empty: /egressd/resources/ or /skydns/, by layout
    page_size: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 500  # keys a question
    namespace: LabelText = "etcd"  # of skydns entries
    domain: DomainText | None = None  # skydns names outside of it are left out
    protocol: Protocol = "HTTP"  # of skydns records
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] = 80  # of skydns records that name none
    own_names: bool = True  # every skydns record is a service of its own, too


class Target(msgspec.Struct, frozen=True):
    """Where one member listens."""

    host: str
    port: int
    is_tls: bool

    @property
    def netloc(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        return f"{'https' if self.is_tls else 'http'}://{self.netloc}"


Shape = TypeVar("Shape", bound=Connection)


def read_options(name: str, options: Mapping[str, object], shape: type[Shape]) -> Shape:
    """The options as their type, what depends on each other checked. Raises `AdapterConfigError`."""
    given = convert_options(name, options, shape, _EXPECTED)
    check_tls(name, given.tls)
    members = targets(name, given.endpoints)
    refused: list[tuple[str, str, str]] = []
    if given.password and given.password_file:
        refused.append(("password", "a password beside passwordFile", "one of them"))
    if bool(given.user) != bool(given.password or given.password_file):
        lonely = "password" if given.user else "user"
        refused.append((lonely, "nothing", "user together with password or passwordFile"))
    if isinstance(given, Options) and given.prefix and not given.prefix.endswith("/"):
        refused.append(("prefix", shown(given.prefix), "a prefix that ends in /"))
    if given.tls.ca_path:
        refused.append(("tls.caPath", shown(given.tls.ca_path), "caFile: gRPC reads no directory"))
    if given.tls.insecure_skip_verify:
        refused.append(("tls.insecureSkipVerify", "true", "caFile: gRPC verifies always"))
    if given.tls != Tls() and not any(member.is_tls for member in members):
        refused.append(("tls", "TLS settings", "endpoints that begin with https://"))
    for option, found, expected in refused:
        raise AdapterConfigError(
            f"adapter {name}: options.{option}: found {found}, expected {expected}"
        )
    return given


def targets(name: str, endpoints: tuple[SecretUrl, ...]) -> tuple[Target, ...]:
    """The members that the endpoints name. Raises `AdapterConfigError`."""
    if not endpoints:
        raise AdapterConfigError(
            f"adapter {name}: options.endpoints: found none, expected {_EXPECTED['endpoints']}"
        )
    return tuple(
        _target(f"adapter {name}: options.endpoints[{number}]", endpoint)
        for number, endpoint in enumerate(endpoints)
    )


def _target(where: str, given: SecretUrl) -> Target:
    endpoint = given.reveal()
    bad = AdapterConfigError(
        f"{where}: found {str(given)!r}, expected http://HOST:PORT, https://HOST:PORT or HOST:PORT"
    )
    try:
        parts = urlsplit(endpoint if "://" in endpoint else f"http://{endpoint}")
        port = parts.port
    except ValueError:
        raise bad from None
    extra = parts.path.strip("/") or parts.query or parts.fragment or parts.username is not None
    if parts.scheme not in ("http", "https") or not parts.hostname or extra or port == 0:
        raise bad
    return Target(parts.hostname, port or DEFAULT_PORT, parts.scheme == "https")
