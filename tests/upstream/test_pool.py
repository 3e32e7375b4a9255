"""The pools of a cluster in two workers under one limit, in any order of events: the limit holds, the
line is served in order, nobody waits while there is room, and everything is given back once."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from egressd.upstream.node_state import CONNECTIONS, GRANTED, IDLE, PENDING, WAITING
from egressd.upstream.spec import PoolLimits
from tests.upstream.pool_stage import SPEC, Node, Request, Worker, tell


class PoolMachine(RuleBasedStateMachine):
    """Requests come, connect, end and leave in two workers."""

    def __init__(self) -> None:
        super().__init__()
        self.node: Node | None = None
        self.cancelled: set[Request] = set()

    @initialize(limit=st.integers(1, 4))
    def start(self, limit: int) -> None:
        self.limit = limit
        self.node = Node(replace(SPEC, limits=PoolLimits(max_connections=limit)))
        self.lines: list[list[Request]] = [[], []]

    @property
    def workers(self) -> list[Worker]:
        assert self.node is not None
        return self.node.workers

    def _settle(self) -> None:
        assert self.node is not None
        before = [list(line) for line in self.lines]
        self.node.settle()
        self.lines = [worker.waiting for worker in self.workers]
        for old, line in zip(before, self.lines, strict=True):
            stayed = [one for one in old if one not in self.cancelled]
            served = [one for one in stayed if one not in line]
            assert stayed[: len(served)] == served, "served out of order"
            rest = stayed[len(served) :]
            assert line[: len(rest)] == rest

    def _any(self, requests: list[list[Request]], pick: int) -> Request | None:
        flat = [one for some in requests for one in some]
        return flat[pick % len(flat)] if flat else None

    @rule(index=st.integers(0, 1), at=st.integers(0, 1), fresh=st.booleans(), bound=st.booleans())
    def arrive(self, index: int, at: int, fresh: bool, bound: bool) -> None:
        worker = self.workers[index]
        had_line = bool(worker.waiting)
        request = worker.arrive(at, fresh=fresh, bound=bound)
        self._settle()
        if had_line:
            assert request.is_waiting or self.lines[index] == [], "a newcomer passed the line"

    @rule(pick=st.integers(0, 99), well=st.booleans())
    def connected(self, pick: int, well: bool) -> None:
        request = self._any([worker.connecting for worker in self.workers], pick)
        if request is not None:
            tell(request, connecting=well)
            self._settle()

    @rule(pick=st.integers(0, 99), end=st.sampled_from(["give back", "give back", "discard"]))
    def finish(self, pick: int, end: str) -> None:
        request = self._any([worker.using for worker in self.workers], pick)
        if request is not None:
            tell(request, end=end)
            self._settle()

    @rule(
        index=st.integers(0, 1),
        what=st.lists(
            st.sampled_from(["end", "end", "discard", "leave", "arrive", "arrive bound"]),
            min_size=2,
            max_size=5,
        ),
    )
    def at_once(self, index: int, what: list[str]) -> None:
        """Several ends, newcomers and leaves before anybody runs."""
        worker = self.workers[index]
        using, waiting = worker.using, worker.waiting
        for one in what:
            if one in ("end", "discard") and using:
                tell(using.pop(0), end="give back" if one == "end" else "discard")
            elif one == "leave" and waiting:
                self._cancel(waiting.pop(0))
            elif one.startswith("arrive"):
                worker.arrive(1, bound=one == "arrive bound")
        self._settle()

    def _cancel(self, request: Request) -> None:
        self.cancelled.add(request)
        request.fiber.cancel()

    @rule(pick=st.integers(0, 99))
    def leave(self, pick: int) -> None:
        request = self._any(
            [worker.waiting + worker.connecting + worker.using for worker in self.workers], pick
        )
        if request is not None:
            self._cancel(request)
            self._settle()

    @rule(pick=st.integers(0, 99))
    def peer_closes(self, pick: int) -> None:
        idle = [(worker, one) for worker in self.workers for one in worker.idle]
        if idle:
            worker, connection = idle[pick % len(idle)]
            worker.peers[connection].close()
            self._settle()

    @precondition(lambda self: self.node is not None)
    @rule(limit=st.integers(1, 4))
    def limit_changes(self, limit: int) -> None:
        self.limit = limit
        for worker in self.workers:
            spec = replace(SPEC, limits=PoolLimits(max_connections=limit))
            worker.cluster.update(spec, spec.endpoints)
            worker.pool.renew()
        self._settle()

    @invariant()
    def counts_are_right(self) -> None:
        if self.node is None:
            return
        open_ = sum(worker.pool.open + len(worker.connecting) for worker in self.workers)
        assert self.node.total(CONNECTIONS) == open_
        assert self.node.total(GRANTED) == 0
        assert self.node.total(WAITING) == sum(map(len, self.lines))
        assert self.node.total(IDLE) == sum(len(worker.idle) for worker in self.workers)
        pending = sum(len(worker.waiting) + len(worker.connecting) for worker in self.workers)
        assert self.node.total(PENDING) == pending
        for worker in self.workers:
            assert worker.loop.errors == []
            for endpoint in worker.cluster.endpoints:
                active = [one for one in worker.requests if one.lease and one.lease.endpoint]
                mine = [one for one in active if one.lease and one.lease.endpoint is endpoint]
                assert endpoint.active == len(mine)

    @invariant()
    def nobody_waits_while_there_is_room(self) -> None:
        if self.node is not None and any(self.lines):
            assert self.node.total(CONNECTIONS) >= self.limit
            assert self.node.total(IDLE) == 0

    def teardown(self) -> None:
        if self.node is None:
            return
        for _ in range(200):
            busy = [one for worker in self.workers for one in worker.requests if not one.fiber.done]
            if not busy:
                break
            for one in busy:
                tell(one, connecting=True, end="give back")
            self._settle()
        assert not busy, "somebody waits for ever"
        for worker in self.workers:
            worker.pool.close()
        assert [self.node.total(which) for which in range(7)] == [0] * 7
        self.node.close()


PoolMachine.TestCase.settings = settings(
    max_examples=60,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestPool = PoolMachine.TestCase
