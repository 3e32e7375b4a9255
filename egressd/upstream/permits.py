"""Connections of one cluster on the node: who may have one, who waits, and to whom a freed one goes.

The limit (Istio `maxConnections`) is exact over all workers: held and granted connections never exceed
it. A worker serves its own line in order. Between workers a freed connection goes where the most wait
for what they hold, and to a worker without any first; a grant is counted for its receiver at once, so
that nobody who comes later takes it. The receiver is told by its eventfd: nobody polls.
"""

from __future__ import annotations

from collections.abc import Sequence

from egressd.upstream.node_state import CONNECTIONS, GRANTED, IDLE, WAITING, Changes, NodeState

NOBODY, KEPT = -1, -2
_HYSTERESIS = 0.5
"""Connections that a share may be off before one moves to another worker, which costs a connect."""


def choose_receiver(held: Sequence[int], needs: Sequence[int], own: int, limit: int) -> int:
    """The worker that a freed connection of worker `own` goes to, `NOBODY` for none but itself.

    `held` includes what was granted, `needs` is how many wait for more than that.
    """
    count = len(held)
    others = [w % count for w in range(own + 1, own + count) if needs[w % count] > 0]
    if not others:
        return NOBODY
    demand = [h + max(0, n) for h, n in zip(held, needs, strict=True)]
    total = sum(demand)
    lacks = {w: limit * demand[w] / total - held[w] for w in (*others, own)}
    neediest = max(others, key=lacks.__getitem__)
    if needs[own] <= 0:
        return neediest
    for worker in others:
        if held[worker] == 0:
            return worker
    if lacks[neediest] > _HYSTERESIS and lacks[own] < -_HYSTERESIS:
        return neediest
    return NOBODY


class Permits:
    """One worker's side of a cluster's slot."""

    __slots__ = ("_connections", "_granted", "_idle", "_node", "_slot", "_waiting")

    def __init__(self, node: NodeState, slot: int) -> None:
        self._node = node
        self._slot = slot
        self._connections = node.place(slot, CONNECTIONS)
        self._granted = node.place(slot, GRANTED)
        self._idle = node.place(slot, IDLE)
        self._waiting = node.place(slot, WAITING)

    def _state(self) -> tuple[list[int], list[int]]:
        """What each worker holds, and how many of its requests wait for more."""
        node, slot = self._node, self._slot
        granted = node.row(slot, GRANTED)
        held = [a + b for a, b in zip(node.row(slot, CONNECTIONS), granted, strict=True)]
        needs = [a - b for a, b in zip(node.row(slot, WAITING), granted, strict=True)]
        return held, needs

    def take(self, limit: int) -> bool:
        """A connection for a newcomer; where there is none, or others wait for what there is, it is
        counted as waiting."""

        def decision() -> tuple[bool, Changes]:
            held, needs = self._state()
            if limit - sum(held) > sum(map(max, needs, [0] * len(needs))):
                return True, ((self._connections, 1),)
            return False, ((self._waiting, 1),)

        taken = self._node.decide(self._slot, decision)
        if not taken:
            self._call_helpers()
        return taken

    def join(self) -> None:
        """One more waits, behind others of this worker."""
        self._node.words[self._waiting] += 1
        if self._node.others(self._slot, IDLE):
            self._call_helpers()

    def leave(self) -> None:
        """One waits no longer."""
        self._node.words[self._waiting] -= 1

    def _call_helpers(self) -> None:
        """Those with idle connections give them up; those that wait look whether there is room."""
        node, slot = self._node, self._slot
        waiting = node.row(slot, WAITING)
        for worker, idle in enumerate(node.row(slot, IDLE)):
            if worker != node.worker and (idle or waiting[worker]):
                node.call(worker, slot)

    def take_for_line(self, limit: int, wanted: int) -> int:
        """Connections for those who wait in this worker: all that were granted, and of what is free as
        many as are wanted. May be more than wanted: somebody may have left."""

        def decision() -> tuple[int, Changes]:
            held, _ = self._state()
            granted = self._node.words[self._granted]
            more = max(0, min(wanted - granted, limit - sum(held)))
            return granted + more, ((self._granted, -granted), (self._connections, granted + more))

        return self._node.decide(self._slot, decision)

    def give(self, limit: int, *, keep: bool) -> bool:
        """A connection of this worker came free. Returns whether the worker still has it: it goes to
        another one that waits, or else (unless it is to `keep`) is given back."""
        node, slot, own = self._node, self._slot, self._node.worker

        def decision() -> tuple[int, Changes]:
            held, needs = self._state()
            if sum(held) > limit:  # which was lowered
                return NOBODY, ((self._connections, -1),)
            receiver = choose_receiver(held, needs, own, limit)
            if receiver != NOBODY:
                granted = node.place(slot, GRANTED, receiver)
                return receiver, ((self._connections, -1), (granted, 1))
            if keep:
                return KEPT, ()
            # Own requests that wait, but not for the caller, have to look for themselves.
            return own if needs[own] > 0 else NOBODY, ((self._connections, -1),)

        receiver = node.decide(slot, decision)
        if receiver >= 0:
            node.call(receiver, slot)
        return receiver == KEPT

    def others_wait(self) -> bool:
        """Whether requests wait in other workers. A look without the lock."""
        return self._node.others(self._slot, WAITING) > 0

    def set_idle(self, count: int) -> None:
        """How many connections of this worker are idle: those who wait call it."""
        self._node.words[self._idle] = count
