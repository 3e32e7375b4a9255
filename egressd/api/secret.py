"""Values that are used and not shown: secrets, and URLs whose userinfo and query may be secrets.

The types decide, not the names of fields: `str`, `repr` and `format` of both are redacted, JSON and
pickle refuse them, and only `reveal()` gives the real text. `redact` does the same for a text that
quotes a URL (an error, a log line), `RedactedError` for whatever is raised with one. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final, NoReturn

REDACTED: Final = "[redacted]"

_SCHEME: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:\\?/\\?/")
_AUTHORITY_END: Final = re.compile(r"[/?#\\]")
_UNCLEAR: Final = re.compile(r"[\s@\\\"'<>]|[^\x21-\x7e]")
_WORD: Final = re.compile(r"\S+")
_TAIL: Final = re.compile(r"[?#]")
_QUERY: Final = re.compile(r"\?(?=[^?]*=)|(?<=/)\?(?=.)")
_CLOSING: Final = "\"'`)]}>,;:."
_AUTHORITY_STARTS: Final = ("://", ":\\/\\/")  # JSON may escape slashes


_CREDENTIALS: Final = re.compile(
    r"key|(proxy-)?authorization|(set-)?cookie2?|.*(api-?key|token|secret|password|credential).*",
    re.IGNORECASE,
)


def carries_credentials(header: str) -> bool:
    """Whether values of a header field or query parameter log a client in, by its name (RFC 9110 11.6,
    11.7; RFC 6265; vendors' keys)."""
    return _CREDENTIALS.fullmatch(header) is not None


def shown_header(name: str, value: str) -> str:
    """A header field's value for people."""
    return REDACTED if carries_credentials(name) else value


class Secret:
    """A password or token. False when it is empty."""

    __slots__ = ("_text",)

    def __init__(self, text: str = "") -> None:
        self._text = text

    def reveal(self) -> str:
        """The real text: for the wire only."""
        return self._text

    def __bool__(self) -> bool:
        return bool(self._text)

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and other._text == self._text

    def __hash__(self) -> int:
        return hash((type(self), self._text))

    def __str__(self) -> str:
        return REDACTED if self._text else ""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} is not written anywhere")


class SecretUrl(Secret):
    """A URL, or what was written in the place of one. Shown without userinfo, query and fragment."""

    __slots__ = ()

    def __str__(self) -> str:
        return redact_url(self._text)


class RedactedError(Exception):
    """An error whose text may quote a URL: it is shown without the URL's secrets."""

    def __init__(self, message: str = "") -> None:
        super().__init__(redact(message))


def redact_url(url: str) -> str:
    """One URL, with a scheme or without, well-formed or not. Where it is not clear what is userinfo
    and what is not (an "@" or a space behind the authority), nothing but the scheme is shown."""
    scheme, rest = _split_scheme(url)
    cut = _AUTHORITY_END.search(rest)
    authority, tail = (rest[: cut.start()], rest[cut.start() :]) if cut else (rest, "")
    _, at, host = authority.rpartition("@")
    if _UNCLEAR.search(tail) or _UNCLEAR.search(host):
        return scheme + REDACTED
    if not scheme and not at and host.count(":") > 1 and not host.startswith("["):
        return REDACTED if "/" in rest or "?" in rest else url  # "user:password:host/", or an IPv6
    shown = f"{REDACTED}@{host}" if at else host
    hidden = _TAIL.search(tail)
    if hidden is not None:
        tail = tail[: hidden.end()] + REDACTED
    return scheme + shown + tail


def redact(text: str) -> str:
    """A text that may quote URLs: userinfo ("user:password@" too), queries and fragments taken out."""
    if "@" not in text and "?" not in text and "#" not in text:
        return text
    return _WORD.sub(_redact_word, text)


def redact_value(value: str) -> str:
    """One value as it was given: a URL is redacted as one, a path loses its query, anything else is
    redacted as a text."""
    if _SCHEME.match(value):
        return redact_url(value)
    path, mark, _ = value.partition("?")
    return f"{redact(path)}?{REDACTED}" if mark and value.startswith("/") else redact(value)


def shown(value: object) -> str:
    """A value of a configuration as a message shows it."""
    return repr(redact_within(value))


def redact_within(value: object) -> object:
    """JSON-like data with every string redacted, keys included."""
    if isinstance(value, str):
        return redact_value(value)
    if isinstance(value, Mapping):
        return {
            redact_value(str(key)): redact(inner)
            if key == "regex" and isinstance(inner, str)  # a "?" starts no query there
            else redact_within(inner)
            for key, inner in value.items()
        }
    if isinstance(value, list | tuple):
        return [redact_within(inner) for inner in value]
    return value


def _split_scheme(url: str) -> tuple[str, str]:
    match = _SCHEME.match(url)
    return (match[0], url[match.end() :]) if match else ("", url)


def _redact_word(match: re.Match[str]) -> str:
    word = match[0]
    if "@" not in word and "?" not in word and "#" not in word:
        return word
    start = _authority_start(word)
    at = word.rfind("@")
    if at >= start:
        if start and _TAIL.search(word, start, at):  # a query with an "@", or a password with a "?"
            return f"{word[:start]}{REDACTED}"
        if start:
            word = f"{word[:start]}{REDACTED}{word[at:]}"
        elif 0 <= (colon := word.find(":")) < at:
            word = f"{word[: colon + 1]}{REDACTED}{word[at:]}"
    query = _TAIL.search(word, start) if start else _QUERY.search(word)
    if query is None or word.startswith(REDACTED, query.start() + 1):
        return word
    closing = word[max(len(word.rstrip(_CLOSING)), query.start() + 1) :]
    return f"{word[: query.start() + 1]}{REDACTED}{closing}"


def _authority_start(word: str) -> int:
    """Where the authority of the first URL in a word starts; 0: there is none. Takes no regular
    expression, which would try every letter of a long word as the first of a scheme."""
    starts = [word.find(mark) + len(mark) for mark in _AUTHORITY_STARTS if word.find(mark) > 0]
    return min(starts, default=0)
