"""The options of a DNS adapter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, get_args

import msgspec

from adapters.options import (
    DURATION_EXPECTED,
    LABEL_EXPECTED,
    DurationText,
    LabelText,
    convert_options,
    seconds,
)
from egressd.api.names import is_fqdn, is_protocol
from egressd.api.secret import shown
from egressd.dns.held import Bounds
from egressd.dns.servers import split_server
from egressd.registry.adapter import AdapterConfigError

Addresses = Literal["A", "AAAA", "A+AAAA"]
Priorities = Literal["lowest", "all"]
_Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
_PORT_EXPECTED = "a port from 1 to 65535"
_EXPECTED = {"namespace": LABEL_EXPECTED, "names": "a list of names"} | dict.fromkeys(
    ("minTtl", "maxTtl", "staleFor", "goneAfter"), DURATION_EXPECTED
)
_NAME_EXPECTED = {
    "host": "a DNS name",
    "type": f"one of {', '.join(get_args(Addresses))}, SRV",
    "targets": f"one of {', '.join(get_args(Addresses))}",
    "priorities": f"one of {', '.join(get_args(Priorities))}",
    "port": _PORT_EXPECTED,
    "targetPort": _PORT_EXPECTED,
}


class Name(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """One name that becomes a ServiceEntry."""

    host: str
    port: _Port = 80  # that clients ask for
    protocol: str = "HTTP"
    type: Literal["A", "AAAA", "A+AAAA", "SRV"] = "A"
    query: str = ""  # what servers are asked for; empty: the host
    target_port: _Port | None = None  # of endpoints; unset: the port. SRV says its own
    targets: Addresses = "A"  # addresses of an SRV record's targets
    priorities: Priorities = "lowest"  # which SRV records become endpoints
    labels: Mapping[str, str] = {}  # of every endpoint
    locality: str = ""  # of every endpoint

    @property
    def question(self) -> str:
        """The name that servers are asked for."""
        return self.query or self.host


class Options(msgspec.Struct, frozen=True, rename="camel", forbid_unknown_fields=True):
    """What the bootstrap's `options:` of a `dns` adapter may say."""

    names: tuple[Mapping[str, object], ...]
    nameservers: tuple[str, ...] = ()  # empty: those of the system
    namespace: LabelText = "dns"
    min_ttl: DurationText = "1s"
    max_ttl: DurationText = "5m"
    stale_for: DurationText = "24h"
    gone_after: DurationText = "5m"

    @property
    def bounds(self) -> Bounds:
        """How long answers are used."""
        return Bounds(*map(seconds, (self.min_ttl, self.max_ttl, self.stale_for, self.gone_after)))


def kinds(text: str) -> tuple[str, ...]:
    """The types of record of "A", "A+AAAA" or "SRV"."""
    return tuple(text.split("+"))


def read_options(name: str, options: Mapping[str, object]) -> tuple[Options, tuple[Name, ...]]:
    """The options of the adapter `name`. Raises `AdapterConfigError`."""
    given = convert_options(name, options, Options, _EXPECTED)
    for index, text in enumerate(given.nameservers):
        try:
            split_server(text)
        except ValueError:
            raise _refused(
                name, f"nameservers[{index}]", text, '"address", "address:port" or "[v6]:port"'
            ) from None
    if given.bounds.least_s > given.bounds.most_s:
        raise _refused(name, "minTtl", given.min_ttl, f"at most maxTtl ({given.max_ttl})")
    if not given.names:
        raise _refused(name, "names", [], "at least one name")
    found: dict[str, Name] = {}
    for index, each in enumerate(given.names):
        place = f"names[{index}]"
        one = convert_options(name, each, Name, _NAME_EXPECTED, place=f"options.{place}")
        _check_name(name, place, one)
        if one.host in found:
            raise _refused(name, f"{place}.host", one.host, "a host that no other name has")
        found[one.host] = one
    return given, tuple(found.values())


def _check_name(name: str, place: str, one: Name) -> None:
    for field, text in (("host", one.host), ("query", one.question)):
        if not is_fqdn(text) and not (field == "query" and _is_service(text)):
            raise _refused(name, f"{place}.{field}", text, "a DNS name")
    if one.host != one.host.lower():
        raise _refused(name, f"{place}.host", one.host, "a name in lower case")
    if not is_protocol(one.protocol):
        raise _refused(name, f"{place}.protocol", one.protocol, "a protocol of Istio, such as HTTP")
    if one.type == "SRV" and one.target_port is not None:
        raise _refused(name, f"{place}.targetPort", one.target_port, "none: SRV records say it")


def _is_service(text: str) -> bool:
    """A name of SRV records: labels may begin with "_" (RFC 2782)."""
    return is_fqdn(".".join(label.removeprefix("_") for label in text.split(".")))


def _refused(name: str, option: str, found: object, expected: str) -> AdapterConfigError:
    return AdapterConfigError(
        f"adapter {name}: options.{option}: found {shown(found)}, expected {expected}"
    )
