"""Address policy: where a name that a client chose may not lead (`limits.deniedAddresses`). Pure.

What counts is the address that is connected to. An IPv6 address in which an IPv4 address stands (a
translator or a tunnel takes it out and sends there) is judged as that IPv4 address, too.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network

DENIED = (
    "the address of this name is one that limits.deniedAddresses keeps clients from "
    "(limits.allowedAddresses makes exceptions)"
)

DENIED_ADDRESSES = (
    "0.0.0.0/8",  # "this host" (RFC 1122 3.2.1.3): Linux connects it to loopback
    "100.100.100.200/32",  # metadata service of Alibaba Cloud
    "127.0.0.0/8",
    "168.63.129.16/32",  # host agent of Azure (WireServer)
    "169.254.0.0/16",  # link-local: metadata services of most clouds
    "192.0.0.192/32",  # metadata service of Oracle Cloud, Classic
    "224.0.0.0/4",
    "255.255.255.255/32",
    "::/128",
    "::1/128",
    "fd00:42::42/128",  # metadata services over IPv6: Scaleway,
    "fd00:100::100:200/128",  # Alibaba Cloud,
    "fd00:a9fe:a9fe::1/128",  # Akamai,
    "fd00:c1::a9fe:a9fe/128",  # Oracle Cloud,
    "fd00:ec2::/32",  # AWS, with its DNS, NTP and pod identity,
    "fd20:ce::254/128",  # Google Cloud
    "fe80::/10",
    "fec0::/10",  # site-local (RFC 3879)
    "ff00::/8",
)
"""Where a name that a client chose may not lead by default. Private ranges (RFC 1918, fc00::/7) are not
in it: on a fleet of VMs they are where the services live."""

_MAPPED = IPv6Network("::ffff:0:0/96")  # RFC 4291 2.5.5.2: the kernel connects to the IPv4 address
_IN_LAST_32 = (
    IPv6Network("::/96"),  # IPv4-compatible (RFC 4291 2.5.5.1)
    IPv6Network("::ffff:0:0:0/96"),  # IPv4-translated (RFC 2765 2.1)
    IPv6Network("64:ff9b::/96"),  # NAT64 (RFC 6052 2.1)
)
_LOCAL_NAT64 = IPv6Network("64:ff9b:1::/48")  # RFC 8215: a prefix of any length within
_6TO4 = IPv6Network("2002::/16")  # RFC 3056 2
_TEREDO = IPv6Network("2001::/32")  # RFC 4380 4
_ISATAP = (0x00005EFE, 0x02005EFE)  # RFC 5214 6.1, the upper half of the interface identifier
_THIRTY_TWO = 2**32 - 1


@dataclass(frozen=True, slots=True)
class AddressPolicy:
    """The denied networks of one name, and its exceptions. Compared by value, as endpoints are."""

    denied: tuple[Network, ...]
    allowed: tuple[Network, ...] = ()

    def denies(self, address: str) -> bool:
        """Whether no connection may be made to an address. True for what is no IP address: a Unix
        socket, or a name that nobody has resolved."""
        try:
            parsed = _unmapped(ipaddress.ip_address(address))
        except ValueError:
            return True
        if _is_in(parsed, self.allowed):
            return False
        return any(
            _is_in(judged, self.denied) and not _is_in(judged, self.allowed)
            for judged in (parsed, *embedded_addresses(parsed))
        )


class ClientAddresses:
    """The node's address policy. `denied` are networks, `allowed` the exceptions of a host or of hosts
    below a wildcard ("a.example", "*.example", "*")."""

    def __init__(
        self, denied: Sequence[str], allowed: Mapping[str, Sequence[str]] | None = None
    ) -> None:
        self._policy = AddressPolicy(tuple(map(network_of, denied)))
        self._allowed = {
            host.lower().removesuffix("."): tuple(map(network_of, networks))
            for host, networks in (allowed or {}).items()
        }

    def policy_of(self, host: str) -> AddressPolicy | None:
        """What holds for a name as a client chose it; None where nothing is denied."""
        if not self._policy.denied:
            return None
        if not self._allowed:
            return self._policy
        found = [self._allowed.get(host, ()), self._allowed.get("*", ())]
        rest = host
        while "." in rest:
            rest = rest.partition(".")[2]
            found.append(self._allowed.get(f"*.{rest}", ()))
        allowed = tuple(network for networks in found for network in networks)
        return AddressPolicy(self._policy.denied, allowed) if allowed else self._policy


def network_of(text: str) -> Network:
    """An address or a network in CIDR notation; one of IPv4-mapped addresses is the IPv4 network.
    Raises `ValueError`."""
    network = ipaddress.ip_network(text)
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        packed = int(network.network_address) & _THIRTY_TWO
        return IPv4Network((packed, network.prefixlen - 96))
    return network


def embedded_addresses(address: Address) -> Iterator[IPv4Address]:
    """The IPv4 addresses that stand in an IPv6 address, by the ways of embedding that are known."""
    if isinstance(address, IPv4Address):
        return
    number = int(address)
    if number <= 1:
        return  # :: and ::1 are addresses of their own
    mapped = address.ipv4_mapped
    if mapped is not None:
        yield mapped
    elif any(address in network for network in _IN_LAST_32):
        yield _at(number, 96)
    elif address in _LOCAL_NAT64:
        yield from _local_nat64(number)
    elif address in _6TO4:
        yield _at(number, 16)
    elif address in _TEREDO:
        yield _at(number, 32)  # the server
        yield IPv4Address(~number & _THIRTY_TWO)  # the client
    if number >> 32 & _THIRTY_TWO in _ISATAP:
        yield _at(number, 96)


def _local_nat64(number: int) -> Iterator[IPv4Address]:
    """RFC 6052 2.2: the length of the prefix is not known, so every place where the address may stand
    counts: behind it nothing but zeros, and octet 8 is left out."""
    tail = number & _THIRTY_TWO
    if tail:
        yield IPv4Address(tail)
    if number >> 56 & 0xFF:
        return
    rest = (number >> 64 << 56) | (number & (1 << 56) - 1)  # 120 bits, without octet 8
    for length in (48, 56, 64):
        behind = 120 - length - 32
        if not rest & (1 << behind) - 1:
            yield IPv4Address(rest >> behind & _THIRTY_TWO)


def _at(number: int, bit: int) -> IPv4Address:
    return IPv4Address(number >> (96 - bit) & _THIRTY_TWO)


def _unmapped(address: Address) -> Address:
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def _is_in(address: Address, networks: tuple[Network, ...]) -> bool:
    return any(address in network for network in networks)
