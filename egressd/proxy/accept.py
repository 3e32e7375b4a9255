"""What accept(2) may fail with.

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
