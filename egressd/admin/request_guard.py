"""Decides whether the admin server answers a request at all: its Host, its Origin, its target. Pure.

A web page reaches a loopback port through a name of its own that resolves to it (DNS rebinding). What
such a request cannot fake is its Host and its Origin: both must name this very address. A Unix socket
is out of a page's reach; its file mode is the guard there, and any Host does.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable

import msgspec

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address

_AUTHORITY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(?::([0-9]*))?")
_PCHAR = r"[A-Za-z0-9._~!$&'()*+,;=:@-]|%[0-9A-Fa-f]{2}"
_ORIGIN_FORM = re.compile(rf"((?:/(?:{_PCHAR})*)+)(?:\?((?:{_PCHAR}|[/?])*))?")  # RFC 9112 3.2.1
_HTTP = "http://"
_HTTP_PORT = 80
_EXPECTED = "localhost, a loopback address or the address of admin.address, with its port"


class Access(msgspec.Struct, frozen=True):
    """Where a connection came in. `port` None is a Unix socket; `address` is its own end's. Who may
    reach that socket may look; who `may_act` as well is root or the node's user."""

    port: int | None = None
    address: IpAddress | None = None
    may_act: bool = True


class Target(msgspec.Struct, frozen=True):
    """What is asked for: an origin-form target in its two parts, as they were sent."""

    path: str
    query: str = ""


class Refusal(Exception):
    """A request that is not answered. `status` is HTTP's, the message says what is expected."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def access_of(name: object, peer_uid: int = 0, own_uid: int = 0) -> Access:
    """The access of a socket's own name (`getsockname`) and, of a Unix one, the user at its end."""
    if not isinstance(name, tuple):
        return Access(may_act=peer_uid in (0, own_uid))
    address = ipaddress.ip_address(str(name[0]).partition("%")[0])
    mapped = getattr(address, "ipv4_mapped", None)
    return Access(int(name[1]), mapped or address)


def check_request(
    target: bytes, version: bytes, headers: Iterable[tuple[bytes, bytes]], access: Access
) -> Target:
    """What a request asks for; names of `headers` are in lower case. Raises `Refusal`."""
    if version not in (b"1.0", b"1.1"):
        raise Refusal(505, "expected HTTP/1.1 or HTTP/1.0")
    fields = list(headers)
    found, authority = _target(target)
    hosts = _values(fields, b"host")
    if len(hosts) > 1:
        raise Refusal(400, "several Host fields, expected one")
    if access.port is None:
        return found
    if not hosts:
        raise Refusal(400, f"no Host, expected {_EXPECTED}")
    if _AUTHORITY.fullmatch(hosts[0]) is None:
        raise Refusal(400, f"a malformed Host, expected {_EXPECTED}")
    if not all(_is_own(name, access) for name in (hosts[0], authority) if name is not None):
        raise Refusal(403, f"a foreign Host, expected {_EXPECTED}")
    for origin in _values(fields, b"origin"):
        scheme, rest = origin[: len(_HTTP)], origin[len(_HTTP) :]
        if scheme != _HTTP or not _is_own(rest, access):
            raise Refusal(403, "a foreign Origin: no other site may ask here")
    return found


def _values(fields: list[tuple[bytes, bytes]], name: bytes) -> list[str]:
    return [value.decode("latin-1") for field, value in fields if field == name]


def _target(target: bytes) -> tuple[Target, str | None]:
    """The target and, of an absolute form (RFC 9112 3.2.2), its authority. Raises `Refusal`."""
    text = target.decode("latin-1")
    authority: str | None = None
    if text[: len(_HTTP)].lower() == _HTTP:
        authority, slash, rest = text[len(_HTTP) :].partition("/")
        authority, mark, query = authority.partition("?")
        text = f"/{mark}{query}{slash}{rest}" if mark else f"/{rest}"
        if _AUTHORITY.fullmatch(authority) is None:
            raise Refusal(400, "a malformed authority in the target")
    match = _ORIGIN_FORM.fullmatch(text)
    if match is None:
        raise Refusal(400, "a malformed target, expected a path such as /status")
    return Target(match[1], match[2] or ""), authority


def _is_own(authority: str, access: Access) -> bool:
    """Whether HOST[:PORT] is this address: by a name that no DNS server decides about."""
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        return False
    host, port = match[1].lower(), match[2] or str(_HTTP_PORT)
    if port != str(access.port):
        return False
    if host.removesuffix(".") == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return False
    if (address.version == 6) is not host.startswith("["):
        return False
    return address == access.address or (
        address in _LOOPBACK_V4 if address.version == 4 else address == _LOOPBACK_V6
    )


_LOOPBACK_V4 = ipaddress.ip_network("127.0.0.0/8")
_LOOPBACK_V6 = ipaddress.ip_address("::1")
