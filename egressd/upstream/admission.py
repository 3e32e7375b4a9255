"""Circuit breakers of one cluster: what is under way on the node, and whether one more may be.

Everything is counted whether limited or not, so that the counts are right on the day when a limit
comes, goes or comes back while requests are under way. What is given back that was not taken is a
`ReleasedTwice`.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic

from egressd.upstream.node_state import (
    CONNECTIONS,
    PENDING,
    REQUESTS,
    RETRIES,
    WAITING,
    NodeState,
    slot_key,
)
from egressd.upstream.permits import Permits
from egressd.upstream.retry_budget import RecentRequests, most_retries
from egressd.upstream.spec import ClusterSpec


class Overflow(Exception):
    """A circuit breaker is open; `limit` is the Istio field that says so."""

    def __init__(self, limit: str) -> None:
        super().__init__(limit)
        self.limit = limit


class ReleasedTwice(Exception):
    """A place that was given back already: a fault of the caller."""


class Admission:
    """This worker's side of a cluster's limits."""

    __slots__ = (
        "_is_retired",
        "_node",
        "_on_call",
        "_recent",
        "budget",
        "held",
        "limits",
        "permits",
        "slot",
    )

    def __init__(self, node: NodeState) -> None:
        self._node = node
        self.slot = -1  # in the node's counts; -1 = none needed, or none to be had
        self.permits: Permits | None = None  # of the slot
        self.held = [0] * WAITING  # this worker's counts, by what `node_state` calls them
        self._recent: RecentRequests | None = None  # where a retry budget looks back
        self._is_retired = False
        self._on_call: Callable[[], None] | None = None

    def update(self, spec: ClusterSpec) -> None:
        """New configuration."""
        self.limits, self.budget = spec.limits, spec.retry_budget
        looked_back_s = spec.retry_budget.interval_s if spec.retry_budget is not None else 0.0
        if looked_back_s != (self._recent.interval_s if self._recent is not None else 0.0):
            self._recent = RecentRequests(looked_back_s) if looked_back_s else None
        if self.slot < 0 and (spec.limits.is_limited or spec.retry_budget is not None):
            self.slot = self._node.breaker(slot_key(str(spec.key)))
            if self.slot >= 0:
                self.permits = Permits(self._node, self.slot)
                for which, held in enumerate(self.held):
                    self._node.add(self.slot, which, held)
                if self._on_call is not None:
                    self._node.listen(self.slot, self._on_call)

    def retire(self) -> None:
        """The cluster is dropped: its slot is left as soon as nothing is under way."""
        self._is_retired = True
        self._leave_slot()

    def _leave_slot(self) -> None:
        if self.slot >= 0 and not any(self.held):
            if self._on_call is not None:
                self._node.stop_listening(self.slot, self._on_call)
            self._node.leave_breaker(self.slot)
            self.slot, self.permits = -1, None

    def _admit(self, which: int, limit: int | None) -> bool:
        if self.slot < 0:
            # Without a slot (the table is full) a worker keeps to its own part of the limit.
            if limit is not None and self.held[which] >= self._node.share(limit):
                return False
        elif limit is None:
            self._node.add(self.slot, which, 1)
        elif not self._node.acquire(self.slot, which, limit):
            return False
        self.held[which] += 1
        return True

    def _done(self, which: int) -> None:
        if self.held[which] <= 0:
            raise ReleasedTwice(("connection", "pending", "request", "retry")[which])
        self.held[which] -= 1
        if self.slot >= 0:
            self._node.add(self.slot, which, -1)
            if self._is_retired:
                self._leave_slot()

    def admit_request(self) -> bool:
        """Istio `http2MaxRequests` (Envoy `max_requests`): requests under way on the node."""
        if self._recent is not None:
            self._recent.began(monotonic())
        if self.slot < 0 and self.limits.max_requests is None:
            self.held[REQUESTS] += 1  # as `_admit`, a call less for each request
            return True
        return self._admit(REQUESTS, self.limits.max_requests)

    def done_request(self) -> None:
        if self.slot < 0 < self.held[REQUESTS]:
            self.held[REQUESTS] -= 1
        else:
            self._done(REQUESTS)

    def admit_pending(self) -> bool:
        """Istio `http1MaxPendingRequests`: requests waiting for a connection."""
        return self._admit(PENDING, self.limits.max_pending_requests)

    def done_pending(self) -> None:
        self._done(PENDING)

    def admit_retry(self) -> bool:
        """Istio `maxRetries`, or `retryBudget`: retries under way to the whole cluster."""
        budget = self.budget
        if budget is None:
            return self._admit(RETRIES, self.limits.max_retries)
        if self._recent is not None:
            # Each worker counts what began with it, and has its own share of the budget for these.
            share = self._recent.total(monotonic()) * budget.percent / 100.0
            if self.held[RETRIES] + 1 <= share:
                return self._admit(RETRIES, None)
        requests = self._node.total(self.slot, REQUESTS) if self.slot >= 0 else self.held[REQUESTS]
        return self._admit(RETRIES, most_retries(budget, requests))

    def done_retry(self) -> None:
        self._done(RETRIES)

    # -- connections: Istio `maxConnections` ---------------------------------------------------

    @property
    def limit(self) -> int | None:
        """Of connections: the node's, or without a slot this worker's part of it."""
        limit = self.limits.max_connections
        return limit if limit is None or self.slot >= 0 else self._node.share(limit)

    def take_connection(self) -> bool:
        """One more connection. False: the caller is counted as waiting, `leave_line` follows."""
        limit = self.limit
        if self.permits is None:
            if limit is not None and self.held[CONNECTIONS] >= limit:
                return False
        elif limit is None:
            self._node.add(self.slot, CONNECTIONS, 1)
        elif not self.permits.take(limit):
            return False
        self.held[CONNECTIONS] += 1
        return True

    def join_line(self) -> None:
        """One more waits behind others of this worker."""
        if self.permits is not None:
            self.permits.join()

    def leave_line(self) -> None:
        """One waits no longer."""
        if self.permits is not None:
            self.permits.leave()

    def take_for_line(self, wanted: int) -> int:
        """Connections for those who wait, see `Permits.take_for_line`."""
        limit = self.limit
        if limit is None:
            taken = wanted
            if self.slot >= 0:
                self._node.add(self.slot, CONNECTIONS, wanted)
        elif self.permits is None:
            taken = max(0, min(wanted, limit - self.held[CONNECTIONS]))
        else:
            taken = self.permits.take_for_line(limit, wanted)
        self.held[CONNECTIONS] += taken
        return taken

    def give_connection(self, *, keep: bool) -> bool:
        """A connection came free. Returns whether this worker still has it: with `keep` (own requests
        wait, or it may be idle) it has, unless another worker is to have it."""
        if self.held[CONNECTIONS] <= 0:
            raise ReleasedTwice("connection")
        limit = self.limit
        if self.permits is None or limit is None:
            has = keep and (limit is None or self.held[CONNECTIONS] <= limit)
            if not has and self.slot >= 0:
                self._node.add(self.slot, CONNECTIONS, -1)
        else:
            has = self.permits.give(limit, keep=keep)
        if not has:
            self.held[CONNECTIONS] -= 1
            if self._is_retired:
                self._leave_slot()
        return has

    def others_wait(self) -> bool:
        """Whether other workers wait for a connection. A look without the lock."""
        if self.permits is None or self.limits.max_connections is None:
            return False
        return self.permits.others_wait()

    def listen(self, on_call: Callable[[], None]) -> None:
        """`on_call` is called when another worker has granted a connection, or waits for one."""
        self._on_call = on_call
        if self.slot >= 0:
            self._node.listen(self.slot, on_call)
