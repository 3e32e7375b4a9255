"""`limits.maxDownstreamConnections`: the node's, counted in shared memory, exact over all workers."""

from __future__ import annotations

from typing import Protocol

from egressd.upstream.node_state import CONNECTIONS, NodeState, slot_key

_SLOT_NAME = "downstream"  # no cluster has a name without "|"


class Admission(Protocol):
    """Who may be served. Each `admit` that said yes is given back by one `release`."""

    limit: int
    waits: bool

    def admit(self) -> bool: ...

    def release(self) -> None: ...


class Unlimited:
    """Everybody may."""

    limit = 0
    waits = False

    def admit(self) -> bool:
        return True

    def release(self) -> None:
        pass


class DownstreamLimit:
    """One worker's access to the node's count. `waits`: who is over it stays in the kernel's queue;
    else it is accepted and closed (Envoy `global_downstream_max_connections`).

    Counted whether limited or not: a reload may set a limit while connections are open.
    """

    def __init__(self, node: NodeState, limit: int, waits: bool) -> None:
        self.limit = limit
        self.waits = waits
        self._node = node
        self._slot = node.breaker(slot_key(_SLOT_NAME))
        self._held = 0

    def admit(self) -> bool:
        """Count one more connection, unless the node has `limit` already."""
        if self._slot < 0:  # the table is full: a worker keeps to its part
            if self.limit and self._held >= self._node.share(self.limit):
                return False
        elif not self.limit:
            self._node.add(self._slot, CONNECTIONS, 1)
        elif not self._node.acquire(self._slot, CONNECTIONS, self.limit):
            return False
        self._held += 1
        return True

    def release(self) -> None:
        """A connection that was admitted is closed."""
        self._held -= 1
        if self._slot >= 0:
            self._node.add(self._slot, CONNECTIONS, -1)
