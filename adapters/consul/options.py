"""The options of a Consul adapter, with Consul's own environment variables as their defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

import msgspec

from adapters.http import Endpoint, Tls
from egressd.registry.adapter import AdapterConfigError

DEFAULT_ADDRESS = "http://127.0.0.1:8500"
Health = Literal["passing", "warning", "any"]
Protocol = Literal[
    "HTTP", "HTTPS", "HTTP2", "GRPC", "GRPC-WEB", "TCP", "TLS", "MONGO", "MYSQL", "REDIS"
]  # Istio ServicePort.protocol
Consistency = Literal["stale", "default", "consistent"]
_LABEL = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_NAME = rf"^{_LABEL}$"
_DOMAIN = rf"^{_LABEL}(\.{_LABEL})*$"
_UNIT_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_DURATION = r"^\d{1,9}(\.\d{1,9})?(ms|s|m|h)$"
_EXPECTED = {
    "health": f"one of {', '.join(get_args(Health))}",
    "consistency": f"one of {', '.join(get_args(Consistency))}",
    "protocol": f"one of {', '.join(get_args(Protocol))}",
    "domain": "a DNS name in lower case",
    "namespace": "a DNS label in lower case",
} | dict.fromkeys(
    ("wait", "requestTimeout", "resync", "maxBackoff"), "a duration such as 30s, 500ms or 1.5m"
)
DurationText = Annotated[str, msgspec.Meta(pattern=_DURATION)]


class Options(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What the bootstrap's `options:` of a `consul` adapter may say."""

    address: str = ""  # http://, https:// or unix:// URL, or host:port. CONSUL_HTTP_ADDR
    datacenter: str = ""  # empty: the agent's own
    token: str = ""  # CONSUL_HTTP_TOKEN
    token_file: str = ""  # CONSUL_HTTP_TOKEN_FILE; read again when it changes
    tls: Tls = Tls()  # CONSUL_CACERT, _CAPATH, _CLIENT_CERT, _CLIENT_KEY, _TLS_SERVER_NAME
    consistency: Consistency = "stale"
    health: Health = "passing"  # which instances become endpoints
    domain: Annotated[str, msgspec.Meta(pattern=_DOMAIN)] = "consul"
    namespace: Annotated[str, msgspec.Meta(pattern=_NAME)] = "consul"
    protocol: Protocol = "HTTP"  # of services that name none
    include: tuple[str, ...] = ("*",)  # shell patterns of service names
    exclude: tuple[str, ...] = ()
    wait: DurationText = "30s"  # of one blocking query; the sync age stays below it
    request_timeout: DurationText = "10s"  # of a query that does not block
    resync: DurationText = "60s"  # between full re-reads that no change asked for
    max_backoff: DurationText = "5s"
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=64)] = 8  # reads at a time


def read_options(
    name: str, options: Mapping[str, object], environment: Mapping[str, str]
) -> tuple[Options, Endpoint]:
    """The options of the adapter `name`, completed from the environment, and the agent's endpoint.

    What the bootstrap says wins over the environment. Raises `AdapterConfigError`.
    """
    try:
        given = msgspec.convert(dict(options), Options)
    except msgspec.ValidationError as error:
        raise _refused(name, options, str(error)) from error
    if given.token and given.token_file:
        raise AdapterConfigError(
            f"adapter {name}: options.token: found a token beside tokenFile, expected one of them"
        )
    merged = _with_environment(given, environment)
    if bool(merged.tls.cert_file) != bool(merged.tls.key_file):
        lonely = "keyFile" if merged.tls.cert_file else "certFile"
        raise AdapterConfigError(
            f"adapter {name}: options.tls.{lonely}: found nothing, "
            "expected certFile and keyFile together"
        )
    return merged, _endpoint(name, merged.address, environment)


def seconds(text: str) -> float:
    """The seconds of a duration that `DurationText` admits: "500ms", "30s", "1.5m"."""
    match = re.fullmatch(r"([\d.]+)(ms|s|m|h)", text)
    assert match is not None
    return float(match[1]) * _UNIT_S[match[2]]


def _with_environment(given: Options, environment: Mapping[str, str]) -> Options:
    names_token = bool(given.token or given.token_file)
    token = given.token if names_token else environment.get("CONSUL_HTTP_TOKEN", "")
    file = given.token_file
    if not names_token and not token:
        file = environment.get("CONSUL_HTTP_TOKEN_FILE", "")
    tls = given.tls
    unverified = environment.get("CONSUL_HTTP_SSL_VERIFY", "").lower() in ("false", "0")
    return msgspec.structs.replace(
        given,
        address=given.address or environment.get("CONSUL_HTTP_ADDR", "") or DEFAULT_ADDRESS,
        token=token,
        token_file=file,
        tls=Tls(
            ca_file=tls.ca_file or environment.get("CONSUL_CACERT", ""),
            ca_path=tls.ca_path or environment.get("CONSUL_CAPATH", ""),
            cert_file=tls.cert_file or environment.get("CONSUL_CLIENT_CERT", ""),
            key_file=tls.key_file or environment.get("CONSUL_CLIENT_KEY", ""),
            server_name=tls.server_name or environment.get("CONSUL_TLS_SERVER_NAME", ""),
            insecure_skip_verify=tls.insecure_skip_verify or unverified,
        ),
    )


def _endpoint(name: str, address: str, environment: Mapping[str, str]) -> Endpoint:
    wants_tls = environment.get("CONSUL_HTTP_SSL", "").lower() in ("true", "1")
    text = address
    if "://" not in text:
        text = f"{'https' if wants_tls else 'http'}://{text}"
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise _bad_address(name, address) from None
    if parts.query or parts.fragment or parts.username is not None:
        raise _bad_address(name, address)
    if parts.scheme == "unix" and parts.path.startswith("/") and not parts.netloc:
        return Endpoint(scheme="unix", path=parts.path)
    if not parts.hostname or parts.path not in ("", "/") or port == 0:
        raise _bad_address(name, address)
    if parts.scheme == "https":
        return Endpoint(scheme="https", host=parts.hostname, port=port or 8501)
    if parts.scheme == "http":
        return Endpoint(scheme="http", host=parts.hostname, port=port or 8500)
    raise _bad_address(name, address)


def _bad_address(name: str, address: str) -> AdapterConfigError:
    return AdapterConfigError(
        f"adapter {name}: options.address: found {address!r}, "
        "expected http://HOST:PORT, https://HOST:PORT, unix:///PATH or HOST:PORT"
    )


def _refused(name: str, options: Mapping[str, object], message: str) -> AdapterConfigError:
    """The library's message as option, found, expected. It ends in " - at `$.option`"."""
    said, _, place = message.partition(" - at `$.")
    path = place.rstrip("`")
    unknown = re.search(r"unknown field `(.*)`", said)
    if unknown:
        option = ".".join(part for part in (path, unknown[1]) if part)
        known = Tls if path == "tls" else Options
        names = ", ".join(known.__struct_encode_fields__)
        return AdapterConfigError(
            f"adapter {name}: options.{option}: found an unknown option, expected one of {names}"
        )
    value: object = options
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else value
    found = f"{type(value).__name__}, not shown" if path == "token" else repr(value)
    expected = _EXPECTED.get(path) or said.removeprefix("Expected ")
    return AdapterConfigError(f"adapter {name}: options.{path}: found {found}, expected {expected}")
