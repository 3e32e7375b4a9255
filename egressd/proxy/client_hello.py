"""The server name of a TLS connection from its first bytes, read without taking them. Pure.

Source: RFC 8446 4.1.2 and 5.1, RFC 6066 3. Only what routing needs is looked at; TLS itself stays
with OpenSSL, or with the endpoint behind a passthrough.
"""

from __future__ import annotations

_HANDSHAKE = 22
_CLIENT_HELLO = 1
_SERVER_NAME = 0
MOST_BYTES = 64 * 1024
"""A ClientHello larger than this is refused."""


class NotTls(Exception):
    """What came is no ClientHello."""


def server_name(data: bytes) -> str | None:
    """The SNI in lower case, "" when there is none, None while more bytes are needed.

    Raises `NotTls`.
    """
    hello = _handshake(data)
    if hello is None:
        return None
    try:
        return _sni(hello)
    except IndexError:
        raise NotTls("a ClientHello that is cut short") from None


def _handshake(data: bytes) -> bytes | None:
    """The ClientHello's body out of its records; None while it is not all there."""
    message = b""
    at = 0
    while True:
        header = data[at : at + 5]
        if (header and header[0] != _HANDSHAKE) or (len(header) > 1 and header[1] != 3):
            raise NotTls("not a TLS handshake")
        if len(header) < 5:
            return None
        length = int.from_bytes(header[3:5], "big")
        if not 0 < length <= 16384:
            raise NotTls("a TLS record of a bad length")
        message += data[at + 5 : at + 5 + length]
        if message and message[0] != _CLIENT_HELLO:
            raise NotTls("not a ClientHello")
        if len(message) >= 4:
            size = int.from_bytes(message[1:4], "big")
            if size > MOST_BYTES:
                raise NotTls("a ClientHello that is too large")
            if len(message) >= 4 + size:
                return message[4 : 4 + size]
        if len(data) < at + 5 + length:
            return None
        at += 5 + length


def _sni(hello: bytes) -> str:
    at = 34  # version, random
    at += 1 + hello[at]  # session id
    at += 2 + _number(hello, at)  # cipher suites
    at += 1 + hello[at]  # compression methods
    if at == len(hello):
        return ""  # no extensions
    end = at + 2 + _number(hello, at)
    at += 2
    while at < end:
        kind, size = _number(hello, at), _number(hello, at + 2)
        if kind == _SERVER_NAME:
            return _host_name(hello[at + 4 : at + 4 + size])
        at += 4 + size
    return ""


def _host_name(extension: bytes) -> str:
    if len(extension) < 5 or extension[2] != 0:
        return ""
    size = _number(extension, 3)
    name = extension[5 : 5 + size]
    if len(name) != size or not name.isascii():
        raise NotTls("a malformed server name")
    return name.decode("ascii").lower().removesuffix(".")


def _number(data: bytes, at: int) -> int:
    return data[at] << 8 | data[at + 1]
