"""Sockets without a task each: one persistent epoll per worker, fibers that wait on it, streams.

The only room of the data plane that makes system calls on sockets. It knows bytes, not protocols,
and imports nothing of egressd.

Why not a trio task a connection: a trio wait re-arms epoll and switches tasks, 5 to 6 us each, two a
request (design: performance). Here a connection is a plain coroutine (a *fiber*) that the readiness
loop, itself one trio task, steps when its socket is ready: edge-triggered, registered once.
"""

from egressd.net.fiber import Cancelled, Deadline, Fiber, FiberGroup
from egressd.net.readiness import Readiness
from egressd.net.stream import Stream, StreamClosed

__all__ = ["Cancelled", "Deadline", "Fiber", "FiberGroup", "Readiness", "Stream", "StreamClosed"]
