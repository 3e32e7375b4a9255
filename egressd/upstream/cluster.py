"""A cluster in use by one worker: its endpoints, which of them may be chosen, what is admitted.

The mutable side of the room. Decisions are in `balancer` and `outlier`; what the whole node must
agree on is in `node_state`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from time import monotonic
from typing import NamedTuple

from egressd.upstream.admission import Admission
from egressd.upstream.arrange import Levels, arrange, choose_level, set_weights
from egressd.upstream.balancer import (
    Lots,
    Random,
    RoundRobin,
    Table,
    choose_least_request,
    choose_random,
)
from egressd.upstream.hashing import DEFAULT_MIN_RING_SIZE, HashTables
from egressd.upstream.node_state import EPOCH, NodeState, slot_key
from egressd.upstream.outlier import (
    HostHealth,
    Outcome,
    current_multiplier,
    eject,
    is_panic,
    may_eject,
    observe,
    outcome_of_status,
)
from egressd.upstream.spec import Balancer, ClusterSpec, EndpointSpec, HashTable
from egressd.upstream.warmup import STEPS

__all__ = ["Cluster", "Endpoint", "EndpointHealth", "Outcome"]

_NEVER = float("inf")


class Endpoint:
    """One endpoint in use. Counters are this worker's."""

    __slots__ = (
        "active",
        "connect_failures",
        "connections",
        "current",
        "draining",
        "failures",
        "id",
        "is_ready",
        "joined",
        "key",
        "last_failure",
        "requests",
        "slot",
        "spec",
        "weight",
    )

    def __init__(self, spec: EndpointSpec, key: int) -> None:
        self.spec = spec
        self.id = spec.id
        self.key = key
        self.weight = 1  # in the smallest numbers, see `reduce_weights`
        self.active = 0
        self.current = 0
        self.connections = 0
        self.connect_failures = 0
        self.requests = 0
        self.failures = 0
        self.last_failure = ""  # of this worker, whenever that was
        self.draining = False
        self.joined = (
            0.0  # monotonic, when it came to a cluster that was in use; 0 = from the start
        )
        self.slot = -1  # in the node's health table; -1 = nothing bad seen
        self.is_ready = True  # may be chosen, as of the last look at the node's health table


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
    last_failure: str = ""


def _chooser(balancer: Balancer) -> Callable[[Lots[Endpoint], Random], Endpoint]:
    if balancer is Balancer.ROUND_ROBIN:
        return RoundRobin()
    return choose_random if balancer is Balancer.RANDOM else choose_least_request


class Cluster:
    """The endpoints of one cluster and their state in this worker."""

    def __init__(self, spec: ClusterSpec, node: NodeState) -> None:
        self.spec = spec
        self._node = node
        self._words = node.words
        self._name = str(spec.key)
        self.endpoints: tuple[Endpoint, ...] = ()
        self._among: Lots[Endpoint] | None = None  # None: see `_levels`
        self._levels: Levels[
            Endpoint
        ] = ()  # percent up to and with each level; (): none may be chosen
        self._ready: tuple[Endpoint, ...] | None = None  # what these were made from
        self._fresh_until = 0.0  # when the next ejection ends
        self._epoch = -1
        self.admission = Admission(node)
        self._tables: HashTables[Endpoint] = HashTables()
        self._choose = _chooser(spec.balancer)
        self._in_use = False
        self._was_warming = False
        self.update(spec, spec.endpoints)
        self._in_use = True

    # -- membership --------------------------------------------------------------------------

    def update(self, spec: ClusterSpec, endpoints: Sequence[EndpointSpec]) -> None:
        """New configuration; endpoints that stay keep their connections, counters and health."""
        if spec.balancer is not self.spec.balancer:
            self._choose = _chooser(spec.balancer)
        self.spec = spec
        self.admission.update(spec)
        self.set_resolved(endpoints)

    def set_resolved(self, endpoints: Sequence[EndpointSpec]) -> None:
        """The endpoints as they are now (configured, or what names resolve to)."""
        joined = monotonic() if self._in_use and self.endpoints else 0.0
        known = {endpoint.id: endpoint for endpoint in self.endpoints}
        kept: dict[str, Endpoint] = {}
        for spec in endpoints:
            endpoint = known.get(spec.id)
            if endpoint is None:
                endpoint = Endpoint(spec, slot_key(f"{self._name} {spec.id}"))
                endpoint.joined = joined
            endpoint.spec = spec
            endpoint.draining = False
            kept[spec.id] = endpoint
        for name, endpoint in known.items():
            if name not in kept:
                endpoint.draining = True
        self.endpoints = tuple(kept.values())
        set_weights(self.endpoints, None, 0.0)
        self._ready = None
        self._epoch = -1

    # -- choosing ----------------------------------------------------------------------------

    def pick(
        self,
        now: float,
        rng: Random,
        tried: Collection[object] = (),
        hash_value: int | None = None,
        remote: bool = False,
    ) -> Endpoint | None:
        """An endpoint that may be chosen, rather one not tried yet; None when there is none.

        `hash_value` is the key of consistent hashing; `remote` asks for another locality than those
        tried (Istio `retryRemoteLocalities`).
        """
        if now >= self._fresh_until or self._epoch != self._words[EPOCH]:
            self._refresh(now)
        among = self._among
        if among is None:
            if not self._levels:
                return None
            among = choose_level(self._levels, rng)
        if tried:
            return self._pick_again(among, rng, tried, hash_value, remote)
        if hash_value is not None:
            return self._table(among).choose(hash_value)
        return self._choose(among, rng)

    def _pick_again(
        self,
        among: Lots[Endpoint],
        rng: Random,
        tried: Collection[object],
        hash_value: int | None,
        remote: bool,
    ) -> Endpoint:
        """For a retry: from the same level what was not tried, else from any, else any at all."""
        ready = self._ready or among.endpoints
        if remote:
            seen = {one.spec.locality for one in tried if isinstance(one, Endpoint)}
            far = [one for one in ready if one.spec.locality not in seen]
            if far:
                return self._choose(Lots(far), rng)
        if hash_value is not None and self.spec.hash_table is not None:
            return self._table(among).choose(hash_value, tried)
        for pool in (among.endpoints, ready):
            untried = [endpoint for endpoint in pool if endpoint not in tried]
            if untried:
                return self._choose(Lots(untried), rng)
        return self._choose(among, rng)

    def may_replace(self, other: Endpoint, chosen: Endpoint, now: float) -> bool:
        """Whether a request for which `chosen` was picked freely may as well go to another endpoint, of
        which a connection came free."""
        if now >= self._fresh_until or self._epoch != self._words[EPOCH]:
            self._refresh(now)
        if self.spec.locality is not None and other.spec.locality != chosen.spec.locality:
            return False
        return other.is_ready and not other.draining

    def _table(self, among: Lots[Endpoint]) -> Table[Endpoint]:
        if among.table is None or self._tables.is_filling:
            kind, size = self.spec.hash_table or HashTable("ring", DEFAULT_MIN_RING_SIZE)
            among.table = self._tables.table(kind, size, among.endpoints, self.endpoints)
        return among.table

    def _refresh(self, now: float) -> None:
        node = self._node
        # The epoch first: a change after this line is seen by the next `pick`.
        self._epoch = node.epoch
        policy = self.spec.outlier
        fresh_until = _NEVER
        ready = []
        for endpoint in self.endpoints:
            endpoint.slot = slot = node.find_health(endpoint.key)
            until = node.read_health(slot).ejected_until if slot >= 0 else 0.0
            endpoint.is_ready = until <= now or policy is None
            if endpoint.is_ready:
                ready.append(endpoint)
            else:
                fresh_until = min(fresh_until, until)
        if policy is not None and is_panic(policy, len(ready), len(self.endpoints)):
            ready = list(self.endpoints)
            for endpoint in ready:
                endpoint.is_ready = True
        warming = set_weights(self.endpoints, self.spec.warmup, now)
        if warming and self.spec.warmup is not None:
            fresh_until = min(fresh_until, now + self.spec.warmup.duration_s / STEPS)
        if warming or self._was_warming or self._ready != tuple(ready):
            self._ready = tuple(ready)
            self._among, self._levels = arrange(self.spec.locality, self.endpoints, self._ready)
        self._was_warming = warming
        self._fresh_until = fresh_until

    # -- outlier detection -------------------------------------------------------------------

    def report_success(self, endpoint: Endpoint) -> None:
        """An attempt went well: consecutive errors start anew. Next to free without any."""
        if self._epoch != self._words[EPOCH]:
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
                after, _ = observe(before, policy, Outcome.SUCCESS, before.ejected_until)
                node.write_health(slot, after)

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
        if policy is None or endpoint.draining:
            return None
        node = self._node
        with node.health_lock():
            slot = node.claim_health(endpoint.key, now)
            if slot < 0:
                return None
            health, rule = observe(node.read_health(slot), policy, outcome, now)
            if rule is not None and not may_eject(policy, self._ejected(now), len(self.endpoints)):
                rule = None
            if rule is not None:
                health = eject(health, policy, now)
            node.write_health(slot, health)
            endpoint.slot = slot
        return rule.value if rule is not None else None

    def _ejected(self, now: float) -> int:
        return sum(1 for health in map(self._health, self.endpoints) if health.is_ejected(now))

    def _health(self, endpoint: Endpoint) -> HostHealth:
        slot = self._node.find_health(endpoint.key)
        return self._node.read_health(slot) if slot >= 0 else HostHealth()

    def health(self, now: float) -> list[EndpointHealth]:
        """Every endpoint with its node-wide health and this worker's counters."""
        policy = self.spec.outlier
        listed = []
        for endpoint in self.endpoints:
            health = self._health(endpoint)
            left = max(0.0, health.ejected_until - now) if policy is not None else 0.0
            times = current_multiplier(health, policy, now) if policy is not None else 0
            errors = max(health.server_errors, health.gateway_errors, health.local_errors)
            listed.append(
                EndpointHealth(
                    endpoint.id,
                    endpoint.spec.hostname,
                    endpoint.spec.weight,
                    left == 0.0,
                    round(left, 3),
                    times,
                    errors,
                    endpoint.active,
                    endpoint.requests,
                    endpoint.failures,
                    endpoint.connections,
                    endpoint.last_failure,
                )
            )
        return listed
