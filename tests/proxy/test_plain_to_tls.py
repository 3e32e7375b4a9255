"""Answers of TLS servers to plain requests, and those that only look like it."""

from __future__ import annotations

import pytest

from egressd.proxy.plain_to_tls import is_plain_refused, is_tls_record


@pytest.mark.parametrize(
    ("data", "is_tls"),
    [
        (b"\x15\x03\x01\x00\x02\x02\x46", True),
        (b"\x15\x03\x03\x00\x02\x02\x28", True),
        (b"\x16\x03\x03", True),
        (b"\x15", False),
        (b"\x15\x04", False),
        (b"", False),
        (b"SSH-2.0-OpenSSH_9.2\r\n", False),
        (b"HTTP/1.1 200 OK\r\n", False),
    ],
)
def test_a_tls_record_is_told_from_other_answers(data: bytes, is_tls: bool) -> None:
    assert is_tls_record(data) is is_tls


@pytest.mark.parametrize(
    ("body", "is_refused"),
    [
        (b"<center>The plain HTTP request was sent to HTTPS port</center>", True),
        (b"Client sent an HTTP request to an HTTPS server.\n", True),
        (b"Reason: You're speaking plain HTTP to an SSL-enabled server port.<br />", True),
        (b"Bad Request", False),
        (b"use the HTTPS port", False),
        (b"", False),
    ],
)
def test_a_400_of_a_tls_port_is_told_by_its_body(body: bytes, is_refused: bool) -> None:
    assert is_plain_refused(body) is is_refused
