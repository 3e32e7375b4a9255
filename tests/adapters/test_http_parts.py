"""The parts of the adapters' HTTP client that need no connection."""

from __future__ import annotations

import base64
import gzip
from pathlib import Path

import pytest

from adapters.http import Credential, Endpoint, HttpError
from adapters.http.answer import Answer, Inflater, hide, secrets_of
from egressd.api.secret import Secret

PACKED = gzip.compress(b"0123456789" * 100)


@pytest.mark.parametrize("stride", [1, 7, 1000])
def test_a_body_is_decompressed_in_pieces_of_any_size(stride: int) -> None:
    inflater = Inflater("gzip", 1000)
    out = b"".join(inflater.feed(PACKED[i : i + stride]) for i in range(0, len(PACKED), stride))
    inflater.finish()
    assert out == b"0123456789" * 100


@pytest.mark.parametrize(
    ("coding", "limit", "body", "reason"),
    [
        ("", 9, b"0123456789", "more than 9 bytes"),
        ("gzip", 999, PACKED, "more than 999 bytes"),
        ("gzip", 1000, b"plain text", "no gzip"),
        ("gzip", 1000, PACKED[:-9], "ends in the middle"),
        ("br", 1000, b"", "coding 'br'"),
    ],
)
def test_a_body_that_is_too_large_or_broken_is_refused(
    coding: str, limit: int, body: bytes, reason: str
) -> None:
    with pytest.raises(HttpError, match=reason):
        inflater = Inflater(coding, limit)
        inflater.feed(body)
        inflater.finish()


def test_a_secret_follows_its_file(tmp_path: Path) -> None:
    file = tmp_path / "token"
    file.write_text("one\n")
    secret = Credential(Secret(), str(file), "token")
    assert secret.read() == Secret("one")
    file.write_text("twice\n")
    assert secret.read() == Secret("twice")


@pytest.mark.parametrize(
    ("text", "reason"), [("", "expected a token"), ("a\x00b", "control"), ("aé", "foreign")]
)
def test_a_secret_that_cannot_be_sent_is_an_error_that_does_not_tell_it(
    tmp_path: Path, text: str, reason: str
) -> None:
    (tmp_path / "token").write_text(text)
    with pytest.raises(HttpError, match=reason) as caught:
        Credential(Secret(), str(tmp_path / "token"), "token").read()
    assert "a\x00b" not in str(caught.value)


def test_a_missing_secret_file_is_an_error_each_time_until_it_is_there(tmp_path: Path) -> None:
    secret = Credential(Secret(), str(tmp_path / "token"), "token")
    for _ in range(2):
        with pytest.raises(HttpError, match="No such file"):
            secret.read()
    (tmp_path / "token").write_text("here")
    assert secret.read() == Secret("here")


@pytest.mark.parametrize(
    ("endpoint", "url", "authority"),
    [
        (Endpoint("http", "::1", 80), "http://[::1]:80", "[::1]:80"),
        (Endpoint("https", "a.example", 443), "https://a.example:443", "a.example:443"),
        (Endpoint("unix", path="/run/s"), "unix:///run/s", "localhost"),
    ],
)
def test_an_endpoint_tells_its_url_and_host_header(
    endpoint: Endpoint, url: str, authority: str
) -> None:
    assert (endpoint.url, endpoint.authority) == (url, authority)


def test_what_a_server_repeats_of_a_request_does_not_show() -> None:
    pair = base64.b64encode(b"user:p4ss").decode()
    hidden = secrets_of(
        {"Authorization": Secret(f"Basic {pair}"), "X-Token": Secret("t0ken"), "A": "a"}
    )
    body = f"no: {pair} user:p4ss p4ss t0ken http://u:x@h a".encode()
    answer = Answer(403, {}, body, hidden)
    assert answer.text == "no: " + "[redacted] " * 4 + "http://[redacted]@h a"
    assert (
        hide(f"Illegal header value b'Basic {pair}'", hidden)
        == "Illegal header value b'[redacted]'"
    )


def test_a_token_with_spaces_around_it_is_refused_before_it_is_sent() -> None:
    with pytest.raises(HttpError, match="spaces around it") as caught:
        Credential(Secret(" t0ken"), "", "token").read()
    assert "t0ken" not in str(caught.value)
