"""Where names that clients choose may not lead: addresses, what is embedded in them, exceptions."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressd.upstream.address_policy import (
    DENIED_ADDRESSES,
    AddressPolicy,
    ClientAddresses,
    embedded_addresses,
    network_of,
)

DEFAULT = ClientAddresses(DENIED_ADDRESSES).policy_of("a.test")

DENIED = [
    "0.0.0.0",
    "0.1.2.3",
    "127.0.0.1",
    "127.255.255.254",
    "169.254.169.254",
    "169.254.170.2",
    "169.254.0.23",
    "224.0.0.1",
    "239.255.255.255",
    "255.255.255.255",
    "168.63.129.16",
    "100.100.100.200",
    "192.0.0.192",
    "::",
    "::1",
    "0:0:0:0:0:0:0:1",
    "::1%lo",
    "fe80::1",
    "fe80::1%eth0",
    "fe80::a9fe:a9fe",
    "febf::1",
    "fec0::1",
    "feff::1",
    "ff02::1",
    "fd00:ec2::254",
    "fd00:ec2::23",
    "fd20:ce::254",
    "fd00:c1::a9fe:a9fe",
    "fd00:42::42",
    "fd00:a9fe:a9fe::1",
    "fd00:100::100:200",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::FFFF:169.254.169.254",
    "::ffff:0.0.0.0",
    "::ffff:127.0.0.1%eth0",
    "::ffff:0:127.0.0.1",
    "::ffff:0:a9fe:a9fe",
    "::127.0.0.1",
    "::7f00:1",
    "::169.254.169.254",
    "::2",
    "64:ff9b::127.0.0.1",
    "64:ff9b::a9fe:a9fe",
    "64:ff9b:0:0:0:0:0.0.0.0",
    "64:ff9b::a83f:8110",
    "64:ff9b::6464:64c8",
    "64:ff9b:1::127.0.0.1",
    "64:ff9b:1:2:3:4:a9fe:a9fe",
    "64:ff9b:1:7f00:0:100::",
    "64:ff9b:1:7f:0:1::",
    "64:ff9b:1::",
    "64:ff9b:1:0:7f:0:100:0",
    "2002:7f00:1::",
    "2002:7f00:1::1",
    "2002:a9fe:a9fe::8080",
    "2002:0:0:1::",
    "2001:0:7f00:1::8000:0:0",
    "2001:0:808:808:0:0:80ff:fffe",
    "2001:0:0808:0808::5601:5601",
    "fd00::5efe:127.0.0.1",
    "2001:db8::200:5efe:a9fe:a9fe",
    "/run/x.sock",
    "a.test",
    "127.1",
    "0x7f.0.0.1",
    "2130706433",
    "0177.0.0.1",
    "127.0.0.1%lo",
    "127.0.0.1:80",
    "[::1]",
    "127.0.0.1.",
]

ALLOWED = [
    "10.0.0.1",
    "172.16.0.1",
    "192.168.1.1",
    "100.64.0.1",
    "8.8.8.8",
    "1.1.1.1",
    "168.63.129.15",
    "192.0.0.191",
    "223.255.255.255",
    "fc00::1",
    "fd12:3456::1",
    "2606:4700::1111",
    "2001:db8::1",
    "2001:1::7f00:1",
    "fd20:ce::253",
    "fd00:42::41",
    "::ffff:10.0.0.1",
    "::ffff:0:8.8.8.8",
    "::8.8.8.8",
    "64:ff9b::10.0.0.1",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::10.0.0.1",
    "64:ff9b:2::127.0.0.1",
    "64:ff9b:0:1::127.0.0.1",
    "2002:a00:1::",
    "2002:0808:0808::7f00:1",
    "2001:0:808:808::f5ff:fffe",
    "fd00::5efe:10.0.0.1",
    "fd00::5eff:127.0.0.1",
    "2001:db8::7f00:1",
]


@pytest.mark.parametrize("address", DENIED)
def test_these_are_denied_by_default(address: str) -> None:
    assert DEFAULT is not None
    assert DEFAULT.denies(address)


@pytest.mark.parametrize("address", ALLOWED)
def test_these_are_allowed_by_default(address: str) -> None:
    assert DEFAULT is not None
    assert not DEFAULT.denies(address)


V4 = st.integers(0, 2**32 - 1).map(ipaddress.IPv4Address)
SUFFIX = st.integers(0, 2**80 - 1)


def v6(number: int) -> ipaddress.IPv6Address:
    return ipaddress.IPv6Address(number)


def number(text: str) -> int:
    return int(ipaddress.IPv6Address(text))


@given(V4, SUFFIX)
def test_every_embedding_of_an_address_is_judged_as_that_address(
    four: ipaddress.IPv4Address, suffix: int
) -> None:
    policy = AddressPolicy((ipaddress.IPv4Network(four),))
    value = int(four)
    forms = [
        v6(number("::ffff:0:0") | value),
        v6(number("::ffff:0:0:0") | value),
        v6(number("64:ff9b::") | value),
        v6(number("2002::") | value << 80 | suffix),
        v6(number("2001::") | value << 64 | suffix % 2**64),
        v6(number("2001::") | suffix << 32 & 2**96 - 2**32 | value ^ 2**32 - 1),
        v6(number("fd00::5efe:0:0") | value),
        v6(number("2001:db8::200:5efe:0:0") | value),
    ]
    if value > 1:
        forms.append(v6(value))
    if value:
        forms.append(v6(number("64:ff9b:1::") | (suffix >> 32) << 32 | value))
    high, low = divmod(value, 2**16)
    forms.append(v6(number("64:ff9b:1::") | high << 64 | low << 40))  # /48
    high, low = divmod(value, 2**24)
    forms.append(v6(number("64:ff9b:1::") | high << 64 | low << 32))  # /56
    forms.append(v6(number("64:ff9b:1::") | value << 24))  # /64
    for form in forms:
        assert four in tuple(embedded_addresses(form)), form
        assert policy.denies(str(form)), form
        assert policy.denies(f"{form}%eth0"), form
        assert policy.denies(form.exploded), form
    assert policy.denies(str(four))


@given(st.integers(0, 2**128 - 1).map(ipaddress.IPv6Address))
def test_spelling_and_scope_change_nothing(six: ipaddress.IPv6Address) -> None:
    assert DEFAULT is not None
    said = DEFAULT.denies(str(six))
    for spelled in (six.exploded, six.exploded.upper(), f"{six}%1", f"{six}%lo"):
        assert DEFAULT.denies(spelled) == said
    assert DEFAULT.denies(socket.inet_ntop(socket.AF_INET6, six.packed)) == said


@given(V4)
def test_without_denied_networks_of_its_kind_an_address_is_allowed(
    four: ipaddress.IPv4Address,
) -> None:
    assert not AddressPolicy((ipaddress.IPv6Network("fe80::/10"),)).denies(str(four))


def test_exceptions_are_those_of_the_name() -> None:
    addresses = ClientAddresses(
        DENIED_ADDRESSES,
        {
            "lo.wild.test": ["127.0.0.0/8"],
            "*.Wild.test.": ["::1"],
            "*": ["169.254.169.254"],
        },
    )

    def denied(host: str, *places: str) -> list[bool]:
        policy = addresses.policy_of(host)
        assert policy is not None
        return [policy.denies(place) for place in places]

    places = ("127.0.0.1", "::1", "169.254.169.254", "169.254.1.1")
    assert denied("lo.wild.test", *places) == [False, False, False, True]
    assert denied("a.wild.test", *places) == [True, False, False, True]
    assert denied("b.a.wild.test", *places) == [True, False, False, True]
    assert denied("wild.test", *places) == [True, True, False, True]
    assert denied("xlo.wild.test.evil.test", *places) == [True, True, False, True]
    # An exception is for what the address leads to, however it is written.
    assert denied("lo.wild.test", "::ffff:127.0.0.1", "64:ff9b::7f00:1") == [False, False]
    assert denied("lo.wild.test", "2001:0:7f00:1::5601:fefe") == [True]  # Teredo of two


def test_an_empty_list_denies_nothing_and_mapped_networks_are_their_ipv4_ones() -> None:
    assert ClientAddresses(()).policy_of("a.test") is None
    policy = ClientAddresses(("::ffff:10.0.0.0/104",)).policy_of("a.test")
    assert policy is not None
    assert policy.denies("10.1.2.3")
    assert not policy.denies("11.1.2.3")
    assert str(network_of("::ffff:10.0.0.1")) == "10.0.0.1/32"


def test_a_policy_is_compared_by_value() -> None:
    one, other = (ClientAddresses(DENIED_ADDRESSES).policy_of("a") for _ in range(2))
    assert one == other
    assert hash(one) == hash(other)
