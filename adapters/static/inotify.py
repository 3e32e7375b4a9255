"""The kernel's word that a directory changed: inotify by ctypes, read with trio."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Mapping
from types import TracebackType

import trio

_CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE = 0x8, 0x40, 0x80, 0x100, 0x200
_DELETE_SELF, _MOVE_SELF, _ATTRIB, _MODIFY = 0x400, 0x800, 0x4, 0x2
_MASK_ADD = 0x20000000  # a directory may be watched under two names: for the sum of both
_ENTRIES = _MOVED_FROM | _MOVED_TO | _CREATE | _DELETE | _DELETE_SELF | _MOVE_SELF
_CONTENTS = _CLOSE_WRITE | _MODIFY | _ATTRIB
_BUFFER = 65536


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

    def __enter__(self) -> Inotify:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        os.close(self._fd)

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
            elif ctypes.get_errno() == errno.ENOSPC:
                raise OSError(errno.ENOSPC, "fs.inotify.max_user_watches is used up")
        for number in self._watched - wanted:
            self._libc.inotify_rm_watch(self._fd, number)  # fails when its directory is gone
        is_new = bool(wanted - self._watched)
        self._watched = wanted
        return is_new

    async def changed(self) -> None:
        """Wait for a change, and take all that are queued."""
        await trio.lowlevel.wait_readable(self._fd)
        while True:
            try:
                if len(os.read(self._fd, _BUFFER)) < _BUFFER:
                    return
            except BlockingIOError:
                return
