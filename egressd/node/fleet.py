"""The children of the node: filling seats, seeing ends, keeping watch over pulses. Mechanics; what
the node wants of its children is said by `egressd.node.supervisor`."""

from __future__ import annotations

import os
import selectors
import signal
import socket
from collections.abc import Callable, Iterable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import partial
from time import monotonic, time

import structlog

from egressd.node.bootstrap_model import Bootstrap
from egressd.node.children import Child, Seat, fork_child, reap
from egressd.node.holdings import Holdings
from egressd.node.inherited import Inherited
from egressd.node.lending import Holder, Lending
from egressd.node.lifeline import Lifeline, is_stuck
from egressd.node.signals import OTHERS_SERVE
from egressd.node.socket_desk import Lent, Line, SocketDesk
from egressd.node.stand_in import StandIn, any_well
from egressd.node.status import ChildState, ChildStatus, ListenerStatus

WorkerEntry = Callable[[Bootstrap, Inherited, int, Callable[[], None], Callable[[], None]], None]
"""Serves as worker `index`; calls the first callable once it does, the second every second."""

RegistryEntry = Callable[[Bootstrap, Inherited, str], None]
"""Runs the sources and publishes to the store at the given path."""

START_TIMEOUT_S = 30.0
ABORT_PATIENCE_S = 1.0
DRAIN_MARGIN_S = 5.0  # past the drain timeout, which workers keep themselves
REGISTRY_PATIENCE_S = 10.0
_FORK_RETRY_S = 1.0

log = structlog.get_logger("egressd.supervisor")


@dataclass(frozen=True, slots=True)
class Entries:
    """What the children run."""

    worker: WorkerEntry
    registry: RegistryEntry


class Fleet:
    """Seats that are kept filled, and children that are on their way out."""

    def __init__(
        self,
        holdings: Holdings,
        entries: Entries,
        selector: selectors.BaseSelector,
        leave_behind: Callable[[], None],
        *,
        workers_outlive: bool = False,
    ) -> None:
        self.seats: list[Seat] = []
        self.leaving: list[tuple[Seat, Child]] = []
        self.changed = True  # since somebody last looked
        self.restarts = {"worker": 0, "registry": 0}  # since the node started, all generations
        self._holdings = holdings
        self._entries = entries
        self._selector = selector
        self.desk = SocketDesk(selector, holdings.listeners, self._desk_changed)
        self._lending = Lending(self.desk.send)
        self._stand_in = StandIn()
        self._leave_behind = leave_behind  # closes in a child what is only the supervisor's
        self._workers_outlive = workers_outlive  # there is somebody who starts the next supervisor

    def _desk_changed(self) -> None:
        self.changed = True

    def seat_registry(self, bootstrap: Bootstrap) -> None:
        """Have a seat for the registry process, to be filled next, unless there is one."""
        if not any(seat.role == "registry" for seat in self.seats):
            self.seats.insert(0, Seat("registry", 0, bootstrap))

    # -- filling -----------------------------------------------------------------------------

    def fill_due(self, now: float) -> None:
        """Start a child for each empty seat whose time has come."""
        for seat in self.seats:
            if seat.child is None and seat.due <= now:
                self._fill(seat, now)

    def next_due(self) -> float:
        """When the next empty seat is to be filled; infinite when none is empty."""
        return min((seat.due for seat in self.seats if seat.child is None), default=float("inf"))

    def _fill(self, seat: Seat, now: float) -> None:
        try:
            self._start(seat, now)
        except OSError as error:
            log.error("cannot start a process", role=seat.role, index=seat.index, error=str(error))
            seat.due = now + _FORK_RETRY_S

    def _start(self, seat: Seat, now: float) -> None:
        """Raises OSError where processes, memory or descriptors are short; nothing is kept then."""
        with ExitStack() as undo, ExitStack() as child_ends:
            ready_fd, child_ready_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
            undo.callback(os.close, ready_fd)
            child_ends.callback(os.close, child_ready_fd)
            slot = self._holdings.pulses.take_slot()
            undo.callback(self._holdings.pulses.give_back, slot)
            line = None
            if seat.role == "worker":
                line = self.desk.open_line(seat, seat.slot)
                undo.callback(self.desk.close_line, line)
                child_ends.callback(line.child_end.close)
            pid, pidfd = fork_child(
                f"egressd-w{seat.index}" if seat.role == "worker" else "egressd-reg",
                partial(self._prepare_child, ready_fd, line),
                self._entry(seat, child_ready_fd, slot, line),
                outlives=seat.role == "worker" and self._workers_outlive,
            )
            undo.pop_all()
        child = Child(pid, pidfd, ready_fd, slot, now, time(), line=line)
        seat.child = child
        if seat.role == "registry":  # workers do not wait for it: it has no ready of its own
            child.state = ChildState.READY
        self._selector.register(pidfd, selectors.EVENT_READ, partial(self._ended, seat, child))
        self._selector.register(ready_fd, selectors.EVENT_READ, partial(self._spoke, seat, child))
        self.changed = True
        log.info("started", role=seat.role, index=seat.index, pid=pid)

    def _entry(self, seat: Seat, ready_fd: int, slot: int, line: Line | None) -> Callable[[], None]:
        """What the child of `seat` does, after closing what is not its own."""
        holdings, entries = self._holdings, self._entries
        if line is not None:
            desk_fd = line.child_end.fileno()
            inherited = holdings.for_worker(seat.index, seat.share, ready_fd, slot, desk_fd)
        else:
            inherited = holdings.for_registry(ready_fd, slot)

        def enter() -> None:
            holdings.close_in_child(inherited)
            line = Lifeline(inherited)
            if seat.role == "worker":
                entries.worker(seat.bootstrap, inherited, seat.index, line.ready, line.beat)
            else:
                entries.registry(seat.bootstrap, inherited, seat.bootstrap.store_path)

        return enter

    def _prepare_child(self, ready_fd: int, line: Line | None) -> None:
        self._leave_behind()
        self._holdings.stray.redirect_in_child()
        self.desk.close_in_child(line)
        os.close(ready_fd)
        for child in self.children():
            child.close()

    # -- what children do --------------------------------------------------------------------

    def _spoke(self, seat: Seat, child: Child) -> None:
        """The ready pipe is readable: the child serves, or has ended without a word."""
        if child.ready_fd < 0:
            return  # its end came in the same batch of events
        with suppress(BlockingIOError):
            if os.read(child.ready_fd, 1) and child.state is ChildState.STARTING:
                child.state = ChildState.READY
                log.info("ready", role=seat.role, index=seat.index, pid=child.pid)
        self._selector.unregister(child.ready_fd)
        os.close(child.ready_fd)
        child.ready_fd = -1
        self.changed = True

    def _ended(self, seat: Seat, child: Child) -> None:
        reason = reap(child)
        self._selector.unregister(child.pidfd)
        if child.ready_fd >= 0:
            self._selector.unregister(child.ready_fd)
        child.close()
        if child.line is not None:
            self.desk.close_line(child.line)
        self._holdings.pulses.give_back(child.pulse_slot)
        if seat.role == "worker":  # what it held of the node's limits is free
            self._holdings.node_state.forget_worker(seat.index)
        self.changed = True
        if seat.child is child:
            self._vacated(seat, child, reason)
            return
        self.leaving = [pair for pair in self.leaving if pair[1] is not child]
        log.info("ended", role=seat.role, index=seat.index, pid=child.pid, how=reason)

    def _vacated(self, seat: Seat, child: Child, reason: str) -> None:
        now = monotonic()
        expected = seat.replacing
        seat.vacate(reason, now)
        if seat.role == "registry":
            # It may have ended between publishing a version and telling of it.
            self._holdings.ring()
        if seat.is_last:
            self.seats.remove(seat)
            log.info("ended", role=seat.role, index=seat.index, pid=child.pid, how=reason)
        if expected or seat.is_last:
            return
        self.restarts[seat.role] += 1
        level = log.error if seat.in_crash_loop else log.warning
        level(
            "crash loop: trying on" if seat.in_crash_loop else "ended unexpectedly",
            role=seat.role,
            index=seat.index,
            pid=child.pid,
            how=reason,
            restart_in_s=round(seat.due - now, 3),
            restarts=seat.restarts,
        )

    # -- sending them away -------------------------------------------------------------------

    def retire(
        self, seats: Iterable[Seat], now: float, patience_s: float, *, others_serve: bool = True
    ) -> None:
        """Drain the children of `seats` (SIGTERM) and fill these seats no more. `others_serve`: workers
        on the same sockets do, so that those who leave may take their time."""
        gone = list(seats)
        self.seats = [seat for seat in self.seats if seat not in gone]
        self.changed = True
        for seat in gone:
            self.desk.forget(seat)
            child, seat.child = seat.child, None
            if child is not None:
                child.state = ChildState.DRAINING
                child.kill_at = now + patience_s
                if others_serve and seat.role == "worker":
                    child.send(OTHERS_SERVE)
                child.send(signal.SIGTERM)
                self.leaving.append((seat, child))

    def replace(self, seat: Seat, now: float, patience_s: float) -> None:
        """End the seat's child; the next one follows at once."""
        if seat.child is None:
            seat.due = now
            return
        seat.replacing = True
        seat.child.state = ChildState.DRAINING
        seat.child.kill_at = now + patience_s
        seat.child.send(signal.SIGTERM)
        self.changed = True

    def kill_leaving(self) -> None:
        """Patience is over for all that are on their way out."""
        for _, child in self.leaving:
            child.kill_at = 0.0

    # -- watching ----------------------------------------------------------------------------

    def watch(self, now: float, awake_since: float) -> int:
        """Kill what is stuck or has outlived patience. Returns how many draining workers were."""
        for seat in self.seats:
            if seat.child is not None and seat.child.kill_at > now:
                self._watch_pulse(seat, seat.child, now, awake_since)
        overdue = [(seat, child) for seat, child in self._all() if child.kill_at <= now]
        for seat, child in overdue:
            child.kill_at = float("inf")
            child.send(signal.SIGKILL)
            log.warning("killed", role=seat.role, index=seat.index, pid=child.pid)
        return sum(seat.role == "worker" and seat.child is not child for seat, child in overdue)

    def _watch_pulse(self, seat: Seat, child: Child, now: float, awake_since: float) -> None:
        if child.aborted:
            return
        silent = is_stuck(
            self._holdings.pulses.last(child.pulse_slot),
            awake_since,
            now,
            seat.bootstrap.limits.heartbeat_timeout,
        )
        starting = child.state is ChildState.STARTING
        if not silent and not (
            starting and now - max(child.started, awake_since) > START_TIMEOUT_S
        ):
            return
        log.error(
            "not ready in time" if starting else "stuck: no heartbeat",
            role=seat.role,
            index=seat.index,
            pid=child.pid,
        )
        child.aborted = True
        child.kill_at = now + ABORT_PATIENCE_S
        child.send(signal.SIGABRT)  # faulthandler writes where it stands

    def attend(self, now: float) -> None:
        """Let no accept queue wait for a worker that is stuck, or not there."""
        workers = self.workers()
        holders = [self._holder(seat) for seat in workers]
        self._lending.update(holders, now, self.desk.spare())
        owners = [one for one, seat in zip(holders, workers, strict=True) if not seat.stands_in]
        there = [seat for seat in workers if seat.stands_in]
        if there and any_well(owners, now):
            log.info("workers take connections again: the one that stood in drains")
            self.retire(there, now, there[0].bootstrap.limits.drain_timeout + DRAIN_MARGIN_S)
        elif not there and self._stand_in.is_wanted(owners, now):
            self._start_stand_in(workers[0], now)

    def _holder(self, seat: Seat) -> Holder:
        child = seat.child
        if child is not None and child.state is ChildState.READY:
            seat.last_sign = max(seat.last_sign, self._holdings.pulses.last(child.pulse_slot))
        queues = {sock: Lent(0, name) for name, sock in seat.share}
        for place, sock in self.desk.sockets_of(seat.slot):
            if sock.family != socket.AF_UNIX:  # all workers have the same one
                queues[sock] = Lent(0, "", *place)
        line = child.line if child is not None else None
        return Holder(seat.index, line, seat.last_sign, seat.is_serving, queues)

    def _start_stand_in(self, owner: Seat, now: float) -> None:
        free = self.free_indices(len(self._holdings.bells))
        if free:
            log.warning("no worker takes connections: one more is started", index=free[0])
            self.seats.append(
                Seat(
                    "worker",
                    free[0],
                    owner.bootstrap,
                    owner.share,
                    slot=owner.slot,
                    stands_in=True,
                )
            )
            self.fill_due(now)

    def claim_sockets(self) -> None:
        """All workers serve: take what a supervisor before left, and close what nobody wants."""
        self.desk.take_spare()
        self._holdings.listeners.close_unwanted()

    # -- looking -----------------------------------------------------------------------------

    def children(self) -> list[Child]:
        """Every living process."""
        return [child for _, child in self._all()]

    def workers(self) -> list[Seat]:
        """The seats of workers."""
        return [seat for seat in self.seats if seat.role == "worker"]

    def free_indices(self, limit: int) -> list[int]:
        """Worker indices that no process has: a replacement never shares its predecessor's bell,
        counters or socket while both live."""
        taken = {seat.index for seat in self.workers()}
        taken |= {seat.index for seat, _ in self.leaving if seat.role == "worker"}
        return [index for index in range(limit) if index not in taken]

    def listeners(self, bootstrap: Bootstrap) -> tuple[ListenerStatus, ...]:
        """Each listener and each port that resources ask for, for the status file."""
        own = self._holdings.listeners.addresses(bootstrap)
        return (
            *(ListenerStatus(*place) for place in own),
            *(
                ListenerStatus(one.name, one.address, one.port, error)
                for one, error in self.desk.places()
            ),
        )

    def statuses(self) -> tuple[ChildStatus, ...]:
        """Each child and each waiting seat, for the status file."""
        waiting = [(seat, None) for seat in self.seats if seat.child is None]
        return tuple(
            ChildStatus(
                role=seat.role,
                index=seat.index,
                pid=child.pid if child else 0,
                state=child.state if child else ChildState.WAITING,
                started_at=child.started_at if child else 0.0,
                restarts=seat.restarts,
                last_exit=seat.last_exit,
                crash_loop=seat.in_crash_loop,
            )
            for seat, child in (*self._all(), *waiting)
        )

    def _all(self) -> list[tuple[Seat, Child]]:
        seated = [(seat, seat.child) for seat in self.seats if seat.child is not None]
        return [*seated, *self.leaving]
