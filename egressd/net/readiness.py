"""The readiness source: one edge-triggered epoll inside one trio task, and the fibers it steps.

Rules of this file:
- a fiber waits on streams, on its deadline, or on a trio call; a wake-up may be spurious, so whoever
  waits checks what it waited for and waits again;
- a deadline is one attribute of the fiber; moving it later costs nothing, because the wheel looks at
  the attribute only when the fiber's bucket comes up;
- an exception that leaves a fiber ends that fiber alone and is reported, never the loop.
"""

from __future__ import annotations

import select
import types
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Generator
from time import monotonic
from typing import Protocol, TypeVar

import outcome
import trio

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

TICK_S = 0.005
"""Resolution of deadlines and fiber sleeps, seconds."""

_BATCH = 256
_NEVER = float("inf")
T = TypeVar("T")


class Deadline(Exception):
    """The fiber's deadline passed while it waited."""


class Waiter(Protocol):
    """What a stream wakes: a fiber, or the watcher of an idle connection."""

    def step(self) -> None: ...


class Pollable(Protocol):
    """The part of a stream that the loop touches."""

    fd: int
    readable: bool
    writable: bool
    ended: bool
    dead: bool
    read_waiter: Waiter | None
    write_waiter: Waiter | None
    dead_waiter: Waiter | None


@types.coroutine
def park() -> Generator[None, None, None]:
    """Give control back to the readiness loop until the fiber is stepped."""
    yield


class Fiber:
    """One plain coroutine stepped by the readiness loop.

    `deadline` is in `time.monotonic` seconds, infinite for none. `wait` raises `Deadline` once it has
    passed; the owner moves or clears it before it waits again.
    """

    __slots__ = ("_coro", "_loop", "_send", "bucket", "deadline", "done", "running")

    def __init__(self, loop: Readiness) -> None:
        self._loop = loop
        self._coro: Coroutine[None, None, None] | None = None
        self.deadline = _NEVER
        self.bucket = 0  # the wheel tick under which this fiber is filed; 0 = none
        self.done = False
        self.running = False

    def start(self, coro: Coroutine[None, None, None]) -> None:
        """Run `coro` up to its first wait."""
        self._coro = coro
        self._send = coro.send
        self.step()

    def step(self) -> None:
        """Run until the next wait. Does nothing for a fiber that ended or is running already."""
        if self.done or self.running:
            return
        self.running = True
        try:
            self._send(None)
        except StopIteration:
            self._finish()
        except Exception as error:
            self._finish()
            self._loop.report(error)
        finally:
            self.running = False

    def cancel(self) -> None:
        """End the fiber where it waits: `finally` blocks run, nothing after them."""
        if self._coro is not None and not self.done and not self.running:
            self.running = True
            try:
                self._coro.close()
            except Exception as error:
                self._loop.report(error)
            finally:
                self.running = False
                self._finish()

    def _finish(self) -> None:
        self.done = True
        self._loop.fibers.discard(self)

    def set_deadline(self, at: float) -> None:
        """Wake this fiber with `Deadline` at monotonic time `at` (infinite: never)."""
        self.deadline = at
        if at != _NEVER:
            tick = int(at / TICK_S) + 1
            if self.bucket == 0 or tick < self.bucket:
                self._loop.file(self, tick)

    async def wait(self) -> None:
        """Park until stepped. Raises `Deadline` when the deadline has passed."""
        await park()
        if self.deadline != _NEVER and monotonic() >= self.deadline:
            raise Deadline

    async def sleep(self, seconds: float) -> None:
        """Sleep at the wheel's resolution, or until the deadline, which raises `Deadline`."""
        outer = self.deadline
        until = monotonic() + seconds
        self.set_deadline(min(until, outer))
        try:
            while (now := monotonic()) < until:
                if now >= outer:
                    raise Deadline
                await park()
        finally:
            self.set_deadline(outer)

    async def nap(self, seconds: float) -> None:
        """Park until stepped by anybody, for at most `seconds`. Raises `Deadline`."""
        outer = self.deadline
        self.set_deadline(min(monotonic() + seconds, outer))
        try:
            await park()
        finally:
            self.set_deadline(outer)
        if outer != _NEVER and monotonic() >= outer:
            raise Deadline


class Readiness:
    """The loop: owns the epoll, all fibers of the worker, and their deadlines."""

    def __init__(self, on_error: Callable[[Exception], None]) -> None:
        self._epoll = select.epoll()
        self._streams: dict[int, Pollable] = {}
        self._wheel: dict[int, set[Fiber]] = {}
        self._next_tick = 0
        self._sweep_scope: trio.CancelScope | None = None
        self._nursery: trio.Nursery | None = None
        self._woken: deque[Fiber] = deque()
        self.fibers: set[Fiber] = set()
        self.listening = Listening()
        self.report = on_error

    def add(self, stream: Pollable) -> None:
        """Watch a stream from now until it is removed. One epoll_ctl in its life."""
        self._streams[stream.fd] = stream
        self._epoll.register(stream.fd, _EVENTS)

    def remove(self, fd: int) -> None:
        """Forget a stream; the caller closes the descriptor, which leaves epoll by itself."""
        self._streams.pop(fd, None)

    def spawn(self, make: Callable[[Fiber], Coroutine[None, None, None]]) -> Fiber:
        """Start a fiber; `make` gets the fiber that its coroutine will wait with."""
        fiber = Fiber(self)
        self.fibers.add(fiber)
        fiber.start(make(fiber))
        if self._woken:
            self._run_woken()
        return fiber

    def wake(self, fiber: Fiber) -> None:
        """Step a fiber soon, from code that runs inside another one."""
        self._woken.append(fiber)

    def _run_woken(self) -> None:
        woken = self._woken
        while woken:
            woken.popleft().step()

    async def call(self, fiber: Fiber, function: Callable[..., Awaitable[T]], *args: object) -> T:
        """Run a trio function for a fiber. The fiber's deadline cancels it and raises `Deadline`."""
        if self._nursery is None:
            raise RuntimeError("the readiness loop is not running")
        box: list[outcome.Outcome[T]] = []
        scope = trio.CancelScope()

        async def run() -> None:
            with scope:
                box.append(await outcome.acapture(function, *args))
            fiber.step()
            self._run_woken()

        self._nursery.start_soon(run)
        try:
            while not box:
                await fiber.wait()
        finally:
            scope.cancel()
        return box[0].unwrap()

    async def run(self) -> None:
        """Serve until cancelled, then end every fiber where it waits."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                nursery.start_soon(self._sweep_forever)
                while True:
                    await trio.lowlevel.wait_readable(self._epoll.fileno())
                    self._poll()
        finally:
            self._nursery = None
            for fiber in tuple(self.fibers):
                fiber.cancel()
            self._epoll.close()

    def _poll(self) -> None:
        streams = self._streams
        for fd, events in self._epoll.poll(0, _BATCH):
            stream = streams.get(fd)
            if stream is None:
                continue
            if events & _ENDED:
                stream.ended = True
            if events & _READ:
                stream.readable = True
                waiter = stream.read_waiter
                if waiter is not None:
                    waiter.step()
            if events & _WRITE:
                stream.writable = True
                waiter = stream.write_waiter
                if waiter is not None:
                    waiter.step()
            if events & _DEAD:
                stream.dead = True
                waiter = stream.dead_waiter
                if waiter is not None:
                    waiter.step()
        if self._woken:
            self._run_woken()

    def file(self, fiber: Fiber, tick: int) -> None:
        """Put a fiber under a wheel tick; the sweep wakes earlier if it must."""
        if fiber.bucket:
            bucket = self._wheel.get(fiber.bucket)
            if bucket is not None:
                bucket.discard(fiber)
        fiber.bucket = tick
        self._wheel.setdefault(tick, set()).add(fiber)
        if tick < self._next_tick or self._next_tick == 0:
            self._next_tick = tick
            if self._sweep_scope is not None:
                self._sweep_scope.deadline = trio.current_time() + max(
                    0.0, tick * TICK_S - monotonic()
                )

    async def _sweep_forever(self) -> None:
        while True:
            with trio.CancelScope() as self._sweep_scope:
                if self._next_tick:
                    self._sweep_scope.deadline = trio.current_time() + max(
                        0.0, self._next_tick * TICK_S - monotonic()
                    )
                await trio.sleep_forever()
            self.sweep(monotonic())

    def sweep(self, now: float) -> None:
        """Step every fiber whose deadline passed; refile those whose deadline moved."""
        current = int(now / TICK_S)
        wheel = self._wheel
        for tick in sorted(tick for tick in wheel if tick <= current):
            for fiber in wheel.pop(tick):
                fiber.bucket = 0
                if fiber.done or fiber.deadline == _NEVER:
                    continue
                if fiber.deadline <= now:
                    fiber.step()
                else:
                    self.file(fiber, int(fiber.deadline / TICK_S) + 1)
        self._next_tick = min(wheel, default=0)
        self._run_woken()
