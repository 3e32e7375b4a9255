"""The server name of a TLS connection from its first bytes, read without taking them. Pure.

Source: RFC 8446 4.1.2, 4.2 and 5.1, RFC 6066 3. Only what routing needs is looked at; TLS itself stays
with OpenSSL, or with the endpoint behind a passthrough. What TLS stacks refuse is refused here, too, so
that nobody reads another name out of a ClientHello than egressd does.
"""

from __future__ import annotations

from egressd.routing.authority import InvalidName, parse_server_name

_HANDSHAKE = 22
_CLIENT_HELLO = 1
_SERVER_NAME = 0
_PRE_SHARED_KEY = 41
_HOST_NAME = 0
_RECORD_HEADER = 5
MOST_BYTES = 64 * 1024
"""A ClientHello larger than this is refused."""
MOST_RECORDS = 4096
"""One in more records than this is refused: those of TLS stacks have one or two."""
MOST_PEEKED = MOST_BYTES + _RECORD_HEADER * MOST_RECORDS
"""Bytes that a ClientHello can take on the wire."""


class NotTls(Exception):
    """What came is no ClientHello, or none that a TLS stack would take."""


class HelloReader:
    """Reads a ClientHello as its bytes come: each is looked at once.

    `wanted` is how many bytes of the connection must be there at least before there is more to say.
    """

    __slots__ = ("_at", "_message", "_records", "has_begun", "wanted")

    def __init__(self) -> None:
        self.has_begun = False  # a part of it has come
        self._message = bytearray()
        self._at = 0  # where the next record begins
        self._records = 0
        self.wanted = _RECORD_HEADER

    def read(self, data: bytes) -> str | None:
        """The SNI as `parse_server_name` has it, "" when there is none, None while more is needed.
        `data` is all that came so far. Raises `NotTls`."""
        self.has_begun = bool(data)
        while True:
            length = _record_length(data, self._at)
            end = self._at + _RECORD_HEADER + length
            if length == 0 or len(data) < end:
                rest = self._rest(length)
                more_records = _RECORD_HEADER if rest and length else 0
                self.wanted = end + more_records + (rest or 0)
                return None
            self._records += 1
            if self._records > MOST_RECORDS:
                raise NotTls("a ClientHello in too many records")
            self._message += data[self._at + _RECORD_HEADER : end]
            self._at = end
            if self._message[0] != _CLIENT_HELLO:
                raise NotTls("not a ClientHello")
            if self._rest(0) == 0:
                return _server_name(bytes(self._message))

    def _rest(self, coming: int) -> int | None:
        """Bytes of the message behind the `coming` ones of a record, None while its size is not known.

        Raises `NotTls` when it is too large, or ends within a record (RFC 8446 5.1).
        """
        message = self._message
        if len(message) < 4:
            return None
        size = 4 + int.from_bytes(message[1:4], "big")
        if size > MOST_BYTES:
            raise NotTls("a ClientHello that is too large")
        rest = size - len(message) - coming
        if rest < 0:
            raise NotTls("more in a record than the ClientHello")
        return rest


def server_name(data: bytes) -> str | None:
    """The SNI in what a connection began with, see `HelloReader.read`."""
    return HelloReader().read(data)


def _record_length(data: bytes, at: int) -> int:
    """Of the record that begins there, 0 while its header is not all there. Raises `NotTls`."""
    header = data[at : at + _RECORD_HEADER]
    if (header and header[0] != _HANDSHAKE) or (len(header) > 1 and header[1] != 3):
        raise NotTls("not a TLS handshake")
    if len(header) < _RECORD_HEADER:
        return 0
    length = int.from_bytes(header[3:5], "big")
    if not 0 < length <= 16384:
        raise NotTls("a TLS record of a bad length")
    return length


class _Fields:
    """A struct of TLS's presentation language, from front to end. Raises `NotTls` past its end."""

    __slots__ = ("_at", "_data")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def is_empty(self) -> bool:
        return self._at == len(self._data)

    def take(self, size: int) -> bytes:
        end = self._at + size
        if end > len(self._data):
            raise NotTls("lengths in the ClientHello that do not add up")
        taken = self._data[self._at : end]
        self._at = end
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> bytes:
        """What a length of `size` bytes stands before."""
        return self.take(self.number(size))

    def end(self) -> None:
        if not self.is_empty:
            raise NotTls("lengths in the ClientHello that do not add up")


def _server_name(message: bytes) -> str:
    hello = _Fields(message[4:])
    hello.take(34)  # version, random
    session, suites, compression = hello.vector(1), hello.vector(2), hello.vector(1)
    if len(session) > 32 or not suites or len(suites) % 2 or not compression:
        raise NotTls("lengths in the ClientHello that do not add up")
    if hello.is_empty:
        return ""  # no extensions
    extensions = _Fields(hello.vector(2))
    hello.end()
    found: dict[int, bytes] = {}
    kind = -1
    while not extensions.is_empty:
        kind, content = extensions.number(2), extensions.vector(2)
        if kind in found:
            raise NotTls(f"two extensions {kind} in the ClientHello")  # RFC 8446 4.2
        found[kind] = content
    if _PRE_SHARED_KEY in found and kind != _PRE_SHARED_KEY:
        raise NotTls("pre_shared_key is not the last extension")  # RFC 8446 4.2.11
    return _host_name(found[_SERVER_NAME]) if _SERVER_NAME in found else ""


def _host_name(extension: bytes) -> str:
    """The one name of a server_name extension: no other type was ever defined, and of one type there is
    one name (RFC 6066 3)."""
    outer = _Fields(extension)
    names = _Fields(outer.vector(2))
    outer.end()
    if names.number(1) != _HOST_NAME:
        raise NotTls("a server name of an unknown type")
    name = names.vector(2)
    if not names.is_empty:
        raise NotTls("several server names")
    try:
        return parse_server_name(name)
    except InvalidName as error:
        raise NotTls(str(error)) from None
