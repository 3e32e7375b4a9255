"""Paths as clients spell them: the one place where a path becomes the value that is matched, authorized
and sent on. Pure.

Source: Istio MeshConfig `pathNormalization`, Envoy `normalize_path`, `merge_slashes` and
`path_with_escaped_slashes_action`; what is escaped and what is not is Envoy's table (Chromium's
`url_canon_path`). One spelling is refused that Envoy lets through: an escape that decoding makes
(`%%32e`), since a second decoding would find what the first one hid.
"""

from __future__ import annotations

import enum
import re
from typing import Final


class PathNormalization(enum.StrEnum):
    """Istio MeshConfig `ProxyPathNormalization.NormalizationType`; each includes the one before."""

    NONE = "NONE"
    BASE = "BASE"  # escapes of unreserved characters, `\\` as `/`, dot segments
    MERGE_SLASHES = "MERGE_SLASHES"
    DECODE_AND_MERGE_SLASHES = "DECODE_AND_MERGE_SLASHES"  # %2F and %5C, too, before the others


class EscapedSlashes(enum.StrEnum):
    """What becomes of %2F and %5C (Envoy `path_with_escaped_slashes_action`)."""

    KEEP = "KEEP"
    REJECT = "REJECT"
    DECODE = "DECODE"


class InvalidPath(ValueError):
    """A path that is refused. The message says why."""


_UNRESERVED = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~")
_PLAIN = _UNRESERVED | frozenset(b"!$&'()*+,;=:@[]/")
PLAIN: Final = bytes(0x61 if byte in _PLAIN else 0x21 for byte in range(256))
"""A table for `bytes.translate`: what it makes of a path is alphanumeric where no character needs a
look. Other ways to ask cost two to five times as much, and every request is asked."""

_ESCAPED_SLASH = re.compile(rb"%(?:2[fF]|5[cC])")
_ODD = re.compile(rb"%([0-9A-Fa-f]{2})|[\x00-\x20\x22<>^`{|}\x7f-\xff\\]")
_NO_ESCAPE = re.compile(rb"%(?![0-9A-Fa-f]{2})")
_LOWER_ESCAPE = re.compile(rb"%(?:[a-f][0-9A-Fa-f]|[0-9A-F][a-f])")
_SLASHES = re.compile(rb"//+")


class PathNormalizer:
    """The node's choice. A path of `PLAIN` characters without `/.`, and without `//` where it `merges`
    slashes, is in its normal form, which `read_target` asks inline."""

    __slots__ = ("_base", "escaped_slashes", "merges", "mode")

    def __init__(
        self,
        mode: PathNormalization = PathNormalization.BASE,
        escaped_slashes: EscapedSlashes = EscapedSlashes.KEEP,
    ) -> None:
        if mode is PathNormalization.DECODE_AND_MERGE_SLASHES:
            escaped_slashes = EscapedSlashes.DECODE
        self.mode = mode
        self.escaped_slashes = escaped_slashes
        self._base = mode is not PathNormalization.NONE
        self.merges = self._base and mode is not PathNormalization.BASE

    def __call__(self, path: bytes) -> bytes:
        """A path (without query) in its normal form. Raises `InvalidPath`."""
        if self.escaped_slashes is not EscapedSlashes.KEEP and _ESCAPED_SLASH.search(path):
            if self.escaped_slashes is EscapedSlashes.REJECT:
                raise InvalidPath("an escaped slash in the path (escapedSlashes REJECT)")
            path = _ESCAPED_SLASH.sub(_slash, path)
        if self._base:
            path = without_dot_segments(_canonical(path))
        if self.merges:
            path = _SLASHES.sub(b"/", path)
        return path

    def check_rewritten(self, path: bytes) -> None:
        """Raises `InvalidPath` where a rewrite joined what the client sent to a dot segment: prefix
        `/api` to `/v1/` makes `/v1/../x` of `/api../x`."""
        if path[:1] != b"/":
            raise InvalidPath("the rewritten path does not begin with '/'")
        if self._base and (b"/." in path or b"%" in path or b"\\" in path):
            meant = _canonical(path)
            if without_dot_segments(meant) != meant:
                raise InvalidPath("the rewritten path has dot segments")


def comparable_path(path: bytes) -> bytes:
    """A path, or a configured part of one, with its escapes in upper case: they mean the same in either
    (RFC 3986 6.2.2.1), and go upstream as they were sent."""
    if b"%" not in path:
        return path
    return _LOWER_ESCAPE.sub(_upper, path)


def configured_path(text: str) -> bytes:
    """A path or part of one as a resource has it, in the form that normalized paths have. Dot segments
    stay: no path has them, so that nothing matches."""
    path = text.encode()
    try:
        return comparable_path(_ODD.sub(_settled, path))
    except InvalidPath:
        return path  # %00: no path has it


def without_dot_segments(path: bytes) -> bytes:
    """RFC 3986 5.2.4 for an absolute path; `..` above the root stays at the root."""
    if b"/." not in path:
        return path
    kept: list[bytes] = []
    parts = path.split(b"/")
    for part in parts:
        if part == b"..":
            if len(kept) > 1:
                kept.pop()
        elif part != b".":
            kept.append(part)
    if parts[-1] in (b".", b".."):
        kept.append(b"")
    return b"/".join(kept)


def _canonical(path: bytes) -> bytes:
    made = _ODD.sub(_settled, path)
    if b"%" in path and len(_NO_ESCAPE.findall(made)) < len(_NO_ESCAPE.findall(path)):
        raise InvalidPath("an escape in the path that decodes to a part of another")
    return made


def _settled(found: re.Match[bytes]) -> bytes:
    """Envoy's form of an escape, or of a character that must be one."""
    digits = found[1]
    if digits is None:
        return b"/" if found[0] == b"\\" else b"%%%02X" % found[0][0]
    code = int(digits, 16)
    if code == 0:
        raise InvalidPath("%00 in the path")
    return bytes((code,)) if code in _UNRESERVED else found[0]


def _slash(found: re.Match[bytes]) -> bytes:
    return b"/" if found[0][1:2] == b"2" else b"\\"


def _upper(found: re.Match[bytes]) -> bytes:
    return found[0].upper()
