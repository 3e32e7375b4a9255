"""What comes back: an answer, or the reason why there is none."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

import msgspec


class HttpError(Exception):
    """No usable answer. The message names the address and what happened."""


class Answer(msgspec.Struct, frozen=True):
    """One whole answer. Names of `headers` are in lower case; `body` is decompressed."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        """The body for a message: whatever it is, at most 300 characters."""
        return self.body[:300].decode("utf-8", "replace").strip()


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
