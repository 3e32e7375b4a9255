"""A lease: the place of one request, tunnel or mirror in a cluster, from its admission to its end.

It has all that is counted for it (circuit breakers, active requests of cluster and endpoint) and the
connection it uses, and gives each back exactly once: a second time is a `ReleasedTwice`.
"""

from __future__ import annotations

from egressd.telemetry.stats import ClusterStats
from egressd.upstream.admission import Overflow, ReleasedTwice
from egressd.upstream.cluster import Endpoint
from egressd.upstream.connection import UpstreamConnection
from egressd.upstream.pool import Pool


class Lease:
    """Made where a request is admitted; `release` ends it, whatever it has by then."""

    __slots__ = (
        "_admission",
        "_is_released",
        "_is_request",
        "_retries",
        "connection",
        "endpoint",
        "pool",
        "stats",
    )

    def __init__(self, pool: Pool, stats: ClusterStats, *, is_request: bool = True) -> None:
        """Raises `Overflow`. What is no request (a plain connection) counts as a connection only."""
        self.pool = pool
        self.stats = stats
        self._admission = pool.cluster.admission
        self._is_request = is_request
        self._is_released = False
        self._retries = False  # a retry is under way
        self.endpoint: Endpoint | None = None
        self.connection: UpstreamConnection | None = None
        if is_request:
            if not self._admission.admit_request():
                raise Overflow("http2MaxRequests")
            stats.requests_active += 1

    # -- an attempt ----------------------------------------------------------------------------

    def begin_attempt(self, endpoint: Endpoint) -> None:
        """From here to `end_attempt`, or the end of the lease, the endpoint counts one more."""
        if self.endpoint is not None:
            raise ReleasedTwice("the attempt before has not ended")
        self.endpoint = endpoint
        endpoint.active += 1
        endpoint.requests += 1
        if self._is_request:
            self.stats.requests_total += 1

    def end_attempt(self, *, refused: bool = False) -> None:
        """The attempt is over, or was `refused` before anything was done to the endpoint."""
        endpoint, self.endpoint = self.endpoint, None
        if endpoint is None:
            raise ReleasedTwice("attempt")
        endpoint.active -= 1
        if refused:
            endpoint.requests -= 1

    def use(self, connection: UpstreamConnection) -> None:
        """The connection is this lease's, until it is given back or discarded. It may be one of another
        endpoint that came free first."""
        if self.connection is not None:
            raise ReleasedTwice("the connection before was not given back")
        self.connection = connection
        if connection.endpoint is not self.endpoint:
            assert self.endpoint is not None
            self.endpoint.active -= 1
            self.endpoint.requests -= 1
            self.endpoint = connection.endpoint
            self.endpoint.active += 1
            self.endpoint.requests += 1

    def give_back(self) -> None:
        """The exchange on the connection ended cleanly: it may be used again."""
        connection, self.connection = self.connection, None
        if connection is None:
            raise ReleasedTwice("connection")
        self.pool.release(connection)

    def discard(self) -> None:
        """The connection is not to be used again."""
        connection, self.connection = self.connection, None
        if connection is None:
            raise ReleasedTwice("connection")
        self.pool.discard(connection)

    # -- retries -------------------------------------------------------------------------------

    def begin_retry(self) -> bool:
        """Whether one more retry may be under way (Istio `maxRetries`, `retryBudget`). It counts from
        its back-off to its response head."""
        self._retries = self._admission.admit_retry()
        return self._retries

    def end_retry(self) -> None:
        """The retry got its response head, or failed. Without effect when none is under way."""
        if self._retries:
            self._retries = False
            self._admission.done_retry()

    # -- the end -------------------------------------------------------------------------------

    def release(self) -> None:
        """Give everything back."""
        if self._is_released:
            raise ReleasedTwice("lease")
        self._is_released = True
        if self.connection is not None:
            self.discard()
        if self.endpoint is not None:
            self.endpoint.active -= 1
            self.endpoint = None
        if self._retries:
            self.end_retry()
        if self._is_request:
            self.stats.requests_active -= 1
            self._admission.done_request()
