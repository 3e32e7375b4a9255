"""The readiness source: one edge-triggered epoll inside one trio task, and the fibers it steps.

Rules of this file:
- a batch of events is resolved before anything runs: flags are set on the streams that the descriptors
  belong to now, and who waits is put into the ready queue. A stream that takes over a descriptor's
  number while the batch is handled gets none of its events;
- a pass steps what was ready when it began, each once; what becomes ready meanwhile comes next;
- trio's other tasks get their turn after a few passes, however much is ready;
- an exception that leaves a fiber ends that fiber alone (and its group) and is reported, never the loop.
"""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from time import monotonic
from typing import Protocol, TypeVar

import outcome
import trio

from egressd.net.deadlines import DeadlineQueue, Timed
from egressd.net.fiber import Fiber, MakeCoroutine, Steppable
from egressd.net.listening import Listening

IN, OUT, ERR, HUP, RDHUP = (
    select.EPOLLIN,
    select.EPOLLOUT,
    select.EPOLLERR,
    select.EPOLLHUP,
    select.EPOLLRDHUP,
)
_EVENTS = IN | OUT | RDHUP | select.EPOLLET
_READ = IN | ERR | HUP | RDHUP
_WRITE = OUT | ERR | HUP
_DEAD = ERR | HUP
_ENDED = RDHUP | HUP | ERR

_BATCH = 256
_PASSES = 4
"""Passes in a row before trio's other tasks get their turn."""
_NEVER = float("inf")
T = TypeVar("T")


class Pollable(Protocol):
    """The part of a stream that the loop touches."""

    fd: int
    readable: bool
    writable: bool
    ended: bool
    dead: bool
    read_waiter: Steppable | None
    write_waiter: Steppable | None
    end_waiter: Steppable | None


class Readiness:
    """The loop: owns the epoll, all fibers of the worker, and their deadlines."""

    def __init__(
        self, on_error: Callable[[Exception], None], clock: Callable[[], float] = monotonic
    ) -> None:
        self._epoll = select.epoll()
        self._streams: dict[int, Pollable] = {}
        self._kick = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        self._epoll.register(self._kick, IN | select.EPOLLET)
        self._sweep_scope: trio.CancelScope | None = None
        self._nursery: trio.Nursery | None = None
        self.ready: deque[Steppable] = deque()
        self.stepping = False  # a pass is under way: what becomes ready waits for the next one
        self.passes = 0
        self.deadlines = DeadlineQueue()
        self.fibers: set[Fiber] = set()
        self.listening = Listening()
        self.report = on_error
        self.clock = clock

    def add(self, stream: Pollable) -> None:
        """Watch a stream from now until it is removed. One epoll_ctl in its life."""
        self._streams[stream.fd] = stream
        self._epoll.register(stream.fd, _EVENTS)

    def remove(self, fd: int) -> None:
        """Forget a stream; the caller closes the descriptor, which leaves epoll by itself."""
        self._streams.pop(fd, None)

    # -- fibers ------------------------------------------------------------------------------

    def spawn(self, make: MakeCoroutine) -> Fiber:
        """Start a fiber of no group: its error is reported and ends it alone. `make` gets the fiber
        that its coroutine will wait with."""
        fiber = Fiber(self, make, None)
        self.schedule(fiber)
        return fiber

    def schedule(self, one: Steppable) -> None:
        """Put into the ready queue, once. Outside a pass the queue is run at once."""
        if not one.queued:
            one.queued = True
            self.ready.append(one)
            if not self.stepping:
                self.run_ready()

    def run_ready(self) -> bool:
        """Step what is ready now, each once. Returns whether anything was."""
        if self.stepping or not self._step_all():
            return False
        if self.ready:
            os.eventfd_write(self._kick, 1)  # the loop's task may be waiting for events
        return True

    def _step_all(self, events: Iterable[tuple[int, int]] = ()) -> bool:
        """One pass: a batch of events is resolved (flags on streams, and who waits for them is ready),
        then what is ready is stepped, each once. Returns whether anything was."""
        ready = self.ready
        streams = self._streams
        for fd, event in events:
            stream = streams.get(fd)
            if stream is None:
                continue
            if event & _ENDED:
                stream.ended = True
                if event & _DEAD:
                    stream.dead = True
                waiter = stream.end_waiter
                if waiter is not None and not waiter.queued:
                    waiter.queued = True
                    ready.append(waiter)
            if event & _READ:
                stream.readable = True
                waiter = stream.read_waiter
                if waiter is not None and not waiter.queued:
                    waiter.queued = True
                    ready.append(waiter)
            if event & _WRITE:
                stream.writable = True
                waiter = stream.write_waiter
                if waiter is not None and not waiter.queued:
                    waiter.queued = True
                    ready.append(waiter)
        count = len(ready)
        if not count:
            return False
        self.stepping = True
        self.passes += 1
        try:
            while count:
                ready.popleft().step()
                count -= 1
        finally:
            self.stepping = False
        return True

    async def call(self, fiber: Fiber, function: Callable[..., Awaitable[T]], *args: object) -> T:
        """Run a trio function for a fiber. The fiber's deadline cancels it and raises `Deadline`."""
        if self._nursery is None:
            raise RuntimeError("the readiness loop is not running")
        box: list[outcome.Outcome[T]] = []
        scope = trio.CancelScope()

        async def run() -> None:
            with scope:
                try:
                    box.append(outcome.Value(await function(*args)))
                except Exception as error:
                    box.append(outcome.Error(error))
            fiber.wake()

        self._nursery.start_soon(run)
        try:
            while not box:
                await fiber.wait()
        finally:
            scope.cancel()
        return box[0].unwrap()

    # -- the loop ----------------------------------------------------------------------------

    async def run(self) -> None:
        """Serve until cancelled, then end every fiber where it waits."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._sweep_forever)
                poll, step_all, ready = self._epoll.poll, self._step_all, self.ready
                while True:
                    await trio.lowlevel.wait_readable(self._epoll.fileno())
                    step_all(poll(0, _BATCH))
                    while ready:
                        for _ in range(_PASSES):
                            if not step_all(poll(0, _BATCH)):
                                break
                        await trio.lowlevel.checkpoint()
        finally:
            self._nursery = None
            self.close()

    def turn(self) -> bool:
        """One pass with the events there are. Returns whether anything ran. Never waits."""
        return self._step_all(self._epoll.poll(0, _BATCH))

    def close(self) -> None:
        """End every fiber where it waits, and the loop."""
        stepping, self.stepping = self.stepping, True
        try:
            while self.fibers:
                for fiber in tuple(self.fibers):
                    fiber.end_now()
        finally:
            self.stepping = stepping
            self.ready.clear()
            self._epoll.close()
            os.close(self._kick)

    # -- deadlines ---------------------------------------------------------------------------

    def file(self, timed: Timed) -> None:
        """File a deadline; the sweep comes earlier if it must."""
        if self.deadlines.file(timed) and self._sweep_scope is not None:
            self._sweep_scope.deadline = self._sweep_at()

    def _sweep_at(self) -> float:
        """When the next sweep is due, on trio's clock."""
        return trio.current_time() + max(0.0, self.deadlines.next_at - self.clock())

    async def _sweep_forever(self) -> None:
        while True:
            with trio.CancelScope(deadline=self._sweep_at()) as self._sweep_scope:
                await trio.sleep_forever()
            self.sweep(self.clock())

    def sweep(self, now: float) -> None:
        """Wake every fiber whose deadline passed. Monotonic seconds."""
        due = self.deadlines.due(now)
        if due:
            stepping, self.stepping = self.stepping, True
            for fiber in due:
                fiber.expire()
            self.stepping = stepping
            self.run_ready()
