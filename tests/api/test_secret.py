"""What URLs, secrets and texts about them show."""

from __future__ import annotations

import json
import pickle

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressd.api.resource import Problem
from egressd.api.secret import (
    RedactedError,
    Secret,
    SecretUrl,
    redact,
    redact_url,
    redact_value,
    redact_within,
)

MARK = "S3CR3T"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"http://user:{MARK}@h:80/p?key={MARK}#{MARK}", "http://[redacted]@h:80/p?[redacted]"),
        (f"http://{MARK}@h", "http://[redacted]@h"),
        (f"https://:{MARK}@[::1]:8500/", "https://[redacted]@[::1]:8500/"),
        (f"HTTP://u:{MARK}@h", "HTTP://[redacted]@h"),
        (f"http://h/?{MARK}", "http://h/?[redacted]"),
        (f"http://h#{MARK}", "http://h#[redacted]"),
        (f"u:{MARK}@h:80", "[redacted]@h:80"),
        (f"{MARK}@h", "[redacted]@h"),
        (f"http://u:a/{MARK}@h", "http://[redacted]"),
        (f"http://u:a?{MARK}@h", "http://[redacted]"),
        (f"http://u:a#{MARK}@h", "http://[redacted]"),
        (f"http://u:a\\{MARK}@h", "http://[redacted]"),
        (f"http://h/?k=a@{MARK}", "http://[redacted]"),
        (f"http://u:a {MARK}@h", "http://[redacted]@h"),
        (f"http://u:a@{MARK}@h", "http://[redacted]@h"),
        (f"http//u:{MARK}@h", "[redacted]"),
        (f"http:/u:{MARK}@h", "[redacted]"),
        (f"unix:///run/{'x'}?{MARK}", "unix:///run/x?[redacted]"),
        ("http://h:80/path", "http://h:80/path"),
        ("h:80", "h:80"),
        ("[::1]:80", "[::1]:80"),
        ("::1", "::1"),
        ("/run/consul.sock", "/run/consul.sock"),
        ("", ""),
    ],
)
def test_a_url_is_shown_without_userinfo_query_and_fragment(url: str, shown: str) -> None:
    assert redact_url(url) == shown
    assert str(SecretUrl(url)) == shown
    assert f"{SecretUrl(url)}" == shown
    assert MARK not in repr(SecretUrl(url))
    assert SecretUrl(url).reveal() == url


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (f"found 'http://u:{MARK}@h/?k={MARK}', but", "found 'http://[redacted]@h/?[redacted]', but"),
        (f"http://h/p?key={MARK}: refused", "http://h/p?[redacted]: refused"),
        (f"GET /v1/kv?token={MARK} failed", "GET /v1/kv?[redacted] failed"),
        (f"http://h:1/p: no; http://u:{MARK}@h2: no", "http://h:1/p: no; http://[redacted]@h2: no"),
        (f"at http://h/?mail=a@{MARK}: no", "at http://[redacted] no"),
        (f"at http://u:a?{MARK}@h: no", "at http://[redacted] no"),
        (f"a=http://h,b=http://u:{MARK}@h", "a=http://[redacted]@h"),
        (f'{{"url":"http://u:{MARK}@h/?a"}}', '{"url":"http://[redacted]@h/?[redacted]"}'),
        (f"http:\\/\\/u:{MARK}@h", "http:\\/\\/[redacted]@h"),
        (f"no such host: u:{MARK}@h:80", "no such host: u:[redacted]@h:80"),
        ("mail ops@example, is it well? yes: 3", "mail ops@example, is it well? yes: 3"),
        ("x/y@z", "x/y@z"),
    ],
)  # fmt: skip
def test_a_text_is_shown_without_the_secrets_of_its_urls(text: str, shown: str) -> None:
    assert redact(text) == shown
    assert str(RedactedError(text)) == shown
    assert repr(RedactedError(text)) == f"RedactedError({shown!r})"
    assert Problem(found=text).found == shown
    assert MARK not in str(Problem(field=text, found=text, expected=text))


@given(
    st.sampled_from(["http", "https", "ftp", "consul+x"]),
    st.text(st.characters(exclude_characters="\r\n"), max_size=8),
    st.text(st.characters(exclude_characters="\r\n"), max_size=8),
    st.sampled_from(["h", "h:80", "[::1]:80", "10.0.0.1"]),
)
def test_no_password_of_any_spelling_is_shown(
    scheme: str, before: str, behind: str, host: str
) -> None:
    url = f"{scheme}://user:{before}{MARK}{behind}@{host}/p"
    assert MARK not in redact_url(url)
    assert MARK not in redact_value(url)


@given(st.text(max_size=30))
def test_redaction_of_whatever_ends_and_is_stable(text: str) -> None:
    assert redact(redact(text)) == redact(text)
    redact_url(text)


def test_redaction_takes_time_in_proportion() -> None:
    for text in ("a" * 300_000 + "@", "http://" * 40_000 + "@", "?" * 300_000, ":@" * 150_000):
        redact(text)
        redact_url(text)


@pytest.mark.parametrize("value", [Secret(MARK), SecretUrl(f"http://u:{MARK}@h")])
def test_a_secret_is_written_nowhere_by_accident(value: Secret) -> None:
    assert MARK not in f"{value} {value!r} {[value]} { ({'a': value}) }"
    for write in (pickle.dumps, json.dumps, msgspec.json.encode, msgspec.to_builtins):
        with pytest.raises(TypeError):
            write(value)
    assert value == type(value)(value.reveal())
    assert value
    assert not type(value)()
    assert Secret("a") != SecretUrl("a")


def test_data_is_redacted_with_its_keys() -> None:
    url = f"http://u:{MARK}@h"
    shown = redact_within({"a": [url, 1, None], url: {"b": url}})
    assert shown == {
        "a": ["http://[redacted]@h", 1, None],
        "http://[redacted]@h": {"b": "http://[redacted]@h"},
    }
