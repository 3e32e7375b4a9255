"""The options of a Consul adapter, with Consul's own environment variables as their defaults."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal, get_args
from urllib.parse import urlsplit

import msgspec

from adapters.http import Endpoint, Tls
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

DEFAULT_ADDRESS = "http://127.0.0.1:8500"
Health = Literal["passing", "warning", "any"]
Consistency = Literal["stale", "default", "consistent"]
Tagged = Literal["lan", "wan"]
Tenant = Annotated[str, msgspec.Meta(pattern=r"^([A-Za-z0-9][-_A-Za-z0-9]{0,63})?$")]
_HOST = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*"
_EXPECTED = {
    "health": f"one of {', '.join(get_args(Health))}",
    "consistency": f"one of {', '.join(get_args(Consistency))}",
    "protocol": PROTOCOL_EXPECTED,
    "domain": DOMAIN_EXPECTED,
    "namespace": LABEL_EXPECTED,
    "consulNamespace": "the name of a Consul namespace",
    "partition": "the name of an admin partition",
    "datacenters": 'a list of datacenters, or "*" for all that Consul knows',
    "taggedAddress": f"one of {', '.join(get_args(Tagged))}",
} | dict.fromkeys(
    ("wait", "requestTimeout", "resync", "queryInterval", "maxBackoff"), DURATION_EXPECTED
)


class Options(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What the bootstrap's `options:` of a `consul` adapter may say."""

    address: SecretUrl = (
        SecretUrl()
    )  # http://, https:// or unix:// URL, or host:port. CONSUL_HTTP_ADDR
    datacenter: str = ""  # empty: the agent's own
    datacenters: tuple[str, ...] | Literal["*"] = ()  # instead of `datacenter`; * = all there are
    consul_namespace: Tenant = ""  # Consul Enterprise. CONSUL_NAMESPACE
    partition: Tenant = ""  # Consul Enterprise. CONSUL_PARTITION
    token: Secret = Secret()  # CONSUL_HTTP_TOKEN
    token_file: SecretPath = ""  # CONSUL_HTTP_TOKEN_FILE; read again when it changes
    tls: Tls = Tls()  # CONSUL_CACERT, _CAPATH, _CLIENT_CERT, _CLIENT_KEY, _TLS_SERVER_NAME
    consistency: Consistency = "stale"
    health: Health = "passing"  # which instances become endpoints
    domain: DomainText = "consul"
    namespace: LabelText = "consul"
    protocol: Protocol = "HTTP"  # of services that name none
    host_template: str = "{name}.service.{domain}"  # also {dc}: a host of its own in each
    tagged_address: Tagged = "lan"  # which of its addresses an instance is reached by
    include: tuple[str, ...] = ("*",)  # shell patterns of service names
    exclude: tuple[str, ...] = ()
    prefix: str = ""  # of service names
    tags: tuple[str, ...] = ()  # that an instance must have, all of them
    meta: dict[str, str] = {}  # that an instance must have, all of it
    prepared_queries: tuple[str, ...] = ()  # names or ids; each becomes NAME.query.DOMAIN
    query_interval: DurationText = "10s"  # between two runs of the prepared queries
    wait: DurationText = "30s"  # of one blocking query; the sync age stays below it
    request_timeout: DurationText = "10s"  # of a query that does not block
    resync: DurationText = "5m"  # between full re-reads that no change asked for
    max_backoff: DurationText = "5s"
    concurrency: Annotated[int, msgspec.Meta(ge=1, le=64)] = 8  # reads at a time
    watches: Annotated[int, msgspec.Meta(ge=0, le=20000)] = 100  # held queries on one service


def read_options(
    name: str, options: Mapping[str, object], environment: Mapping[str, str]
) -> tuple[Options, Endpoint]:
    """The options of the adapter `name`, completed from the environment, and the agent's endpoint.

    What the bootstrap says wins over the environment. Raises `AdapterConfigError`.
    """
    given = convert_options(name, options, Options, _EXPECTED)
    if given.token and given.token_file:
        raise AdapterConfigError(
            f"adapter {name}: options.token: found a token beside tokenFile, expected one of them"
        )
    merged = _with_environment(given, environment)
    check_tls(name, merged.tls)
    _check_datacenters(name, given)
    _check_template(name, given)
    return merged, _endpoint(name, merged.address, environment)


def _check_datacenters(name: str, given: Options) -> None:
    named = list(given.datacenters)
    if named and given.datacenter:
        found, expected = "datacenters beside datacenter", "one of them"
    elif "" in named or len(set(named)) != len(named):
        found, expected = shown(named), "different names"
    else:
        return
    raise AdapterConfigError(
        f"adapter {name}: options.datacenters: found {found}, expected {expected}"
    )


def _check_template(name: str, given: Options) -> None:
    template = given.host_template
    sample = template.replace("{name}", "n").replace("{dc}", "d").replace("{domain}", given.domain)
    if template.count("{name}") != 1 or not re.fullmatch(_HOST, sample):
        expected = 'a host in lower case with "{name}", and "{dc}", "{domain}" where wanted'
    elif "{dc}" in template and not (given.datacenter or given.datacenters):
        expected = 'datacenter or datacenters beside a template with "{dc}"'
    else:
        return
    raise AdapterConfigError(
        f"adapter {name}: options.hostTemplate: found {shown(template)}, expected {expected}"
    )


def _with_environment(given: Options, environment: Mapping[str, str]) -> Options:
    names_token = bool(given.token or given.token_file)
    token = given.token if names_token else Secret(environment.get("CONSUL_HTTP_TOKEN", ""))
    file = given.token_file
    if not names_token and not token:
        file = environment.get("CONSUL_HTTP_TOKEN_FILE", "")
    tls = given.tls
    unverified = environment.get("CONSUL_HTTP_SSL_VERIFY", "").lower() in ("false", "0")
    return msgspec.structs.replace(
        given,
        address=given.address
        or SecretUrl(environment.get("CONSUL_HTTP_ADDR", "") or DEFAULT_ADDRESS),
        token=token,
        token_file=file,
        consul_namespace=given.consul_namespace or environment.get("CONSUL_NAMESPACE", ""),
        partition=given.partition or environment.get("CONSUL_PARTITION", ""),
        tls=Tls(
            ca_file=tls.ca_file or environment.get("CONSUL_CACERT", ""),
            ca_path=tls.ca_path or environment.get("CONSUL_CAPATH", ""),
            cert_file=tls.cert_file or environment.get("CONSUL_CLIENT_CERT", ""),
            key_file=tls.key_file or environment.get("CONSUL_CLIENT_KEY", ""),
            server_name=tls.server_name or environment.get("CONSUL_TLS_SERVER_NAME", ""),
            insecure_skip_verify=tls.insecure_skip_verify or unverified,
        ),
    )


def _endpoint(name: str, address: SecretUrl, environment: Mapping[str, str]) -> Endpoint:
    wants_tls = environment.get("CONSUL_HTTP_SSL", "").lower() in ("true", "1")
    text = address.reveal()
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


def _bad_address(name: str, address: SecretUrl) -> AdapterConfigError:
    return AdapterConfigError(
        f"adapter {name}: options.address: found {str(address)!r}, "
        "expected http://HOST:PORT, https://HOST:PORT, unix:///PATH or HOST:PORT"
    )
