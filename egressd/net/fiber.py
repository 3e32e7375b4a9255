"""Fibers: plain coroutines stepped by a readiness loop, and groups of them.

Laws of this file (trio's, without its tasks):
- a wake is never lost: a fiber that is woken while it runs does not park at its next wait;
- only the loop steps fibers, one after the other: a wake puts a fiber into the ready queue, so fibers
  that wake each other cannot nest, and a wake-up may be spurious: whoever waits looks again;
- cancellation is an exception where the fiber waits, again at each later wait, until it has ended;
- a child lives in a group; its owner leaves the group only when all children have ended, and an error
  of one ends the others and is raised to the owner;
- a step has a budget: who has used it up goes to the end of the ready queue.
"""

from __future__ import annotations

import types
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from inspect import CORO_CREATED, getcoroutinestate
from types import TracebackType
from typing import Protocol

from egressd.net.deadlines import DeadlineQueue

BUDGET = 1 << 20
"""What a fiber may use up in one step, in bytes read."""
REQUEST_COST = BUDGET // 16
"""What a request costs of it, whatever its size."""

_NEVER = float("inf")

MakeCoroutine = Callable[["Fiber"], Coroutine[None, None, None]]


class Deadline(Exception):
    """The fiber's deadline passed while it waited."""


class Cancelled(BaseException):
    """The fiber has to end. Raised where it waits; whoever catches it raises it again."""


class Steppable(Protocol):
    """What stands in the ready queue: a fiber, or the watcher of an idle connection."""

    queued: bool

    def step(self) -> None: ...


class Scheduler(Protocol):
    """The part of a readiness loop that fibers use."""

    ready: deque[Steppable]
    fibers: set[Fiber]
    deadlines: DeadlineQueue
    clock: Callable[[], float]
    report: Callable[[Exception], None]
    stepping: bool

    def schedule(self, one: Steppable) -> None: ...

    def file(self, fiber: Fiber) -> None: ...

    def run_ready(self) -> bool: ...


class Fiber:
    """One coroutine stepped by the readiness loop.

    `deadline` is in `time.monotonic` seconds, infinite for none. `wait` raises `Deadline` once it has
    passed; the owner moves or clears it before it waits again.
    """

    __slots__ = (
        "_broken",
        "_coro",
        "_expired",
        "_group",
        "_loop",
        "_send",
        "_woken",
        "budget",
        "cancelled",
        "deadline",
        "done",
        "look_at",
        "queued",
        "running",
        "tick",
    )

    def __init__(self, loop: Scheduler, make: MakeCoroutine, group: FiberGroup | None) -> None:
        self._loop = loop
        self._group = group
        self._broken = 0  # groups of this fiber in which a child failed and which it has not left
        self._woken = False  # sticky: the next wait does not park
        self._expired = False
        self.budget = BUDGET
        self.cancelled = False
        self.deadline = _NEVER
        self.done = False
        self.queued = False  # in the loop's ready queue
        self.running = False
        self.tick = 0  # under which its deadline is filed; 0 = none
        self.look_at = _NEVER  # when that comes up: no earlier deadline is filed
        self._coro = make(self)
        self._send = self._coro.send
        loop.fibers.add(self)

    # -- the loop's side ---------------------------------------------------------------------

    def step(self) -> None:
        """Run until the next wait. For the loop alone; an error that ends the fiber goes to its group,
        or is reported where it has none."""
        self.queued = False
        if self.done or self.running:
            return
        self.running = True
        self.budget = BUDGET
        try:
            self._send(None)
        except StopIteration:
            self._end(None)
        except Cancelled:
            self._end(None)
        except Exception as error:
            self._end(error)
        except BaseException:
            self._end(None)
            raise
        finally:
            self.running = False

    def expire(self) -> None:
        """The deadline has passed."""
        self._expired = True
        self.wake()

    def end_now(self) -> None:
        """Cancel, and run the fiber to its end. One that never ran is started, so that what it owns is
        given back; one that is running ends at its next wait."""
        self.cancelled = self._woken = True
        if self.done or self.running:
            return
        if getcoroutinestate(self._coro) == CORO_CREATED:
            self.step()
        else:
            self.running = True
            try:
                self._coro.throw(Cancelled())
            except (Cancelled, StopIteration):
                self._end(None)
            except Exception as error:
                self._end(error)
            except BaseException:
                self._end(None)
                raise
            finally:
                self.running = False

    def _end(self, error: Exception | None) -> None:
        self.done = True
        loop = self._loop
        loop.fibers.discard(self)
        if self.tick:
            loop.deadlines.remove(self)
        if self._group is not None:
            self._group.ended(self, error)
        elif error is not None:
            loop.report(error)

    # -- from anywhere -----------------------------------------------------------------------

    def wake(self) -> None:
        """Let the fiber look again at what it waits for; also when it is about to wait."""
        if self.running:
            self._woken = True
        elif not self.queued and not self.done:
            self._loop.schedule(self)

    def cancel(self) -> None:
        """Ask the fiber to end: `Cancelled` is raised where it waits, or at its next wait."""
        self.cancelled = self._woken = True
        if not self.running and not self.queued and not self.done:
            self._loop.schedule(self)

    def break_off(self) -> None:
        """A child failed: the owner leaves the group, whose end raises the error."""
        self._broken += 1
        self._woken = True
        if not self.running and not self.queued and not self.done:
            self._loop.schedule(self)

    def set_deadline(self, at: float) -> None:
        """Wake this fiber with `Deadline` at monotonic time `at` (infinite: never)."""
        self.deadline = at
        self._expired = False
        if at < self.look_at:
            self._loop.file(self)

    # -- the fiber's own ---------------------------------------------------------------------

    @types.coroutine
    def wait(self) -> Generator[None, None, None]:
        """Park until woken. Raises `Deadline` when the deadline has passed, `Cancelled`."""
        if not (self._woken or self._expired):
            yield
        if self._woken:
            self._look()
        if self._expired:
            raise Deadline

    @types.coroutine
    def yield_now(self) -> Generator[None, None, None]:
        """Let the others that are ready run first. Raises `Cancelled`."""
        if self._woken and (self.cancelled or self._broken):
            raise Cancelled
        self.queued = True
        self._loop.ready.append(self)
        yield
        if self._woken and (self.cancelled or self._broken):
            raise Cancelled

    def _look(self) -> None:
        if self.cancelled or self._broken:
            raise Cancelled  # and again at the next wait: `_woken` stays
        self._woken = False

    async def sleep(self, seconds: float) -> None:
        """Sleep at the resolution of deadlines. Raises `Deadline` when the fiber's own comes first."""
        outer = self.deadline
        until = self._loop.clock() + seconds
        self.set_deadline(min(until, outer))
        try:
            while True:
                await self.wait()
        except Deadline:
            if outer <= until:
                raise
        finally:
            self.set_deadline(outer)

    async def nap(self, seconds: float) -> None:
        """Park until woken, for at most `seconds`. Raises `Deadline` when the fiber's own has passed."""
        outer = self.deadline
        until = self._loop.clock() + seconds
        self.set_deadline(min(until, outer))
        try:
            await self.wait()
        except Deadline:
            if outer <= until:
                raise
        finally:
            self.set_deadline(outer)

    def left_broken_group(self) -> None:
        """The owner has left a group in which a child failed."""
        self._broken -= 1


class FiberGroup:
    """Children of one fiber, its owner: `async with FiberGroup(fiber) as group`.

    Leaving the block waits for all of them; leaving it by an exception, a deadline included, ends them.
    """

    __slots__ = ("_children", "_error", "_is_left", "_loop", "_owner")

    def __init__(self, loop: Scheduler, owner: Fiber) -> None:
        self._loop = loop
        self._owner = owner
        self._children: dict[Fiber, None] = {}  # in the order of their start
        self._error: Exception | None = None
        self._is_left = False  # by its owner, after a child failed

    def start(self, make: MakeCoroutine) -> Fiber:
        """Start a child; it runs when the owner waits."""
        child = Fiber(self._loop, make, self)
        self._children[child] = None
        if self._error is not None:
            child.cancel()
        else:
            self._loop.schedule(child)
        return child

    def cancel(self) -> None:
        """End all children where they wait; they have ended when this returns to the owner."""
        if not self._children:
            return
        loop = self._loop
        stepping, loop.stepping = loop.stepping, True  # what they wake waits for the ready queue
        try:
            for child in tuple(self._children):
                child.end_now()
        finally:
            loop.stepping = stepping
        if not stepping:
            loop.run_ready()

    @property
    def is_busy(self) -> bool:
        """Whether children have not ended."""
        return bool(self._children)

    def ended(self, child: Fiber, error: Exception | None) -> None:
        """A child has ended, well, cancelled or by an error."""
        self._children.pop(child, None)
        if error is not None and self._error is None:
            self._error = error
            self._owner.break_off()
            self.cancel()
        elif error is not None:
            self._loop.report(error)  # a second one, while the first ends the group
        elif not self._children:
            self._owner.wake()

    async def __aenter__(self) -> FiberGroup:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        raised: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            while kind is None and self._children:
                await self._owner.wait()
        except Cancelled:
            if self._end_all() is None:
                raise
        except BaseException:
            self._end_all()
            raise
        error = self._end_all()
        if error is None:
            return
        if raised is not None and not isinstance(raised, Cancelled):
            raised.__context__ = error  # the owner's own error stands
            return
        try:
            raise error
        finally:
            del error, raised  # they lead to this frame: a cycle that keeps all it knows

    def _end_all(self) -> Exception | None:
        """End the children. Returns the error of one, unless the owner itself is to end."""
        self.cancel()
        if self._error is not None and not self._is_left:
            self._is_left = True
            self._owner.left_broken_group()
        return None if self._owner.cancelled else self._error
