"""How servers that speak TLS answer a plain request. Pure."""

from __future__ import annotations

import re

_IS_REFUSED = re.compile(
    rb"plain HTTP request was sent to HTTPS port"  # nginx
    rb"|Client sent an HTTP request to an HTTPS server"  # Go
    rb"|speaking plain HTTP to an SSL-enabled server port",  # Apache
    re.IGNORECASE,
).search
_LOOKED_AT = 4096


def is_tls_record(data: bytes) -> bool:
    """Whether an answer begins as a TLS alert or handshake does (RFC 8446 5.1, 6)."""
    return len(data) > 1 and data[0] in (0x15, 0x16) and data[1] == 3


def is_plain_refused(body: bytes) -> bool:
    """Whether the beginning of the body of a 400 says that the port is for TLS."""
    return _IS_REFUSED(body[:_LOOKED_AT]) is not None
