"""Paths as clients spell them."""

from __future__ import annotations

import posixpath
import re
from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from egressd.routing.path import (
    PLAIN,
    EscapedSlashes,
    InvalidPath,
    PathNormalization,
    PathNormalizer,
    comparable_path,
    configured_path,
)

BASE = PathNormalizer()
MERGE = PathNormalizer(PathNormalization.MERGE_SLASHES)
DECODE = PathNormalizer(PathNormalization.DECODE_AND_MERGE_SLASHES)
NONE = PathNormalizer(PathNormalization.NONE)
ALL = (BASE, MERGE, DECODE, NONE)

# path: BASE, MERGE_SLASHES, DECODE_AND_MERGE_SLASHES ("" = as BASE); b"" = refused
ROWS: list[tuple[bytes, bytes, bytes | None, bytes | None]] = [
    (b"/", b"/", None, None),
    (b"/a/b.c;d=1/~x", b"/a/b.c;d=1/~x", None, None),
    (b"/./admin", b"/admin", None, None),
    (b"/x/../admin", b"/admin", None, None),
    (b"/x/y/../../admin/", b"/admin/", None, None),
    (b"/%61dmin", b"/admin", None, None),
    (b"/%41dmin", b"/Admin", None, None),
    (b"/x/..\\admin", b"/admin", None, None),
    (b"/x\\..\\admin", b"/admin", None, None),
    (b"/\\admin", b"//admin", b"/admin", b"/admin"),
    (b"/x/%2e%2e/admin", b"/admin", None, None),
    (b"/x/%2E./admin", b"/admin", None, None),
    (b"/x/.%2e/admin", b"/admin", None, None),
    (b"/%2e/admin", b"/admin", None, None),
    (b"/..", b"/", None, None),
    (b"/../../..", b"/", None, None),
    (b"/../../admin", b"/admin", None, None),
    (b"/a/..", b"/", None, None),
    (b"/a/.", b"/a/", None, None),
    (b"/a/b/..", b"/a/", None, None),
    (b"/a/./", b"/a/", None, None),
    (b"/a//../b", b"/a/b", None, None),
    (b"//admin", b"//admin", b"/admin", b"/admin"),
    (b"/a///b//", b"/a///b//", b"/a/b/", b"/a/b/"),
    (b"/a/.//admin", b"/a//admin", b"/a/admin", b"/a/admin"),
    (b"/.../a", b"/.../a", None, None),
    (b"/..a/b..", b"/..a/b..", None, None),
    (b"/.well-known/x", b"/.well-known/x", None, None),
    (b"/a;/../b", b"/b", None, None),
    (b"/a/..;/b", b"/a/..;/b", None, None),
    (b"/x%2f..%2fadmin", b"/x%2f..%2fadmin", None, b"/admin"),
    (b"/x%5C..%5Cadmin", b"/x%5C..%5Cadmin", None, b"/admin"),
    (b"/a%2fb", b"/a%2fb", None, b"/a/b"),
    (b"/%2Fadmin", b"/%2Fadmin", None, b"/admin"),
    (b"/%252e%252e/x", b"/%252e%252e/x", None, None),
    (b"/%25%32%65/x", b"/%252e/x", None, None),
    (b"/%%32e%%32e/x", b"", None, None),
    (b"/%%32f", b"", None, None),
    (b"/%%30%30", b"", None, None),
    (b"/a%00b", b"", None, None),
    (b"/caf\xc3\xa9", b"/caf%C3%A9", None, None),
    (b"/caf%c3%a9", b"/caf%c3%a9", None, None),
    (b"/a\xff", b"/a%FF", None, None),
    (b"/a%20b", b"/a%20b", None, None),
    (b'/a"b<c>^`{|}', b"/a%22b%3Cc%3E%5E%60%7B%7C%7D", None, None),
    (b"/100%", b"/100%", None, None),
    (b"/%zz%2", b"/%zz%2", None, None),
    (b"/%7Ea%2D%5f%2e", b"/~a-_.", None, None),
]


def normal(paths: PathNormalizer, path: bytes) -> bytes:
    try:
        return paths(path)
    except InvalidPath:
        return b""


@pytest.mark.parametrize(("path", "base", "merged", "decoded"), ROWS)
def test_normal_form(path: bytes, base: bytes, merged: bytes | None, decoded: bytes | None) -> None:
    assert normal(BASE, path) == base
    assert normal(MERGE, path) == (base if merged is None else merged)
    assert normal(DECODE, path) == (base if decoded is None else decoded)
    assert NONE(path) == path


def passes_at_one_look(paths: PathNormalizer, path: bytes) -> bool:
    """As `read_target` asks."""
    is_plain = path.translate(PLAIN).isalnum() and b"/." not in path
    return is_plain and not (paths.merges and b"//" in path)


@pytest.mark.parametrize("path", [row[0] for row in ROWS])
def test_what_passes_at_one_look_is_normal(path: bytes) -> None:
    for paths in ALL:
        if passes_at_one_look(paths, path):
            assert normal(paths, path) == path


@pytest.mark.parametrize("path", [b"/", b"/a", b"/a/b.c/d-e_f~", b"/v1/items/42;x=1", b"/a//b"])
def test_plain_paths_pass_at_one_look(path: bytes) -> None:
    assert passes_at_one_look(BASE, path)
    assert passes_at_one_look(MERGE, path) is (b"//" not in path)


def test_escaped_slashes_can_be_refused_or_decoded_alone() -> None:
    reject = PathNormalizer(escaped_slashes=EscapedSlashes.REJECT)
    for path in (b"/a%2fb", b"/a%5Cb", b"/%2F"):
        with pytest.raises(InvalidPath, match="escaped slash"):
            reject(path)
    decode = PathNormalizer(escaped_slashes=EscapedSlashes.DECODE)
    assert decode(b"/x%2f%2e%2e%5cadmin%2F/") == b"/admin//"
    assert PathNormalizer(PathNormalization.NONE, EscapedSlashes.DECODE)(b"/a%5C%2f.") == b"/a\\/."


PIECES = st.lists(
    st.sampled_from(
        ["/", "a", "admin", ".", "..", "%2e", "%2E", "\\", "%5c", "%2f", "%", "%2", "%61", "%25", "32",
         "e", ";", "%00", "\xe9", "//", "%c3", "{", "%7b"]
    ),
    max_size=12,
)  # fmt: skip


@given(PIECES, st.sampled_from(ALL[:3]))
def test_a_normal_form_is_its_own_and_hides_nothing(
    pieces: list[str], paths: PathNormalizer
) -> None:
    path = ("/" + "".join(pieces)).encode("latin-1")
    found = normal(paths, path)
    assume(found)
    assert normal(paths, found) == found
    assert found.startswith(b"/") and b"\\" not in found
    assert not {b".", b".."} & set(re.sub(b"(?i)%2e", b".", found).split(b"/"))
    assert found.isascii()


def strict(path: bytes) -> bytes:
    """A reference that is written another way: everything decoded that may be, resolved by posixpath."""
    keep = {0x25, *range(0x21), *b'"#<>?^`{|}/\\', *range(0x7F, 256)}
    text = b""
    for part in re.findall(rb"%[0-9a-fA-F]{2}|.", path, re.DOTALL):
        raw = unquote_to_bytes(part)
        escaped = len(part) == 3
        if raw == b"\\" and not escaped:
            text += b"/"
        elif (raw[0] in keep and raw != b"/") or (escaped and raw[0] in b"/!$&'()*+,;=:@[]"):
            text += b"%%%02X" % raw[0]
        else:
            text += raw
    marked = text.replace(b"//", b"/\0/").replace(b"//", b"/\0/")  # empty segments count
    is_directory = text.endswith((b"/", b"/.", b"/.."))
    resolved = posixpath.normpath(marked.lstrip(b"/") and b"/" + marked[1:])
    resolved = resolved.replace(b"\0", b"")
    return resolved + b"/" if is_directory and not resolved.endswith(b"/") else resolved


@given(
    st.lists(
        st.sampled_from([b"a", b"admin", b"..", b".", b"%2e%2E", b"%61", b"b%2fc", b"\xe9", b"%e9"]),
        min_size=1, max_size=7,
    ),
    st.lists(st.sampled_from([b"/", b"\\"]), min_size=7, max_size=7),
)  # fmt: skip
def test_paths_are_compared_as_a_reference_has_them(
    parts: list[bytes], slashes: list[bytes]
) -> None:
    path = b"/" + b"".join(part + slashes[at] for at, part in enumerate(parts[:-1])) + parts[-1]
    assert comparable_path(BASE(path)) == strict(path)


@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("/a/b", b"/a/b"),
        ("/caf\xe9", b"/caf%C3%A9"),
        ("/a%2fb*", b"/a%2Fb*"),
        ("/%61", b"/a"),
        ("/a b{c}", b"/a%20b%7Bc%7D"),
        ("/%00", b"/%00"),
    ],
)
def test_configured_paths_have_the_same_form(text: str, form: bytes) -> None:
    assert configured_path(text) == form


@pytest.mark.parametrize(
    "path", [b"/v1/../x", b"/..", b"/v1/%2e%2e/x", b"/v1/.", b"/a\\..\\b", b"", b"v1", b"/a%%32e"]
)
def test_a_rewrite_that_leads_elsewhere_is_refused(path: bytes) -> None:
    with pytest.raises(InvalidPath):
        BASE.check_rewritten(path)


@pytest.mark.parametrize("path", [b"/v1/x", b"/v1/..x/.y", b"/caf\xc3\xa9", b"/a%20b", b"/a//b"])
def test_other_rewrites_pass(path: bytes) -> None:
    BASE.check_rewritten(path)
    NONE.check_rewritten(b"/v1/../x")
