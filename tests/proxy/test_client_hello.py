"""The SNI out of what real TLS clients send first."""

from __future__ import annotations

import ssl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressd.proxy.client_hello import NotTls, server_name


def hello(name: str | None) -> bytes:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    outgoing = ssl.MemoryBIO()
    client = context.wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


HELLO = hello("Pay.Example")


def test_the_name_is_in_lower_case() -> None:
    assert server_name(HELLO) == "pay.example"


def test_a_client_without_a_name_has_none() -> None:
    assert server_name(hello(None)) == ""


@pytest.mark.parametrize("size", range(len(HELLO)))
def test_every_cut_of_a_hello_asks_for_more(size: int) -> None:
    assert server_name(HELLO[:size]) is None


def test_a_hello_in_several_records_is_put_together() -> None:
    body = HELLO[5:]
    records = b"".join(
        b"\x16\x03\x01" + len(piece).to_bytes(2, "big") + piece
        for piece in (body[:1], body[1:70], body[70:])
    )
    assert server_name(records) == "pay.example"


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.1\r\n",
        b"\x15\x03\x01\x00\x02\x02\x28",
        b"\x16\x03\x01\x00\x00",
        b"\x16\x03\x01\x00\x04\x02\x00\x00\x00",
        b"\x16\x03\x01\x00\x04\x01\xff\xff\xff",
    ],
)
def test_what_is_no_hello_is_refused(data: bytes) -> None:
    with pytest.raises(NotTls):
        server_name(data)


@given(st.binary(max_size=300), st.integers(0, len(HELLO)))
def test_no_bytes_break_the_parser(noise: bytes, at: int) -> None:
    for data in (noise, HELLO[:at] + noise + HELLO[at:], b"\x16\x03\x01" + noise):
        try:
            found = server_name(data)
        except NotTls:
            continue
        assert found is None or isinstance(found, str)
