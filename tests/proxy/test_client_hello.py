"""The SNI out of what real TLS clients send first, and of what nobody should send."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressd.proxy.client_hello import MOST_RECORDS, HelloReader, NotTls, server_name
from tests.proxy.hellos import extension, hello, message, records, server_names, vector

NAME = server_names(b"pay.example")
VERSIONS = extension(43, b"\x02\x03\x04")


def real_hello(name: str | None) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


HELLO = real_hello("Pay.Example")


def test_the_name_is_in_its_one_form() -> None:
    assert server_name(HELLO) == "pay.example"
    assert server_name(hello(server_names(b"PAY.example."))) == "pay.example"


def test_a_client_without_a_name_has_none() -> None:
    assert server_name(real_hello(None)) == ""
    assert server_name(hello(VERSIONS)) == ""
    assert server_name(hello()) == ""
    assert server_name(records(message(None))) == ""


@pytest.mark.parametrize("size", range(len(HELLO)))
def test_every_cut_of_a_hello_asks_for_more(size: int) -> None:
    reader = HelloReader()
    assert reader.read(HELLO[:size]) is None
    assert size < reader.wanted <= len(HELLO)


@given(st.lists(st.integers(1, 200), max_size=30))
def test_a_hello_in_several_records_is_put_together(sizes: list[int]) -> None:
    assert server_name(records(HELLO[5:], *sizes)) == "pay.example"


def test_a_hello_in_records_of_one_byte_is_looked_at_a_few_times() -> None:
    data = records(HELLO[5:], *[1] * (len(HELLO) - 6))
    reader, looks, size = HelloReader(), 0, 0
    while (found := reader.read(data[:size])) is None:
        assert reader.wanted > size
        size, looks = reader.wanted, looks + 1
    assert found == "pay.example"
    assert looks < 60


@given(st.lists(st.integers(1, 40), max_size=40), st.lists(st.integers(1, 900), max_size=40))
def test_however_it_comes_it_says_the_same(sizes: list[int], cuts: list[int]) -> None:
    data = records(HELLO[5:], *sizes)
    reader = HelloReader()
    for cut in sorted(cuts):
        found = reader.read(data[:cut])
        assert found in (None, "pay.example")
        if found is not None:
            return
    assert reader.read(data) == "pay.example"


REFUSED: list[tuple[str, bytes]] = [
    ("HTTP", b"GET / HTTP/1.1\r\n"),
    ("an alert", b"\x15\x03\x01\x00\x02\x02\x28"),
    ("SSL 2", b"\x80\x2e\x01\x03\x01"),
    ("an empty record", b"\x16\x03\x01\x00\x00"),
    ("a record that is too long", b"\x16\x03\x01\x40\x01"),
    ("another handshake message", b"\x16\x03\x01\x00\x04\x02\x00\x00\x00"),
    ("a message that is too long", b"\x16\x03\x01\x00\x04\x01\xff\xff\xff"),
    ("two server_name extensions", hello(NAME, server_names(b"b.example"))),
    ("the same one twice", hello(NAME, NAME)),
    ("any extension twice", hello(NAME, VERSIONS, VERSIONS)),
    ("unknown ones twice", hello(extension(0xFAFA, b""), NAME, extension(0xFAFA, b""))),
    ("pre_shared_key before others", hello(extension(41, b""), NAME)),
    ("two names", hello(server_names(b"a.example", b"b.example"))),
    ("the same name twice", hello(server_names(b"a.example", b"a.example"))),
    ("an empty name", hello(server_names(b""))),
    ("an empty list", hello(server_names())),
    ("an empty extension", hello(extension(0, b""))),
    ("a name of an unknown type", hello(server_names(b"a.example", kind=1))),
    ("NUL in the name", hello(server_names(b"a.example\0.b.example"))),
    ("NUL behind the name", hello(server_names(b"a.example\0"))),
    ("two dots at the end", hello(server_names(b"s.test.."))),
    ("an empty label", hello(server_names(b"s..test"))),
    ("a dot alone", hello(server_names(b"."))),
    ("a port", hello(server_names(b"s.test:443"))),
    ("a space", hello(server_names(b"s.test "))),
    ("a wildcard", hello(server_names(b"*.test"))),
    ("not ASCII", hello(server_names(b"caf\xc3\xa9.test"))),
    ("an address in an odd spelling", hello(server_names(b"127.1"))),
    ("an IPv6 address", hello(server_names(b"::1"))),
    ("a label that is too long", hello(server_names(b"a" * 64 + b".test"))),
    ("a name that is too long", hello(server_names(b"a.a" * 90))),
    ("a list shorter than its extension", hello(extension(0, NAME[4:] + b"x"))),
    ("a list longer than its extension", hello(extension(0, b"\0\x20\0" + vector(b"a.b", 2)))),
    ("a name longer than its list", hello(extension(0, vector(b"\0\0\x09a.b", 2)))),
    ("a list that ends in a name's length", hello(extension(0, vector(b"\0\0", 2)))),
    ("an extension longer than the list of them", records(message(b"\0\0\0\x40" + NAME[4:]))),
    ("a list of extensions that ends early", records(message(NAME[:-1]))),
    ("half an extension at the end", hello(NAME, b"\0")),
    ("bytes behind the extensions", records(message(NAME, tail=b"\0"))),
    ("bytes where extensions would be", records(message(None, tail=b"\0"))),
    ("another message in the record", records(message(NAME) + b"\x0b\0\0\0")),
    ("bytes behind the message in its record", records(message(NAME) + b"x")),
    ("an odd list of cipher suites", records(message(NAME, suites=b"\x13\x01\x13"))),
    ("no cipher suites", records(message(NAME, suites=b""))),
    ("no compression method", records(message(NAME, compression=b""))),
    ("a session id that is too long", records(message(NAME, session=bytes(33)))),
    ("a body that ends early", records(b"\x01" + vector(bytes(20), 3))),
    ("an empty body", records(b"\x01\0\0\0")),
    ("an alert between two records", records(HELLO[5:25]) + b"\x15\x03\x01\x00\x02\x02\x28"),
    ("too many records", records(b"\x01\0\xff\0" + bytes(MOST_RECORDS), *[1] * (MOST_RECORDS + 1))),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "data"), REFUSED, ids=[row[0] for row in REFUSED])
def test_what_a_tls_stack_refuses_is_refused(rule: str, data: bytes) -> None:
    with pytest.raises(NotTls):
        server_name(data)


def test_a_ticket_comes_last() -> None:
    assert server_name(hello(NAME, VERSIONS, extension(41, b"x"))) == "pay.example"


@given(st.binary(max_size=300), st.integers(0, len(HELLO)))
def test_no_bytes_break_the_parser(noise: bytes, at: int) -> None:
    for data in (noise, HELLO[:at] + noise + HELLO[at:], b"\x16\x03\x01" + noise):
        try:
            found = server_name(data)
        except NotTls:
            continue
        assert found is None or isinstance(found, str)


@given(st.integers(0, len(HELLO) - 1), st.integers(0, 255))
def test_a_changed_byte_never_makes_another_name_of_it_silently(at: int, value: int) -> None:
    data = HELLO[:at] + bytes((value,)) + HELLO[at + 1 :]
    try:
        found = server_name(data)
    except NotTls:
        return
    start = HELLO.index(b"Pay.Example")
    if found not in (None, "", "pay.example"):
        assert start <= at < start + len(b"Pay.Example")
