"""What an id makes of a request and of its answer. Client and origin derive the same bytes."""

from __future__ import annotations

import re
import zlib
from typing import NamedTuple
from urllib.parse import parse_qs, urlsplit

ID = re.compile(rb"id-[0-9a-f]{12}")
POISON = b"id-poisoned0000"
"""In every answer that an origin sends though nobody asked: whoever gets it got a foreign answer."""
MAX_SIZE = 1 << 20


class Ask(NamedTuple):
    """A target: `/s/ID?size=N&mode=M`. `size` is of the answer's body, behind its first line."""

    id: str
    size: int
    mode: str

    @property
    def target(self) -> str:
        return f"/s/{self.id}?size={self.size}&mode={self.mode}"


def parse_target(target: str) -> Ask:
    """Raises ValueError for what no client of the soak sends."""
    parts = urlsplit(target)
    query = parse_qs(parts.query)
    try:
        return Ask(parts.path.removeprefix("/s/"), int(query["size"][0]), query["mode"][0])
    except KeyError as error:
        raise ValueError(f"found {target!r}") from error


def pattern(own_id: str, size: int) -> bytes:
    """Bytes that name their request wherever they are cut."""
    unit = own_id.encode() + b"."
    return (unit * (size // len(unit) + 1))[:size]


def expected_body(ask: Ask, host: str, upload: bytes) -> bytes:
    """The body of the one right answer."""
    line = f"{ask.id} {host} {ask.target} {len(upload)} {zlib.crc32(upload):08x}\n"
    return line.encode() + pattern(ask.id, ask.size)


def foreign_ids(data: bytes, own: set[str]) -> set[bytes]:
    """Ids in `data` that are not of this connection's own requests."""
    found = {match for match in ID.findall(data) if match.decode() not in own}
    return found | ({POISON} if POISON in data else set())
