"""The options of a Eureka adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, get_args
from urllib.parse import unquote, urlsplit

import msgspec

from adapters.http import Endpoint, Tls
from adapters.options import (
    DURATION_EXPECTED,
    LABEL_EXPECTED,
    PROTOCOL_EXPECTED,
    DurationText,
    LabelText,
    Protocol,
    check_tls,
    convert_options,
)
from egressd.api.secret import Secret, SecretUrl
from egressd.registry.adapter import AdapterConfigError
from egressd.registry.adapter_options import SecretPath

DEFAULT_BASE = "/eureka"
Status = Literal["UP", "DOWN", "STARTING", "OUT_OF_SERVICE", "UNKNOWN"]
GroupBy = Literal["app", "vip", "secureVip"]
PortChoice = Literal["auto", "plain", "secure"]
AddressChoice = Literal["ip", "hostname"]
HOSTS_EXPECTED = "DNS names in lower case with {name} in them, such as {name}.eureka"
HostTemplate = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9.-]*\{name\}[a-z0-9.-]*$")]
_EXPECTED = {
    "hosts": HOSTS_EXPECTED,
    "statuses": f"a list of {', '.join(get_args(Status))}",
    "groupBy": f"one of {', '.join(get_args(GroupBy))}",
    "port": f"one of {', '.join(get_args(PortChoice))}",
    "address": f"one of {', '.join(get_args(AddressChoice))}",
    "protocol": PROTOCOL_EXPECTED,
    "namespace": LABEL_EXPECTED,
} | dict.fromkeys(("interval", "resync", "requestTimeout", "maxBackoff"), DURATION_EXPECTED)


class Options(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What the bootstrap's `options:` of a `eureka` adapter may say."""

    servers: tuple[SecretUrl, ...] = (SecretUrl("http://127.0.0.1:8761/eureka"),)
    username: str = ""  # for servers whose URL names none
    password: Secret = Secret()
    password_file: SecretPath = ""  # read again when it changes
    tls: Tls = Tls()
    interval: DurationText = "30s"  # between two deltas
    resync: DurationText = "10m"  # between full reads that nothing asked for
    request_timeout: DurationText = "10s"
    max_backoff: DurationText = "5s"
    regions: tuple[str, ...] = ()  # remote regions to ask for besides the server's own
    statuses: tuple[Status, ...] = ("UP",)  # instances that become endpoints
    group_by: GroupBy = "app"  # what makes a service
    hosts: Annotated[tuple[HostTemplate, ...], msgspec.Meta(min_length=1)] = ("{name}.eureka",)
    port: PortChoice = "auto"
    address: AddressChoice = "ip"
    protocol: Protocol = "HTTP"  # of services that name none
    namespace: LabelText = "eureka"
    region: str = ""  # of instances that name none; empty: the node's own
    include: tuple[str, ...] = ("*",)  # shell patterns of service names, in lower case
    exclude: tuple[str, ...] = ()


class Server(msgspec.Struct, frozen=True):
    """One Eureka server: where it listens, the path below which its API is, who asks."""

    endpoint: Endpoint
    base: str
    username: str = ""
    password: Secret = Secret()

    @property
    def url(self) -> str:
        """For people: without the password."""
        return self.endpoint.url + self.base


def read_options(name: str, options: Mapping[str, object]) -> tuple[Options, tuple[Server, ...]]:
    """The options of the adapter `name`, and its servers in order. Raises `AdapterConfigError`."""
    given = convert_options(name, options, Options, _EXPECTED)
    if given.password and given.password_file:
        raise AdapterConfigError(
            f"adapter {name}: options.password: found a password beside passwordFile, "
            "expected one of them"
        )
    if (given.password or given.password_file) and not given.username:
        raise AdapterConfigError(
            f"adapter {name}: options.username: found nothing, expected one beside a password"
        )
    check_tls(name, given.tls)
    if not given.servers:
        raise AdapterConfigError(
            f"adapter {name}: options.servers: found an empty list, expected URLs"
        )
    return given, tuple(_server(name, i, url) for i, url in enumerate(given.servers))


def _server(name: str, index: int, url: SecretUrl) -> Server:
    try:
        parts = urlsplit(url.reveal())
        port = parts.port
    except ValueError:
        raise _bad_server(name, index, "no URL") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise _bad_server(name, index, repr(str(url)))
    if parts.query or parts.fragment:
        raise _bad_server(name, index, "a query or fragment")
    is_tls = parts.scheme == "https"
    endpoint = Endpoint(
        "https" if is_tls else "http", parts.hostname, port or (443 if is_tls else 80)
    )
    base = parts.path.rstrip("/") or DEFAULT_BASE
    return Server(
        endpoint, base, unquote(parts.username or ""), Secret(unquote(parts.password or ""))
    )


def _bad_server(name: str, index: int, found: str) -> AdapterConfigError:
    return AdapterConfigError(
        f"adapter {name}: options.servers[{index}]: found {found}, "
        "expected http(s)://HOST[:PORT][/PATH], with or without user and password"
    )
