"""What two supervisors say to each other while one takes over from the other.

    candidate  READY    my workers serve
    candidate  FAILED   they will not; the reason
    owner      YOURS    the registry process has ended: run the node
    candidate  MINE     status file and registry process are mine
    owner      TOLD     the service manager knows; speak to it

One JSON message a packet. The two may be of different versions: unknown fields are ignored, an unknown
word is as good as none, and `PROTOCOL` grows when an old word changes its meaning. The end of the line
is the death of the other side.
"""

from __future__ import annotations

import enum
import socket
from contextlib import suppress

import msgspec

PROTOCOL = 1
_MOST = 1 << 16


class Word(enum.StrEnum):
    """What is said."""

    READY = "ready"
    FAILED = "failed"
    YOURS = "yours"
    MINE = "mine"
    TOLD = "told"
    GONE = "gone"  # never sent: the line has ended


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """One packet. `reason` is for people."""

    word: str
    reason: str = ""


_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(Message).decode


class TakeoverLine:
    """One end. Never waited on."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        sock.setblocking(False)

    def fileno(self) -> int:
        """Readable when the other side has said something, or is gone."""
        return self.sock.fileno()

    def say(self, word: Word, reason: str = "") -> None:
        """A word to a side that is gone is lost: its end is heard as GONE."""
        with suppress(OSError):
            self.sock.send(_encode(Message(word.value, reason)))

    def hear(self) -> tuple[Word, str] | None:
        """The next word and its reason, None when there is none now."""
        try:
            data = self.sock.recv(_MOST)
        except BlockingIOError:
            return None
        except OSError:
            data = b""
        if not data:
            return Word.GONE, ""
        try:
            message = _decode(data)
            return Word(message.word), message.reason
        except (msgspec.MsgspecError, ValueError):
            return None

    def close(self) -> None:
        """The other side hears GONE."""
        self.sock.close()


def look() -> None:
    """What a selector calls for a line: the supervisor's turn that follows every event hears it."""
