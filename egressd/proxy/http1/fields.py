"""What request and response heads share: the grammar of field lines, hop-by-hop fields, framing.

Source of the rules: RFC 9110 (5.6.2 tokens, 7.6.1 Connection), RFC 9112 (2.2, 5, 6).
"""

from __future__ import annotations

import re

TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]++"
# No obs-fold, no space before the colon, no bare CR or LF, no control characters (RFC 9112 5).
FIELD_LINES = rb"(?:" + TOKEN + rb":[\t\x20-\x7e\x80-\xff]*+\r\n)*+"

_IS_TOKEN = re.compile(TOKEN).fullmatch
IS_FIELD_LINES = re.compile(FIELD_LINES).fullmatch

HOP_BY_HOP = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"te",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    }
)
"""Fields that end at this hop (RFC 9110 7.6.1); framing is written anew."""

# A Connection option that names one of these would change the meaning of the message on the way.
# Nor may one take away what says where the request came from (Envoy `sanitizeConnectionHeader`).
_NEVER_NOMINATED = frozenset(
    {
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"authorization",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
    }
)

_FORBIDDEN_TRAILERS = HOP_BY_HOP | {
    b"host",
    b"content-length",
    b"content-encoding",
    b"content-type",
    b"content-range",
    b"trailer",
    b"authorization",
    b"cookie",
    b"set-cookie",
    b"expect",
}

ENVOY_PREFIX = b"x-envoy-"
MAX_LENGTH = 2**63 - 1


class MalformedMessage(Exception):
    """A message that must not be forwarded. `status` is what a client is told, `reason` why."""

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.reason = reason
        self.status = status


def connection_options(value: bytes, known: frozenset[bytes]) -> frozenset[bytes]:
    """The lower-cased options of a Connection field, joined to those of an earlier one.

    Raises `MalformedMessage` when an option is no token or names a field that frames the message.
    """
    options = set(known)
    for part in value.lower().split(b","):
        option = part.strip(b" \t")
        if not option:
            continue
        if _IS_TOKEN(option) is None or option in _NEVER_NOMINATED:
            raise MalformedMessage(f"Connection names {option.decode('latin-1')!r}")
        options.add(option)
    return frozenset(options)


def content_length(value: bytes) -> int:
    """RFC 9112 6.2. Raises `MalformedMessage` unless it is one plain decimal number."""
    if not value.isdigit() or len(value) > 19:
        raise MalformedMessage("malformed Content-Length")
    length = int(value)
    if length > MAX_LENGTH:
        raise MalformedMessage("Content-Length too large")
    return length


def without_hop_by_hop(block: bytes, options: frozenset[bytes]) -> bytes:
    """Field lines less the hop-by-hop fields and those that Connection names."""
    kept = []
    for line in block.split(b"\r\n"):
        name = line[: line.find(b":")].lower()
        if line and name not in HOP_BY_HOP and name not in options:
            kept.append(line)
    kept.append(b"")
    return b"\r\n".join(kept)


def split_fields(block: bytes) -> list[tuple[bytes, bytes]]:
    """Field lines as (name as sent, value without surrounding white space)."""
    fields = []
    for line in block.split(b"\r\n"):
        if line:
            name, _, value = line.partition(b":")
            fields.append((name, value.strip(b" \t")))
    return fields


def join_fields(fields: list[tuple[bytes, bytes]]) -> bytes:
    """The opposite of `split_fields`."""
    return b"".join([b"%b: %b\r\n" % field for field in fields])


def header_map(block: bytes, between: bytes = b",") -> dict[bytes, bytes]:
    """Lower-cased names to values; repeated fields joined (RFC 9110 5.3: by a comma)."""
    headers: dict[bytes, bytes] = {}
    for name, value in split_fields(block):
        key = name.lower()
        known = headers.get(key)
        headers[key] = value if known is None else known + between + value
    return headers


def without_envoy_headers(block: bytes) -> bytes:
    """Field lines less `x-envoy-*`: they are between a client and its own proxy."""
    lines = block.split(b"\r\n")
    return b"\r\n".join([line for line in lines if line[:8].lower() != ENVOY_PREFIX])


def allowed_trailers(block: bytes) -> bytes:
    """Trailer lines that may be forwarded (RFC 9110 6.5.1)."""
    if not block:
        return block
    return join_fields([field for field in split_fields(block) if _may_trail(field[0].lower())])


def _may_trail(name: bytes) -> bool:
    return name not in _FORBIDDEN_TRAILERS and not name.startswith(ENVOY_PREFIX)
