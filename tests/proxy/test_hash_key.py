"""The key of consistent hashing out of header lines."""

from __future__ import annotations

from egressd.proxy.hash_key import hash_header
from egressd.upstream.hashing import hash64


def test_repeated_headers_hash_alike_in_any_order() -> None:
    one = hash_header(b"X-User: a\r\nx-user: b\r\n", b"x-user")
    assert one == hash_header(b"X-User: b\r\nX-User: a\r\n", b"x-user")
    assert one != hash_header(b"X-User: a\r\n", b"x-user") == hash64(b"a")


def test_without_the_header_there_is_no_key() -> None:
    assert hash_header(b"X-Other: a\r\n", b"x-user") is None
