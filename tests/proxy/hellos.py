"""ClientHellos made by hand, right and wrong (RFC 8446 4.1.2)."""

from __future__ import annotations


def vector(content: bytes, size: int) -> bytes:
    return len(content).to_bytes(size, "big") + content


def extension(kind: int, content: bytes) -> bytes:
    return kind.to_bytes(2, "big") + vector(content, 2)


def server_names(*names: bytes, kind: int = 0) -> bytes:
    """A server_name extension."""
    return extension(0, vector(b"".join(bytes((kind,)) + vector(name, 2) for name in names), 2))


def message(
    extensions: bytes | None,
    *,
    session: bytes = b"",
    suites: bytes = b"\x13\x01",
    compression: bytes = b"\0",
    tail: bytes = b"",
) -> bytes:
    """The handshake message; `extensions` are those after one another, None for no list at all."""
    body = b"\x03\x03" + bytes(32)
    body += vector(session, 1) + vector(suites, 2) + vector(compression, 1)
    if extensions is not None:
        body += vector(extensions, 2)
    return b"\x01" + vector(body + tail, 3)


def records(data: bytes, *sizes: int) -> bytes:
    """In records of these sizes, the last one of what is left."""
    pieces = []
    for size in sizes:
        pieces.append(data[:size])
        data = data[size:]
    pieces.append(data)
    return b"".join(b"\x16\x03\x01" + vector(piece, 2) for piece in pieces if piece)


def hello(*extensions: bytes) -> bytes:
    """One in one record."""
    return records(message(b"".join(extensions)))
