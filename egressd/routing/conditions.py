"""The conditions of one match block as predicates (Istio `HTTPMatchRequest`, `StringMatch`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import re2

from egressd.api.message import StringMatch
from egressd.api.names import is_authority
from egressd.api.secret import REDACTED, carries_credentials
from egressd.api.virtual_service import HTTPMatchRequest
from egressd.routing.authority import configured_authority
from egressd.routing.path import configured_path
from egressd.routing.request import BETWEEN_VALUES, Request
from egressd.routing.table import Match, Predicate

ByteTest = Callable[[bytes], bool]


def string_test(
    match: StringMatch,
    *,
    ignore_case: bool = False,
    form: Callable[[str], bytes] = str.encode,
) -> ByteTest:
    """Istio `StringMatch`: exact, prefix, or RE2 over the whole value; empty = anything present, and so
    is `regex: "*"`, which is no regular expression. `form` brings plain text to the form of what it is
    compared with."""
    if match.exact is not None:
        exact = form(match.exact)
        if ignore_case:
            lower = exact.lower()
            return lambda value: value.lower() == lower
        return lambda value: value == exact
    if match.prefix is not None:
        prefix = form(match.prefix)
        if ignore_case:
            low = prefix.lower()
            return lambda value: value.lower().startswith(low)
        return lambda value: value.startswith(prefix)
    if not is_presence(match) and match.regex is not None:
        full = re2.compile(match.regex.encode(), _options()).fullmatch
        return lambda value: full(value) is not None
    return lambda _value: True


def is_presence(match: StringMatch) -> bool:
    """Whether a match asks only that the value is there (Istio `canBeConvertedToPresentMatch`)."""
    return match.exact is None and match.prefix is None and match.regex in (None, "*")


def regex_substitution(pattern: str, replacement: str) -> Callable[[bytes], bytes]:
    """Istio `RegexRewrite`: every match of an RE2 pattern is replaced. In the replacement `\\0` is the
    match, `\\1` to `\\9` its groups, `\\\\` a backslash (RE2; Python's own escapes differ)."""
    compiled = re2.compile(pattern.encode(), _options())
    pieces = [
        (int(escape), b"") if escape.isdigit() else (-1, escape or text)
        for escape, text in _REWRITE.findall(replacement.encode())
    ]

    def replaced(found: Any) -> bytes:
        return b"".join(text if group < 0 else found[group] or b"" for group, text in pieces)

    return lambda path: bytes(compiled.sub(replaced, path))


_REWRITE = re.compile(rb"\\([0-9]|\\)|([^\\]+)")


def _options() -> re2.Options:
    options = re2.Options()
    options.log_errors = False
    options.encoding = re2.Options.Encoding.LATIN1
    return options


def in_words(match: StringMatch) -> str:
    """A string match as explain prints it."""
    if match.exact is not None:
        return f'exact "{match.exact}"'
    if match.prefix is not None:
        return f'prefix "{match.prefix}"'
    if match.regex is not None and not is_presence(match):
        return f'regex "{match.regex}"'
    return "present"


def _named_in_words(name: str, match: StringMatch) -> str:
    """The same of a header or parameter, whose value is not told where it is a credential."""
    words = in_words(match)
    kind, quote, _ = words.partition('"')
    return f'{kind}"{REDACTED}"' if quote and carries_credentials(name) else words


def compile_match(match: HTTPMatchRequest, index: int, normalizes_paths: bool = True) -> Match:
    """What one match block asks of a request; its conditions are ANDed in a fixed order, the path first.
    What it asks of the client was decided before (`egressd.routing.client`)."""
    kind, path, path_predicate = "", b"", None
    text: list[tuple[str, str, Predicate]] = []
    place = f"match[{index}]"
    if match.uri is not None and match.uri != StringMatch():
        form = configured_path if normalizes_paths else str.encode
        kind, path, path_predicate, test = _path(match.uri, match.ignore_uri_case, form)
        case = " ignoring case" if match.ignore_uri_case else ""
        text.append((f"{place}.uri", in_words(match.uri) + case, test))
    rest = _conditions(match, place)
    return Match(
        path_kind=kind,
        path=path,
        ignore_case=match.ignore_uri_case,
        path_predicate=path_predicate,
        predicates=tuple(predicate for _, _, predicate in rest),
        text=(*text, *rest),
        index=index,
        needs_headers=bool(match.headers or match.without_headers),
        stat_prefix=match.stat_prefix,
    )


def _path(
    uri: StringMatch, ignore_case: bool, form: Callable[[str], bytes]
) -> tuple[str, bytes, Predicate | None, Predicate]:
    test = string_test(uri, ignore_case=ignore_case, form=form)

    def predicate(request: Request) -> bool:
        return test(request.path)

    if uri.regex is not None:
        return "regex", uri.regex.encode(), predicate, predicate
    if uri.exact is not None:
        return "exact", form(uri.exact), predicate if ignore_case else None, predicate
    path = form(uri.prefix or "")
    return "prefix", path, predicate if ignore_case else None, predicate


def _conditions(match: HTTPMatchRequest, place: str) -> list[tuple[str, str, Predicate]]:
    found: list[tuple[str, str, Predicate]] = []

    def add(field: str, words: str, predicate: Predicate) -> None:
        found.append((f"{place}.{field}", words, predicate))

    if match.method is not None:
        add("method", in_words(match.method), _on_method(string_test(match.method)))
    if match.scheme is not None:
        add("scheme", in_words(match.scheme), _on_scheme(string_test(match.scheme)))
    if match.authority is not None:
        test = string_test(match.authority, form=_authority_form)
        add("authority", in_words(match.authority), _on_authority(test))
    for name, value in match.headers.items():
        add(
            f"headers[{name}]",
            _named_in_words(name, value),
            _on_header(name, _header_test(name, value)),
        )
    for name, value in match.without_headers.items():
        words = f"not {_named_in_words(name, value)}"
        # Istio: unless presence is asked for, a header that is not there counts as an empty one.
        missing = None if is_presence(value) else b""
        add(
            f"withoutHeaders[{name}]",
            words,
            _negate(_on_header(name, _header_test(name, value), missing)),
        )
    for name, value in match.query_params.items():
        add(
            f"queryParams[{name}]",
            _named_in_words(name, value),
            _on_query(name, string_test(value)),
        )
    return found


def _header_test(name: str, value: StringMatch) -> ByteTest:
    return string_test(value, form=_authority_form if is_authority(name) else str.encode)


def _authority_form(text: str) -> bytes:
    return configured_authority(text).encode()


def _on_method(test: ByteTest) -> Predicate:
    return lambda request: test(request.method)


def _on_scheme(test: ByteTest) -> Predicate:
    return lambda request: test(request.scheme)


def _on_authority(test: ByteTest) -> Predicate:
    return lambda request: test(request.authority)


_PSEUDO_HEADERS: Mapping[str, Callable[[Request], bytes]] = {
    ":authority": lambda request: request.authority,
    ":method": lambda request: request.method,
    ":path": lambda request: (
        b"%b?%b" % (request.path, request.query) if request.query else request.path
    ),
    ":scheme": lambda request: request.scheme,
}
"""What a request line says, by the names that Envoy has for it as headers."""


def _on_header(name: str, test: ByteTest, missing: bytes | None = None) -> Predicate:
    if (read := _PSEUDO_HEADERS.get(name.lower())) is not None:
        return lambda request: test(read(request))
    key = name.lower().encode()

    def predicate(request: Request) -> bool:
        value = request.headers.get(key, missing)
        if value is None or BETWEEN_VALUES not in value:
            return value is not None and test(value)
        return any(map(test, value.split(BETWEEN_VALUES)))

    return predicate


def _negate(predicate: Predicate) -> Predicate:
    return lambda request: not predicate(request)


def _on_query(name: str, test: ByteTest) -> Predicate:
    key = name.encode()

    def predicate(request: Request) -> bool:
        # Envoy: the first parameter of that name, its value as sent; "a" alone has an empty value.
        for part in request.query.split(b"&"):
            found, _, value = part.partition(b"=")
            if found == key and part:
                return test(value)
        return False

    return predicate
