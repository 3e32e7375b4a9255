"""Names as clients spell them: the one place where an authority or a server name becomes a value. Pure.

Host, the absolute form, CONNECT and the SNI all come through here, once; policies, routes, clusters,
logs and explain see the value, never the spelling. Source: RFC 3986 3.2.2, 3.2.3 and 6.2.3, RFC 9110
4.2.3, RFC 1035 2.3.4, RFC 6066 3; the WHATWG URL standard for what looks like an IPv4 address.
"""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple

_AUTHORITY = re.compile(
    rb"(?:([A-Za-z0-9_][A-Za-z0-9_.\-]{0,254})|\[([0-9A-Fa-f:.]{2,45})\])(?::([0-9]*+))?"
).fullmatch
_NAME = re.compile(rb"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,254}").fullmatch
_PORT = re.compile(r"[1-9][0-9]{0,4}").fullmatch
_BYTE = r"(?:25[0-5]|2[0-4][0-9]|1[0-9]{2}|[1-9]?[0-9])"
_IPV4 = re.compile(rf"{_BYTE}(?:\.{_BYTE}){{3}}").fullmatch
# A last label like this makes other software read the name as an IPv4 address (inet_aton: `127.1`,
# `0x7f.1`, `017700000001`, `2130706433`).
_NUMERIC = re.compile(r"[0-9]+|0x[0-9a-f]*").fullmatch
_LONGEST_NAME = 253
_LONGEST_LABEL = 63


class InvalidName(ValueError):
    """What came is no host, no port, or no server name. The message says why."""


class Authority(NamedTuple):
    """A host and port as everything behind the client's connection sees them.

    `host` is in lower case, without a trailing dot and without brackets; IPv6 addresses are in their
    short form, IPv4-mapped ones are IPv4. `port` is the one that was named. `text` is `host[:port]`.
    """

    host: str
    port: int | None
    text: bytes

    @property
    def without_port(self) -> str:
        """The host as it stands in an authority."""
        return f"[{self.host}]" if ":" in self.host else self.host


def parse_authority(raw: bytes) -> Authority:
    """The value of `host[:port]`. Raises `InvalidName`; user information is refused (RFC 9110 4.2.4).

    A colon without a port says no port (RFC 3986 3.2.3), ports have no leading zeros.
    """
    parts = _AUTHORITY(raw)
    if parts is None:
        raise InvalidName(f"invalid Host {raw.decode('latin-1')!r}")
    name, literal, digits = parts.groups()
    host = _host(name) if name is not None else _ipv6(literal)
    port = _port(digits.decode()) if digits else None
    text = f"[{host}]" if ":" in host else host
    return Authority(host, port, (f"{text}:{port}" if port is not None else text).encode())


def parse_server_name(raw: bytes) -> str:
    """The value of an SNI host_name (RFC 6066 3). Raises `InvalidName`."""
    if _NAME(raw) is None:
        raise InvalidName(f"invalid server name {raw.decode('latin-1')!r}")
    return _host(raw)


def configured_authority(value: str) -> str:
    """A `host[:port]` of a resource in the form that `Authority.text` has; of a wildcard (`*.example`,
    `a.example:*`) what is left without its `*`, as far as it is one."""
    head, tail = value[-2:] == ":*", value[:1] == "*"
    try:
        if head:
            return f"{parse_authority(value[:-2].encode()).text.decode()}:*"
        if not tail:
            return parse_authority(value.encode()).text.decode()
    except InvalidName:
        pass
    return value.lower().removesuffix(".") if tail else value.lower()


def _host(name: bytes) -> str:
    host = name.decode("ascii").lower().removesuffix(".")
    labels = host.split(".")
    if not all(labels):
        raise InvalidName(f"empty label in the name {name.decode('ascii')!r}")
    if len(host) > _LONGEST_NAME or any(len(label) > _LONGEST_LABEL for label in labels):
        raise InvalidName("a name of more than 253 characters, or a label of more than 63")
    if _NUMERIC(labels[-1]) and not _IPV4(host):
        raise InvalidName(f"{name.decode('ascii')!r} is neither a name nor an IPv4 address")
    return host


def _ipv6(literal: bytes) -> str:
    try:
        address = ipaddress.IPv6Address(literal.decode("ascii"))
    except ValueError:
        raise InvalidName(f"invalid IPv6 address {literal.decode('ascii')!r}") from None
    return str(address.ipv4_mapped or address)


def _port(digits: str) -> int:
    if not _PORT(digits) or int(digits) > 65535:
        raise InvalidName(f"invalid port {digits[:20]!r}: 1 to 65535, without leading zeros")
    return int(digits)
