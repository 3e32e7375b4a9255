"""Signals as bytes on a socket, so that a selector waits for them like for anything else."""

from __future__ import annotations

import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

HANDLED = (
    signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGRTMIN,
)  # fmt: skip
"""Stop, stop (terminal), reload, reopen the access log, upgrade, leave the workers to the next."""

OTHERS_SERVE = signal.SIGUSR2
"""To a worker, before SIGTERM: others serve on in its place, so that nobody waits for its end."""


class SignalPipe:
    """The supervisor's signals. One a process: it owns the interpreter's wakeup descriptor."""

    def __init__(self) -> None:
        self._reader, self._writer = socket.socketpair()
        self._reader.setblocking(False)
        self._writer.setblocking(False)
        self._before = {number: signal.signal(number, _noted) for number in HANDLED}
        signal.set_wakeup_fd(self._writer.fileno(), warn_on_full_buffer=False)

    def fileno(self) -> int:
        """Readable when a signal has come."""
        return self._reader.fileno()

    def take(self) -> list[signal.Signals]:
        """The signals since the last call, in order."""
        try:
            return [signal.Signals(number) for number in self._reader.recv(4096)]
        except BlockingIOError:
            return []

    def close(self) -> None:
        """Give the signals back to whoever had them."""
        signal.set_wakeup_fd(-1)
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._reader.close()
        self._writer.close()

    def close_in_child(self) -> None:
        """The signals of a child that has not set its own handlers yet.

        Ctrl-C reaches the whole process group, yet only the supervisor decides to stop: a child
        ignores SIGINT all its life. A reload that comes early must not end it; SIGTERM may.
        """
        signal.set_wakeup_fd(-1)
        for number in HANDLED:
            signal.signal(number, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_DFL)
        self._reader.close()
        self._writer.close()


@contextmanager
def signals_held() -> Iterator[None]:
    """Signals wait until the block ends: around fork, so that none meets half-made handlers."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _noted(number: int, frame: FrameType | None) -> None:
    """The wakeup descriptor has the signal already."""
