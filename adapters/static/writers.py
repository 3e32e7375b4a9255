"""Which files are being written, by what the kernel said of their directories.

A program that saves in place opens the file, cuts it off, writes, pauses, writes on and closes. Whether
anybody has a file open for writing cannot be asked without privileges; but each write to it is told
(IN_MODIFY), and so is the end of it (IN_CLOSE_WRITE).
"""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Iterable
from typing import NamedTuple

CLOSE_WRITE, MODIFY = 0x8, 0x2
MOVED_FROM, MOVED_TO, CREATE, DELETE = 0x40, 0x80, 0x100, 0x200
OVERFLOW = 0x4000
_ENDED = MOVED_FROM | DELETE
_MOST = 4096
"""Files remembered; beyond them all is forgotten, which costs each a moment of waiting."""

Directory = tuple[int, int]
"""Device and inode of a directory: it may be watched under several paths."""


class Event(NamedTuple):
    """One event of inotify(7). `directory` None: of none, as an overflow is."""

    directory: Directory | None
    name: str
    mask: int


class Writing(enum.Enum):
    """What is known of a file's last writer."""

    UNKNOWN = "unknown"  # not watched, or nothing happened since
    OPEN = "open"  # wrote, and did not close the file yet
    CLOSED = "closed"  # closed it, or moved it to where it is: it is whole


class Writers:
    """The last writer of each file of which something was heard. `events` gives those since it was
    called last, in the kernel's order."""

    def __init__(self, events: Callable[[], Iterable[Event]] = tuple) -> None:
        self._events = events
        self._last: dict[tuple[Directory, str], Writing] = {}

    def catch_up(self) -> None:
        """Hear all that happened until now."""
        for directory, name, mask in self._events():
            if mask & OVERFLOW or len(self._last) > _MOST:
                self._last.clear()
            if directory is None:
                continue
            file = directory, name
            if mask & MODIFY:
                self._last[file] = Writing.OPEN
            elif mask & (CLOSE_WRITE | MOVED_TO):
                self._last[file] = Writing.CLOSED
            elif mask & (CREATE | _ENDED):  # a link that is made is never closed
                self._last.pop(file, None)

    def of_path(self, real: str) -> Writing:
        """What is known of a file, by its path without links."""
        folder, name = os.path.split(real)
        directory = identify(folder)
        if directory is None:
            return Writing.UNKNOWN
        return self._last.get((directory, name), Writing.UNKNOWN)


def identify(path: str) -> Directory | None:
    """A directory, by whatever path; None: it is gone."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_dev, found.st_ino
