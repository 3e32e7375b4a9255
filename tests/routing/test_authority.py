"""Names as clients spell them."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressd.routing.authority import (
    InvalidName,
    configured_authority,
    parse_authority,
    parse_server_name,
)

READ: list[tuple[bytes, str, int | None]] = [
    (b"A.Example", "a.example", None),
    (b"a.example.", "a.example", None),
    (b"a.example:8080", "a.example", 8080),
    (b"A.EXAMPLE.:80", "a.example", 80),
    (b"a.example:", "a.example", None),  # RFC 3986 3.2.3: as without the colon
    (b"localhost", "localhost", None),
    (b"under_score.example", "under_score.example", None),
    (b"_dmarc.example", "_dmarc.example", None),
    (b"xn--bcher-kva.example", "xn--bcher-kva.example", None),
    (b"0x.example", "0x.example", None),
    (b"1.example", "1.example", None),
    (b"127.0.0.1", "127.0.0.1", None),
    (b"127.0.0.1.", "127.0.0.1", None),
    (b"10.0.0.1:1", "10.0.0.1", 1),
    (b"[::1]:80", "::1", 80),
    (b"[0:0::1]", "::1", None),
    (b"[0000:0000:0000:0000:0000:0000:0000:0001]", "::1", None),
    (b"[2001:DB8::A]", "2001:db8::a", None),
    (b"[::ffff:127.0.0.1]", "127.0.0.1", None),
    (b"[::FFFF:7f00:1]:443", "127.0.0.1", 443),
    (b"[::1]:", "::1", None),
    (b"a:65535", "a", 65535),
]


@pytest.mark.parametrize(("raw", "host", "port"), READ)
def test_every_spelling_is_one_value(raw: bytes, host: str, port: int | None) -> None:
    found = parse_authority(raw)
    assert found[:2] == (host, port)
    assert parse_authority(found.text) == found


REFUSED = [
    b"", b".", b"..", b"a..", b"a..b", b"a.example..", b"a.example..:80", b".a", b"a b", b"a@b", b"a/b",
    b"a:b", b"a:0", b"a:00", b"a:080", b"a:0x50", b"a:+80", b"a:-1", b"a: 80", b"a:80 ", b"a:65536",
    b"a:99999999999999999999", b"a:80:80", b"a::80", b":80", b"-a", b"a,b", b"a\\b", b"a%2eb", b"a%00",
    b"user:pass@a", b"a#", b"a?", b"*", b"*.a", b"caf\xc3\xa9", b"a\x00", b"a\tb",
    b"x" * 64 + b".example", b".".join([b"x" * 60] * 5),
    # inet_aton spellings of addresses, and what is close to them
    b"127.1", b"127.0.1", b"0x7f.1", b"0x7f000001", b"2130706433", b"017700000001", b"0177.0.0.1",
    b"127.0.0.01", b"127.0.0.256", b"127.0.0.1.1", b"1", b"a.1", b"a.0x1", b"127.0.0.0x1",
    b"127.0.0.1..",
    b"[", b"[]", b"[::1", b"::1", b"[::1]x", b"[::g]", b"[1::2::3]", b"[fe80::1%25eth0]",
    b"[fe80::1%eth0]", b"[127.0.0.1]", b"[::127.0.0.256]", b"[[::1]]", b"[v1.a]", b"[::1]:080",
]  # fmt: skip


@pytest.mark.parametrize("raw", REFUSED)
def test_what_is_no_authority_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidName):
        parse_authority(raw)


@given(st.text("aZ0.-_:[]f1x ", max_size=24))
def test_what_is_read_is_a_name_or_an_address_in_one_form(text: str) -> None:
    try:
        found = parse_authority(text.encode())
    except InvalidName:
        return
    host = found.host
    assert host == host.lower() and all(host.split("."))
    assert parse_authority(found.text) == found
    if ":" in host or host.rpartition(".")[2].isdigit():
        assert str(ipaddress.ip_address(host)) == host


@given(st.ip_addresses(v=6))
def test_every_form_of_an_address_is_the_same(address: ipaddress.IPv6Address) -> None:
    forms = {f"[{address.exploded}]", f"[{address.compressed.upper()}]", f"[{address}]"}
    assert len({parse_authority(form.encode()) for form in forms}) == 1


@pytest.mark.parametrize("raw", [b"S.Test", b"s.test", b"s.test.", b"S.TEST."])
def test_a_server_name_is_read_as_a_host_is(raw: bytes) -> None:
    assert parse_server_name(raw) == "s.test"


@pytest.mark.parametrize(
    "raw", [raw for raw in REFUSED if b":" not in raw] + [b"s.test:443", b"::1"]
)
def test_what_is_no_server_name_is_refused(raw: bytes) -> None:
    with pytest.raises(InvalidName):
        parse_server_name(raw)


@pytest.mark.parametrize(
    ("value", "form"),
    [
        ("A.Example", "a.example"),
        ("a.example.", "a.example"),
        ("A.example.:80", "a.example:80"),
        ("a.example.:*", "a.example:*"),
        ("[0:0::1]:*", "[::1]:*"),
        ("*.Example.", "*.example"),
        ("*", "*"),
        ("A.ex*", "a.ex*"),
        ("not a host", "not a host"),
    ],
)
def test_configured_hosts_have_the_same_form(value: str, form: str) -> None:
    assert configured_authority(value) == form
