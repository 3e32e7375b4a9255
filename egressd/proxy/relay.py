"""Bytes both ways between a client and an upstream, whatever they mean.

Between plain sockets the kernel moves the bytes, without a copy into Python (`egressd.net.splice`).
"""

from __future__ import annotations

from time import monotonic

from egressd.net.fiber import Deadline, Fiber, FiberGroup
from egressd.net.splice import FIRST_CHUNK, LARGEST_CHUNK, SplicePipe
from egressd.net.stream import Stream, StreamClosed
from egressd.proxy.context import Session

_NEVER = float("inf")


async def relay_both(x: Session, upstream: Stream, first: bytes) -> None:
    """Move bytes both ways until both sides ended, one broke, or nothing moved for too long."""
    main, pipe = x.fiber, x.context.pipe
    x.context.recorder.tunnel_opened(x)
    assert x.cluster is not None
    limits = x.cluster.cluster.spec.limits
    idle_s = min(x.context.settings.idle_timeout_s, limits.tcp_idle_timeout_s)
    lifetime = limits.max_connection_duration_s
    flow = _Flow(idle_s, monotonic() + lifetime if lifetime is not None else _NEVER)

    async def up(fiber: Fiber) -> None:
        try:
            if first:
                fiber.set_deadline(flow.until)
                await upstream.send_all(fiber, first)
                x.bytes_received += len(first)
            received = _Counter()
            try:
                await _relay(fiber, x.stream, upstream, flow, received, pipe)
            finally:
                x.bytes_received += received.value
            upstream.shutdown_write()
        except (StreamClosed, Deadline):
            flow.broken = True
            main.wake()

    count = _Counter()
    try:
        async with FiberGroup(x.context.loop, main) as group:
            group.start(up)
            await _relay(main, upstream, x.stream, flow, count, pipe)
            x.stream.shutdown_write()
            while group.is_busy:
                await _wait_for_other(main, flow)
    except (StreamClosed, Deadline):
        pass
    finally:
        x.bytes_sent += count.value
        x.context.recorder.tunnel_closed(x)


async def _wait_for_other(fiber: Fiber, flow: _Flow) -> None:
    """Wait for the other direction. Raises `StreamClosed` when it broke, `Deadline`."""
    if flow.broken:
        raise StreamClosed("the other direction broke")
    fiber.set_deadline(flow.until)
    try:
        await fiber.wait()
    except Deadline:
        if monotonic() >= flow.until:
            raise


class _Flow:
    """What the two directions of a tunnel share: either one moving keeps both alive."""

    __slots__ = ("_end", "_idle_s", "broken", "until")

    def __init__(self, idle_s: float, end: float) -> None:
        self._idle_s = idle_s
        self._end = end  # Istio maxConnectionDuration
        self.until = 0.0
        self.broken = False
        self.moved()

    def moved(self) -> None:
        """Bytes went through."""
        self.until = min(self._end, monotonic() + self._idle_s)


class _Counter:
    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0


async def _wait(fiber: Fiber, stream: Stream, flow: _Flow, *, to_write: bool) -> None:
    while True:
        if flow.broken:
            raise StreamClosed("the other direction broke")
        fiber.set_deadline(flow.until)
        try:
            if to_write:
                await stream.wait_writable(fiber)
            else:
                await stream.wait_readable(fiber)
            return
        except Deadline:
            if monotonic() >= flow.until:
                raise


async def _relay(
    fiber: Fiber, source: Stream, target: Stream, flow: _Flow, count: _Counter, pipe: SplicePipe
) -> None:
    """One direction until the source ends. Raises `StreamClosed`, `Deadline` (nothing moved)."""
    if source.is_tls or target.is_tls:
        await _relay_copy(fiber, source, target, flow, count)
    else:
        await _relay_splice(fiber, source, target, flow, count, pipe)


async def _relay_copy(
    fiber: Fiber, source: Stream, target: Stream, flow: _Flow, count: _Counter
) -> None:
    while True:
        if fiber.budget <= 0:
            await fiber.yield_now()
        data = source.recv_now() if source.readable else None
        if data is None:
            await _wait(fiber, source, flow, to_write=False)
            continue
        if not data:
            return
        fiber.budget -= len(data)
        sent = target.send_now(data)
        count.value += sent
        if sent < len(data):
            await _send_rest(fiber, target, data[sent:], flow, count)
        flow.moved()


async def _relay_splice(
    fiber: Fiber, source: Stream, target: Stream, flow: _Flow, count: _Counter, pipe: SplicePipe
) -> None:
    chunk = FIRST_CHUNK
    while True:
        if fiber.budget <= 0:
            await fiber.yield_now()
        moved = pipe.transfer(source, target, chunk)
        if moved.taken < 0:
            source.readable = False
            await _wait(fiber, source, flow, to_write=False)
            continue
        if moved.taken == 0:
            return
        fiber.budget -= moved.taken
        count.value += moved.sent
        if moved.rest:
            # Next time no more than the target took: what it leaves is copied and held in memory.
            chunk = max(moved.sent, FIRST_CHUNK)
            target.writable = False
            await _send_rest(fiber, target, moved.rest, flow, count)
        elif moved.taken == chunk:
            chunk = min(2 * chunk, LARGEST_CHUNK)
        flow.moved()


async def _send_rest(
    fiber: Fiber, target: Stream, rest: bytes, flow: _Flow, count: _Counter
) -> None:
    view = memoryview(rest)
    while view:
        await _wait(fiber, target, flow, to_write=True)
        sent = target.send_now(view)
        count.value += sent
        view = view[sent:]
        if sent:
            flow.moved()
