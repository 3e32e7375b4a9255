"""Client contexts in use: loaded in a thread, shared by all connections of the same files and flags.

Loading the system's roots takes tens of milliseconds and some hundred KiB. The first connection waits
for it, with its own deadline, while the worker serves others; later ones go on with the context in force
while one of newer files is loaded.
"""

from __future__ import annotations

import ssl
from collections.abc import Awaitable, Callable
from time import time

import trio

from egressd.net.fiber import Deadline, Fiber
from egressd.net.readiness import Readiness
from egressd.upstream.spec import TlsSpec
from egressd.upstream.tls import (
    ContextKey,
    Stamp,
    TlsConfigError,
    client_context,
    context_key,
    files_stamp,
    is_settled,
)
from egressd.upstream.tls_sessions import TlsSessions

RECHECK_S = 1.0
"""How often the files of a context in use are looked at, and how long a failure stands, seconds."""
MOST_CONTEXTS = 256
"""Contexts kept; past it the one unused for longest goes."""
_LOADERS = 2  # threads that load at a time

Load = Callable[[ContextKey], Awaitable[ssl.SSLContext]]


class ContextEntry:
    """The context of some files and flags, with the sessions made under it."""

    __slots__ = ("checked", "context", "error", "seen", "sessions", "stamp")

    def __init__(self, context: ssl.SSLContext, stamp: Stamp, now: float) -> None:
        self.context = context
        self.stamp = stamp
        self.seen = stamp  # of the last look
        self.checked = now
        self.error = ""  # why newer files are not in use
        self.sessions = TlsSessions()  # OpenSSL takes a session for its own context only


class _Loading:
    """A load under way, or its failure."""

    __slots__ = ("error", "failed_at", "waiting")

    def __init__(self) -> None:
        self.waiting: list[Fiber] = []
        self.error: TlsConfigError | None = None
        self.failed_at = 0.0


_limiter = trio.CapacityLimiter(_LOADERS)


async def load_in_thread(key: ContextKey) -> ssl.SSLContext:
    """Load off the loop: OpenSSL lets go of the interpreter meanwhile. Raises `TlsConfigError`."""
    return await trio.to_thread.run_sync(client_context, key, limiter=_limiter)


class ContextCache:
    """One entry for each set of files and flags; the files are looked at again while it is used."""

    def __init__(self, loop: Readiness, load: Load = load_in_thread) -> None:
        self._loop = loop
        self._load = load
        self._entries: dict[ContextKey, ContextEntry] = {}
        self._loading: dict[ContextKey, _Loading] = {}

    def __len__(self) -> int:
        return len(self._entries)

    async def get(self, fiber: Fiber, spec: TlsSpec, within_s: float) -> ContextEntry:
        """The entry in force. Files that changed and do not load leave the old one in force.

        Raises `TlsConfigError` when there is none yet and none can be loaded (within that time),
        `Deadline` when the fiber's own comes first.
        """
        key = context_key(spec)
        now = self._loop.clock()
        entry = self._entries.get(key)
        if entry is None:
            return await self._first(fiber, key, within_s)
        if now - entry.checked >= RECHECK_S:
            entry.checked = now
            self._check_files(key, entry)
        return entry

    async def _first(self, fiber: Fiber, key: ContextKey, within_s: float) -> ContextEntry:
        loading = self._loading.get(key)
        now = self._loop.clock()
        if loading is None or (loading.error and now - loading.failed_at >= RECHECK_S):
            loading = self._start_load(key)
        outer = fiber.deadline
        fiber.set_deadline(min(outer, now + within_s))
        loading.waiting.append(fiber)
        try:
            while key not in self._entries:
                if loading.error is not None:
                    raise TlsConfigError(str(loading.error))
                await fiber.wait()
        except Deadline:
            if outer <= now + within_s:
                raise
            raise TlsConfigError(f"the files did not load within {within_s:g}s") from None
        finally:
            loading.waiting.remove(fiber)
            fiber.set_deadline(outer)
        return self._entries[key]

    def _check_files(self, key: ContextKey, entry: ContextEntry) -> None:
        if key in self._loading:
            return
        try:
            stamp = files_stamp(key)
        except TlsConfigError as error:
            entry.error = str(error)
            return
        if stamp != entry.stamp and is_settled(stamp, entry.seen, time()):
            self._start_load(key)
        entry.seen = stamp

    def _start_load(self, key: ContextKey) -> _Loading:
        loading = self._loading[key] = _Loading()

        async def run(fiber: Fiber) -> None:
            failure: TlsConfigError | None = TlsConfigError("the load of the files was broken off")
            try:
                stamp = files_stamp(
                    key
                )  # before the load: what changes meanwhile is seen next time
                context = await self._loop.call(fiber, self._load, key)
                self._put(key, ContextEntry(context, stamp, self._loop.clock()))
                failure = None
            except TlsConfigError as error:
                failure = error
            finally:
                self._loaded(key, loading, failure)

        self._loop.spawn(run)
        return loading

    def _loaded(self, key: ContextKey, loading: _Loading, failure: TlsConfigError | None) -> None:
        entry = self._entries.get(key)
        if entry is None:
            loading.error, loading.failed_at = failure, self._loop.clock()
        else:
            entry.error = str(failure or "")
            del self._loading[key]
        for waiting in loading.waiting:
            waiting.wake()

    def _put(self, key: ContextKey, entry: ContextEntry) -> None:
        self._entries[key] = entry
        if len(self._entries) > MOST_CONTEXTS:
            oldest = min(self._entries, key=lambda one: self._entries[one].checked)
            del self._entries[oldest]
