"""What comes back: an answer, or the reason why there is none."""

from __future__ import annotations

import base64
import binascii
import zlib
from collections.abc import Mapping

import msgspec

from egressd.api.secret import REDACTED, RedactedError, Secret, redact

MAX_TEXT = 300
_LOOKED_AT = 8192  # bytes of a body that may be quoted, so searched for what must not be shown


class HttpError(RedactedError):
    """No usable answer. The message names the address and what happened."""


class Answer(msgspec.Struct, frozen=True):
    """One whole answer. Names of `headers` are in lower case; `body` is decompressed; `hidden` is what
    of the request must not be shown, should the server repeat it."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    hidden: tuple[Secret, ...] = ()

    @property
    def text(self) -> str:
        """The body for a message: whatever it is, at most 300 characters."""
        return self.beginning[:MAX_TEXT].strip()

    @property
    def beginning(self) -> str:
        """As much of the body as a refusal may take, for a message."""
        return shown_body(self.body, self.hidden)


def shown_body(body: bytes, hidden: tuple[Secret, ...]) -> str:
    """The beginning of a body for a message, without the secrets of the request."""
    return hide(body[:_LOOKED_AT].decode("utf-8", "replace"), hidden)


def hide(text: str, hidden: tuple[Secret, ...]) -> str:
    """A text without these secrets, and without those of URLs in it."""
    for secret in hidden:
        text = text.replace(secret.reveal(), REDACTED)
    return redact(text)


def secrets_of(headers: Mapping[str, str | Secret]) -> tuple[Secret, ...]:
    """What of a request's headers must not be shown: whole values, and the credentials in them. The
    longest first, as one may be a part of another."""
    found: set[str] = set()
    for value in headers.values():
        if isinstance(value, Secret):
            scheme, _, credentials = value.reveal().partition(" ")
            found |= {value.reveal(), credentials}
            if scheme == "Basic":
                try:
                    pair = base64.b64decode(credentials, validate=True).decode("utf-8", "replace")
                except binascii.Error:
                    continue
                found |= {pair, pair.partition(":")[2]}
    return tuple(Secret(text) for text in sorted(found, key=len, reverse=True) if text)


class Inflater:
    """Takes the pieces of a body in, gives them out decompressed. Pure."""

    def __init__(self, coding: str, limit: int) -> None:
        """`coding` is the answer's Content-Encoding; `limit` how many bytes may come out.
        Raises `HttpError` for a coding that nobody asked for."""
        if coding not in ("", "identity", "gzip", "x-gzip"):
            raise HttpError(f"a body in coding {coding!r}, which was not asked for")
        self._inflate = zlib.decompressobj(wbits=31) if "gzip" in coding else None
        self._limit = limit
        self._size = 0

    def feed(self, data: bytes) -> bytes:
        """The next piece. Raises `HttpError` past the limit and for what is no gzip."""
        if self._inflate is not None:
            try:
                data = self._inflate.decompress(data, self._limit - self._size + 1)
            except zlib.error as error:
                raise HttpError(f"a body that is no gzip: {error}") from error
        self._size += len(data)
        if self._size > self._limit:
            raise HttpError(f"a body of more than {self._limit} bytes")
        return data

    def finish(self) -> None:
        """The body ended. Raises `HttpError` when the compressed one did not."""
        if self._inflate is not None and self._size and not self._inflate.eof:
            raise HttpError("a gzip body that ends in the middle")
