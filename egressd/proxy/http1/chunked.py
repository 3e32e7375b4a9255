"""The chunked transfer coding, sans I/O: a strict decoder and an encoder (RFC 9112 7.1)."""

from __future__ import annotations

import re

from egressd.proxy.http1.fields import IS_FIELD_LINES, MalformedMessage, allowed_trailers

_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})(?:[ \t]*;[\t\x20-\x7e\x80-\xff]*)?").fullmatch
_MAX_LINE = 4096
_MAX_TRAILERS = 16384


class ChunkedDecoder:
    """Takes bytes as they come, gives the body's bytes; refuses what is not strictly chunked.

    States: size line, data, the CRLF after data, trailers, done. `rest` holds what came behind the
    end, `trailers` the field lines that may be forwarded.
    """

    __slots__ = ("_buffer", "_left", "_state", "chunks", "rest", "trailers")

    SIZE, DATA, DATA_END, TRAILERS, DONE = range(5)

    def __init__(self) -> None:
        self._state = self.SIZE
        self._buffer = b""
        self._left = 0
        self.chunks = 0  # in the last input
        self.rest = b""
        self.trailers = b""

    @property
    def done(self) -> bool:
        return self._state == self.DONE

    def feed(self, data: bytes) -> bytes:
        """The decoded bytes of this input, b"" for none yet. Raises `MalformedMessage`."""
        data = self._buffer + data if self._buffer else data
        self._buffer = b""
        pieces: list[bytes] = []
        position = 0
        while True:
            state = self._state
            if state == self.DATA:
                piece = data[position : position + self._left]
                pieces.append(piece)
                position += len(piece)
                self._left -= len(piece)
                if self._left:
                    break
                self._state = self.DATA_END
            elif state == self.DATA_END:
                end = data[position : position + 2]
                if end != b"\r\n":
                    if len(end) == 2 or (end and end != b"\r"):
                        raise MalformedMessage("no CRLF behind a chunk")
                    self._buffer = end
                    break
                position += 2
                self._state = self.SIZE
            elif state == self.SIZE:
                end_of_line = data.find(b"\r\n", position)
                if end_of_line < 0:
                    self._keep(data, position, _MAX_LINE, "chunk size line too long")
                    break
                self._read_size(data[position:end_of_line])
                position = end_of_line + 2
            elif state == self.TRAILERS:
                taken = self._read_trailers(data, position)
                if taken < 0:
                    break
                position += taken
            else:
                self.rest += data[position:]
                break
        self.chunks = len(pieces)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _keep(self, data: bytes, position: int, limit: int, reason: str) -> None:
        self._buffer = data[position:]
        if len(self._buffer) > limit:
            raise MalformedMessage(reason)

    def _read_size(self, line: bytes) -> None:
        match = _SIZE(line)
        if match is None:
            raise MalformedMessage("malformed chunk size")
        self._left = int(match.group(1), 16)
        self._state = self.DATA if self._left else self.TRAILERS

    def _read_trailers(self, data: bytes, position: int) -> int:
        """Bytes taken, or -1 when the trailers are not complete yet."""
        if data.startswith(b"\r\n", position):
            self._state = self.DONE
            return 2
        end = data.find(b"\r\n\r\n", position)
        if end < 0:
            self._keep(data, position, _MAX_TRAILERS, "trailers too long")
            return -1
        block = data[position : end + 2]
        if len(block) > _MAX_TRAILERS or IS_FIELD_LINES(block) is None:
            raise MalformedMessage("malformed trailers")
        self.trailers = allowed_trailers(block)
        self._state = self.DONE
        return end + 4 - position


def encode_chunk(data: bytes) -> bytes:
    """One chunk; `data` must not be empty, for that would end the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def encode_last(trailers: bytes = b"") -> bytes:
    """The last chunk with its trailer lines."""
    return b"0\r\n%b\r\n" % trailers
