"""How many more descriptors a process may open, asked for next to nothing."""

from __future__ import annotations

import os
import resource
from collections.abc import Callable
from contextlib import suppress

_MARGIN = 32
"""For files, name servers, the control socket."""


def raise_limit() -> None:
    """Let this process and its children open as many as it may at all (RLIMIT_NOFILE, hard)."""
    with suppress(OSError, ValueError):
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def lowest_free() -> int:
    """The number that the next descriptor gets: that many are open at least. Raises OSError."""
    fd = os.dup(0)
    os.close(fd)
    return fd


class DescriptorReserve:
    """Whether one more client leaves those who are there a descriptor each, for their upstream.

    A client that is accepted with the last descriptor takes it from the requests of all others, which
    fail then as if their upstreams did. The kernel gives out the lowest free number, so that the number
    of an accepted connection says how many are open.
    """

    __slots__ = ("_last", "_lowest_free", "_most")

    def __init__(
        self, limit: int | None = None, lowest_free: Callable[[], int] = lowest_free
    ) -> None:
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0] if limit is None else limit
        self._most = soft - _MARGIN if soft != resource.RLIM_INFINITY else 1 << 30
        self._lowest_free = lowest_free
        self._last = 0

    def took(self, fd: int) -> None:
        """A connection was accepted."""
        self._last = fd

    def is_short(self, clients: int) -> bool:
        """Whether `clients` connections and one more are too many. The first is always taken."""
        if self._last + clients <= self._most or not clients:
            return False
        try:
            self._last = self._lowest_free()
        except OSError:
            return True
        return self._last + clients > self._most
