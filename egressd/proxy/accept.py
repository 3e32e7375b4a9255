"""What accept(2) may fail with, and how little is said of it: decisions of a listener, no system call.

accept(2): "Linux accept() passes already-pending network errors on the new socket as an error code
from accept(). [...] For reliable operation the application should detect the network errors defined
for the protocol after accept() and treat them like EAGAIN by retrying."
"""

from __future__ import annotations

import enum
import errno


class AcceptFault(enum.Enum):
    """What an error of accept(2) is about."""

    NOTHING = "nothing"  # no connection waits
    CONNECTION = "connection"  # this one is lost: the next may be well
    SHORTAGE = "shortage"  # descriptors or memory: the kernel's queue holds the rest
    LISTENER = "listener"  # the socket cannot be accepted from


_NOTHING = {errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR}
_SHORTAGE = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.ENOSR}
_LISTENER = {errno.EBADF, errno.EINVAL, errno.ENOTSOCK, errno.EFAULT}


def fault_of(number: int | None) -> AcceptFault:
    """Every errno that is not known to be about the listener or a shortage is the connection's: EPERM
    (a firewall or security module), EPROTO, ECONNABORTED, ENETDOWN, EHOSTUNREACH and their like."""
    if number in _NOTHING:
        return AcceptFault.NOTHING
    if number in _SHORTAGE:
        return AcceptFault.SHORTAGE
    if number in _LISTENER:
        return AcceptFault.LISTENER
    return AcceptFault.CONNECTION


REPEAT_S = 60.0
"""How often a trouble that lasts is told of."""


class AcceptTrouble:
    """What is told of one kind of trouble: when it begins, every minute while it lasts, and when it is
    over. Seconds of `time.monotonic`."""

    __slots__ = ("_last", "_since", "_told", "count")

    def __init__(self) -> None:
        self._since = 0.0
        self._told = 0.0
        self._last = 0.0
        self.count = 0  # since it began

    def happened(self, now: float) -> bool:
        """Once more. Whether this is to be told of."""
        self._last = now
        if not self.count:
            self._since = now
        self.count += 1
        if self.count > 1 and now - self._told < REPEAT_S:
            return False
        self._told = now
        return True

    def passed(self, now: float, quiet_s: float = 0.0) -> float:
        """All is well. How long the trouble lasted, seconds, when it is over (with this) for at least
        `quiet_s`; else 0."""
        if not self.count or now - self._last < quiet_s:
            return 0.0
        self.count = 0
        return max(self._last - self._since, 1e-9)
