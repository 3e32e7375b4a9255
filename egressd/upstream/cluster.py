"""A cluster in use by one worker: its endpoints, which of them may be chosen, what is admitted.

The mutable side of the room. Decisions are in `balancer` and `outlier`; what the whole node must
agree on is in `node_state`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import NamedTuple

from egressd.upstream.balancer import (
    Random,
    choose_least_request,
    choose_random,
    choose_round_robin,
)
from egressd.upstream.node_state import (
    CONNECTIONS,
    PENDING,
    REQUESTS,
    RETRIES,
    NodeState,
    slot_key,
)
from egressd.upstream.outlier import (
    HostHealth,
    Outcome,
    eject,
    may_eject,
    observe,
    outcome_of_status,
)
from egressd.upstream.spec import Balancer, ClusterSpec, EndpointSpec

__all__ = ["Cluster", "Endpoint", "EndpointHealth", "Outcome"]

_NEVER = float("inf")
_UNLIMITED = 2**31


class Endpoint:
    """One endpoint in use. Counters are this worker's."""

    __slots__ = (
        "active",
        "connect_failures",
        "connections",
        "current",
        "draining",
        "ejected_until",
        "failures",
        "id",
        "key",
        "requests",
        "slot",
        "spec",
        "weight",
    )

    def __init__(self, spec: EndpointSpec, key: int) -> None:
        self.spec = spec
        self.id = spec.id
        self.key = key
        self.weight = spec.weight
        self.active = 0
        self.current = 0
        self.connections = 0
        self.connect_failures = 0
        self.requests = 0
        self.failures = 0
        self.draining = False
        self.slot = -1  # in the node's health table; -1 = nothing bad seen
        self.ejected_until = 0.0


class EndpointHealth(NamedTuple):
    """One endpoint for tables and dumps. Seconds."""

    id: str
    hostname: str
    weight: int
    healthy: bool
    ejected_for_s: float
    times_ejected: int
    consecutive_errors: int
    active: int
    requests: int
    failures: int
    connections: int


_CHOOSE: dict[Balancer, Callable[[Sequence[Endpoint], int, Random], Endpoint]] = {
    Balancer.LEAST_REQUEST: choose_least_request,
    Balancer.PASSTHROUGH: choose_least_request,
    Balancer.RANDOM: choose_random,
    Balancer.ROUND_ROBIN: choose_round_robin,
}


class Cluster:
    """The endpoints of one cluster and their state in this worker."""

    def __init__(self, spec: ClusterSpec, node: NodeState) -> None:
        self.spec = spec
        self._node = node
        self._name = str(spec.key)
        self.endpoints: tuple[Endpoint, ...] = ()
        self._ready: tuple[Endpoint, ...] = ()
        self._total = 0
        self._fresh_until = 0.0  # when the next ejection ends
        self._epoch = -1
        self._breaker = -1
        self._choose = _CHOOSE[spec.balancer]
        self._requests = 0
        self.update(spec, spec.endpoints)

    # -- membership --------------------------------------------------------------------------

    def update(self, spec: ClusterSpec, endpoints: Sequence[EndpointSpec]) -> None:
        """New configuration; endpoints that stay keep their connections, counters and health."""
        self.spec = spec
        self._choose = _CHOOSE[spec.balancer]
        limits = spec.limits
        limited = (
            limits.max_connections,
            limits.max_pending_requests,
            limits.max_requests,
            limits.max_retries,
        )
        if self._breaker < 0 and any(limit is not None for limit in limited):
            self._breaker = self._node.breaker(slot_key(self._name))
        self.set_resolved(endpoints)

    def set_resolved(self, endpoints: Sequence[EndpointSpec]) -> None:
        """The endpoints as they are now (configured, or what names resolve to)."""
        known = {endpoint.id: endpoint for endpoint in self.endpoints}
        kept: dict[str, Endpoint] = {}
        for spec in endpoints:
            endpoint = known.get(spec.id)
            if endpoint is None:
                endpoint = Endpoint(spec, slot_key(f"{self._name} {spec.id}"))
            endpoint.spec = spec
            endpoint.weight = spec.weight
            endpoint.draining = False
            kept[spec.id] = endpoint
        for name, endpoint in known.items():
            if name not in kept:
                endpoint.draining = True
        self.endpoints = tuple(kept.values())
        self._epoch = -1

    # -- choosing ----------------------------------------------------------------------------

    def pick(self, now: float, rng: Random, tried: Collection[object] = ()) -> Endpoint | None:
        """An endpoint that may be chosen, rather one not tried yet; None when there is none."""
        if now >= self._fresh_until or self._epoch != self._node.words[0]:
            self._refresh(now)
        ready = self._ready
        if not ready:
            return None
        if tried:
            untried = tuple(endpoint for endpoint in ready if endpoint not in tried)
            if untried:
                return self._choose(untried, sum(e.weight for e in untried), rng)
        return self._choose(ready, self._total, rng)

    def _refresh(self, now: float) -> None:
        node = self._node
        self._epoch = node.words[0]
        fresh_until = _NEVER
        ready = []
        for endpoint in self.endpoints:
            endpoint.slot = slot = node.find_health(endpoint.key)
            until = node.read_health(slot).ejected_until if slot >= 0 else 0.0
            endpoint.ejected_until = until
            if until > now and self.spec.outlier is not None:
                fresh_until = min(fresh_until, until)
            elif endpoint.weight > 0:
                ready.append(endpoint)
        policy = self.spec.outlier
        if policy is not None and policy.min_health_percent and self.endpoints:
            # Istio `minHealthPercent`: too few left, so balance over all of them.
            if len(ready) * 100 < policy.min_health_percent * len(self.endpoints):
                ready = [endpoint for endpoint in self.endpoints if endpoint.weight > 0]
        self._ready = tuple(ready)
        self._total = sum(endpoint.weight for endpoint in ready)
        self._fresh_until = fresh_until

    # -- outlier detection -------------------------------------------------------------------

    def report_success(self, endpoint: Endpoint) -> None:
        """An attempt went well: consecutive errors start anew. Next to free without any."""
        if self._epoch != self._node.words[0]:
            endpoint.slot = self._node.find_health(endpoint.key)
        slot = endpoint.slot
        if slot >= 0 and self._node.has_errors(slot):
            self._reset(endpoint)

    def _reset(self, endpoint: Endpoint) -> None:
        node = self._node
        policy = self.spec.outlier
        if policy is None:
            return
        with node.health_lock():
            slot = node.find_health(endpoint.key)
            if slot >= 0:
                before = node.read_health(slot)
                after, _ = observe(before, policy, Outcome.SUCCESS)
                node.write_health(slot, after, before.ejected_until)

    def report_status(self, endpoint: Endpoint, status: int, now: float) -> str | None:
        """An attempt ended with this status. The rule that ejected the endpoint, if one did."""
        if self.spec.outlier is None:
            return None
        outcome = outcome_of_status(self.spec.outlier, status)
        if outcome is Outcome.SUCCESS:
            self.report_success(endpoint)
            return None
        return self.report(endpoint, outcome, now)

    def report(self, endpoint: Endpoint, outcome: Outcome, now: float) -> str | None:
        """An attempt failed. The rule that ejected the endpoint now, if one did."""
        policy = self.spec.outlier
        if policy is None:
            return None
        node = self._node
        with node.health_lock():
            slot = node.claim_health(endpoint.key, now)
            if slot < 0:
                return None
            health, rule = observe(node.read_health(slot), policy, outcome)
            if health.is_ejected(now):
                rule = None  # late answers of requests that were under way
            if rule is not None and not may_eject(policy, self._ejected(now), len(self.endpoints)):
                rule = None
            if rule is not None:
                health = eject(health, policy, now)
            node.write_health(slot, health, now)
            endpoint.slot = slot
        return rule.value if rule is not None else None

    def _ejected(self, now: float) -> int:
        return sum(1 for health in map(self._health, self.endpoints) if health.is_ejected(now))

    def _health(self, endpoint: Endpoint) -> HostHealth:
        slot = self._node.find_health(endpoint.key)
        return self._node.read_health(slot) if slot >= 0 else HostHealth()

    def health(self, now: float) -> list[EndpointHealth]:
        """Every endpoint with its node-wide health and this worker's counters."""
        listed = []
        for endpoint in self.endpoints:
            health = self._health(endpoint)
            left = max(0.0, health.ejected_until - now) if self.spec.outlier is not None else 0.0
            errors = max(health.server_errors, health.gateway_errors, health.local_errors)
            listed.append(
                EndpointHealth(
                    endpoint.id,
                    endpoint.spec.hostname,
                    endpoint.weight,
                    left == 0.0,
                    round(left, 3),
                    health.multiplier,
                    errors,
                    endpoint.active,
                    endpoint.requests,
                    endpoint.failures,
                    endpoint.connections,
                )
            )
        return listed

    # -- circuit breakers --------------------------------------------------------------------

    def _admit(self, which: int, limit: int | None) -> bool:
        return limit is None or self._breaker < 0 or self._node.acquire(self._breaker, which, limit)

    def _done(self, which: int, limit: int | None) -> None:
        if limit is not None and self._breaker >= 0:
            self._node.release(self._breaker, which)

    def admit_request(self) -> bool:
        """Istio `http2MaxRequests` (Envoy `max_requests`): requests under way on the node."""
        limit = self.spec.limits.max_requests
        return limit is None or self._admit(REQUESTS, limit)

    def done_request(self) -> None:
        self._done(REQUESTS, self.spec.limits.max_requests)

    def admit_pending(self) -> bool:
        """Istio `http1MaxPendingRequests`: requests waiting for a connection. Counted for every
        limited cluster, so that workers see each other wait."""
        if self._breaker < 0:
            return True
        limit = self.spec.limits.max_pending_requests
        return self._node.acquire(self._breaker, PENDING, _UNLIMITED if limit is None else limit)

    def done_pending(self) -> None:
        if self._breaker >= 0:
            self._node.release(self._breaker, PENDING)

    def admit_connection(self) -> bool:
        """Istio `maxConnections`."""
        return self._admit(CONNECTIONS, self.spec.limits.max_connections)

    def done_connection(self) -> None:
        self._done(CONNECTIONS, self.spec.limits.max_connections)

    def admit_retry(self) -> bool:
        """Istio `maxRetries`: retries under way to the whole cluster."""
        return self._admit(RETRIES, self.spec.limits.max_retries)

    def done_retry(self) -> None:
        self._done(RETRIES, self.spec.limits.max_retries)

    def others_wait_for_connection(self) -> bool:
        """Whether another worker's request waits for a connection that this one could give up."""
        return self._breaker >= 0 and self._node.others(self._breaker, PENDING) > 0
