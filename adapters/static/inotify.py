"""The kernel's word that a directory changed, and how: inotify(7) by ctypes, read with trio."""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from collections.abc import Iterator, Mapping
from types import TracebackType

import trio

from adapters.static.writers import (
    CLOSE_WRITE,
    CREATE,
    DELETE,
    MODIFY,
    MOVED_FROM,
    MOVED_TO,
    Directory,
    Event,
    identify,
)

_DELETE_SELF, _MOVE_SELF, _ATTRIB = 0x400, 0x800, 0x4
_MASK_ADD = 0x20000000  # a directory may be watched under two names: for the sum of both
_ENTRIES = MOVED_FROM | MOVED_TO | CREATE | DELETE | _DELETE_SELF | _MOVE_SELF
_CONTENTS = CLOSE_WRITE | MODIFY | _ATTRIB
_BUFFER = 65536
_HEAD = struct.Struct("iIII")  # wd, mask, cookie, len


class Inotify:
    """Watches directories; `changed` returns when something in one of them did.

    Raises `OSError` where the kernel gives no instance (the user's limit): poll instead then.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)
        if self._fd < 0:
            code = ctypes.get_errno()
            raise OSError(code, os.strerror(code))
        self._watched: set[int] = set()
        self._directories: dict[int, Directory] = {}

    def __enter__(self) -> Inotify:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        fd, self._fd = self._fd, -1  # a thread that was given up must not read another's descriptor
        os.close(fd)

    def watch_only(self, paths: Mapping[str, bool]) -> bool:
        """Watch these directories and no others: what is in them, or also (True) what is in their
        files. One that is not there is skipped. Whether any was not watched before: a path may lead to
        another directory than it did. Raises `OSError` when the user's limit is reached."""
        wanted = set()
        for path, contents in paths.items():
            events = (_ENTRIES | _CONTENTS if contents else _ENTRIES) | _MASK_ADD
            number = self._libc.inotify_add_watch(self._fd, os.fsencode(path), events)
            if number >= 0:
                wanted.add(number)
                if number not in self._directories and (found := identify(path)) is not None:
                    self._directories[number] = found
            elif ctypes.get_errno() == errno.ENOSPC:
                raise OSError(errno.ENOSPC, "fs.inotify.max_user_watches is used up")
        for number in self._watched - wanted:
            self._libc.inotify_rm_watch(self._fd, number)  # fails when its directory is gone
            self._directories.pop(number, None)
        is_new = bool(wanted - self._watched)
        self._watched = wanted
        return is_new

    async def changed(self) -> None:
        """Wait for a change."""
        await trio.lowlevel.wait_readable(self._fd)

    def events(self) -> list[Event]:
        """All that are queued."""
        found: list[Event] = []
        while True:
            try:
                data = os.read(self._fd, _BUFFER)
            except BlockingIOError:
                return found
            found += self._decoded(data)

    def _decoded(self, data: bytes) -> Iterator[Event]:
        at = 0
        while at < len(data):
            number, mask, _, length = _HEAD.unpack_from(data, at)
            at += _HEAD.size
            name = data[at : at + length].rstrip(b"\0")
            at += length
            yield Event(self._directories.get(number), os.fsdecode(name), mask)
