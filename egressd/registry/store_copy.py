"""The registry for who may read its files and not write them: a copy of one version in memory.

A reader of LMDB writes itself into the lock file, so that no page that it may look at is used again.
Whoever may not write there (a member of the node's group) takes the whole file, and makes sure that
nothing was published meanwhile: every commit writes a meta page, and until the next one is
through, no page of the version before is overwritten.
"""

from __future__ import annotations

import io
import os
import time
from pathlib import Path

import lmdb

from egressd.registry.store import StoreError, StoreReader

DATA_FILE = "data.mdb"
LOCK_FILE = "lock.mdb"
_TRIES = 50
_PAUSE_S = 0.02
_BLOCK = 1 << 20
_MAX_DATABASES = 16


def open_store(path: str | Path) -> StoreReader:
    """Open for reading as this user may. Raises `StoreError`."""
    directory = Path(path)
    return StoreReader.open(directory) if may_lock(directory) else StoreCopy.open(directory)


def may_lock(directory: Path) -> bool:
    """Whether this user can read the store in place."""
    return os.access(directory / LOCK_FILE, os.R_OK | os.W_OK)


class StoreCopy(StoreReader):
    """A `StoreReader` of the version that there was when it was opened, or last refreshed."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._take(*_copy(directory))

    def _take(self, memory: int, metas: bytes) -> None:
        self._memory, self._metas = memory, metas
        try:
            super().__init__(
                lmdb.open(
                    f"/proc/self/fd/{memory}",
                    subdir=False,
                    lock=False,
                    readonly=True,
                    max_dbs=_MAX_DATABASES,
                    map_size=max(os.fstat(memory).st_size, _BLOCK),
                )
            )
        except lmdb.Error as error:
            os.close(memory)
            raise StoreError(f"{self._directory}: no registry to read ({error})") from None

    @classmethod
    def open(cls, path: str | Path) -> StoreCopy:
        """Raises `StoreError` when there is nothing to read, or it may not be read."""
        return cls(Path(path))

    def refresh(self) -> None:
        """Raises `StoreError`."""
        with _opened(self._directory / DATA_FILE) as file:
            if _metas(file.fileno()) == self._metas:
                return
        memory, metas = _copy(self._directory)
        self.close()
        self._take(memory, metas)

    def close(self) -> None:
        super().close()
        os.close(self._memory)


def _copy(directory: Path) -> tuple[int, bytes]:
    """A descriptor of memory with one whole version, and its meta pages."""
    with _opened(directory / DATA_FILE) as file:
        memory = os.memfd_create("egressd-registry", os.MFD_CLOEXEC)
        for _ in range(_TRIES):
            metas = _metas(file.fileno())
            os.ftruncate(memory, 0)
            at = 0
            while block := os.pread(file.fileno(), _BLOCK, at):
                at += os.pwrite(memory, block, at)
            if _metas(file.fileno()) == metas == os.pread(memory, len(metas), 0):
                return memory, metas
            time.sleep(_PAUSE_S)
    os.close(memory)
    raise StoreError(f"{directory}: changes faster than it can be read; try again, or as root")


def _opened(path: Path) -> io.FileIO:
    try:
        return io.FileIO(path)
    except PermissionError:
        raise StoreError(
            f"{path}: may not be read by this user; members of the group that it belongs to may "
            "(adduser NAME egressd, then log in again)"
        ) from None
    except OSError as error:
        raise StoreError(
            f"{path.parent}: no registry to read ({error.strerror}); has `egressd run` been started "
            "with this stateDir?"
        ) from None


def _metas(fd: int) -> bytes:
    """The two pages that every commit writes one of."""
    return os.pread(fd, 2 * os.sysconf("SC_PAGE_SIZE"), 0)
