"""Accepting with scripted sockets: every errno of accept(2), the node's limit, the end of a listener."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable, Iterator
from types import SimpleNamespace
from typing import cast

import pytest
import structlog
import trio
from hypothesis import given
from hypothesis import strategies as st

from egressd.net.descriptors import DescriptorReserve
from egressd.net.listening import Listening
from egressd.net.readiness import Readiness
from egressd.proxy.accept import AcceptFault, fault_of
from egressd.proxy.accept_report import AcceptReport
from egressd.proxy.context import WorkerContext
from egressd.proxy.downstream import Downstream
from egressd.proxy.downstream_limit import DownstreamLimit
from egressd.proxy.listener import Listener, Taken, handle_http
from egressd.proxy.scope import Scope
from egressd.upstream import node_state
from egressd.upstream.node_state import NodeState

# accept(2), ERRORS, and what Linux passes on from the new socket.
PER_CONNECTION = (
    "ECONNABORTED", "EPERM", "EPROTO", "ENETDOWN", "ENOPROTOOPT", "EHOSTDOWN", "ENONET", "EHOSTUNREACH",
    "EOPNOTSUPP", "ENETUNREACH", "ECONNRESET", "ETIMEDOUT", "ESOCKTNOSUPPORT", "EPROTONOSUPPORT",
    "EACCES",
)  # fmt: skip
SHORTAGE = ("EMFILE", "ENFILE", "ENOBUFS", "ENOMEM", "ENOSR")
BROKEN = ("EBADF", "EINVAL", "ENOTSOCK", "EFAULT")


@pytest.fixture(autouse=True)
def _somebody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    def has_steps(script: Script) -> bool:
        return bool(script.steps)

    monkeypatch.setattr("egressd.proxy.listener.is_waited_for", has_steps)


class Idle:
    """A connection that is served already."""

    def __init__(self, idle: bool) -> None:
        self.idle = idle
        self.drained = False

    def drain(self) -> None:
        self.drained = True


class Conn:
    """An accepted connection."""

    closed = False

    def fileno(self) -> int:
        return 10

    def close(self) -> None:
        self.closed = True


class Script:
    """A listening socket that gives what it is told to: connections and errnos; then nobody waits."""

    def __init__(self, *steps: Conn | int) -> None:
        self.steps = list(steps)

    def accept(self) -> tuple[Conn, object]:
        step = self.steps.pop(0) if self.steps else errno.EAGAIN
        if isinstance(step, int):
            raise OSError(step, os.strerror(step))
        return step, ("192.0.2.1", 1000)


class Admitting:
    """A limit in one process."""

    def __init__(self, limit: int, waits: bool = False) -> None:
        self.limit = limit
        self.waits = waits
        self.held = 0

    def admit(self) -> bool:
        if self.held >= self.limit:
            return False
        self.held += 1
        return True

    def release(self) -> None:
        self.held -= 1


class Scripted(Listener):
    """A listener that keeps what it would serve."""

    def __init__(self, admission: Admitting | DownstreamLimit) -> None:
        context = SimpleNamespace(
            admission=admission,
            accepts=AcceptReport(),
            descriptors=DescriptorReserve(1 << 20),
            connections=(),
        )
        super().__init__(cast(WorkerContext, context), "egress", cast(Scope, None), handle_http)
        self.served: list[object] = []

    def start(self, sock: socket.socket, address: object) -> None:
        self.served.append(sock)

    def take(self, script: Script) -> Taken:
        return self.accept_waiting(cast(socket.socket, script))


def conns(count: int) -> list[Conn]:
    return [Conn() for _ in range(count)]


@pytest.mark.parametrize("name", PER_CONNECTION)
def test_an_error_of_one_connection_costs_no_other(name: str) -> None:
    listener = Scripted(Admitting(100))
    first, second = conns(2)
    assert listener.take(Script(first, getattr(errno, name), second)) is Taken.ALL
    assert listener.served == [first, second]
    assert listener.context.accepts.errors == {errno.errorcode[getattr(errno, name)]: 1}


@pytest.mark.parametrize("name", SHORTAGE)
def test_a_shortage_leaves_the_rest_in_the_queue(name: str) -> None:
    listener = Scripted(Admitting(100))
    first, second = conns(2)
    script = Script(first, getattr(errno, name), second)
    assert listener.take(script) is Taken.SHORT
    assert listener.served == [first]
    assert listener.take(script) is Taken.ALL
    assert listener.served == [first, second]


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_listener_is_tried_at_leisure(name: str) -> None:
    assert Scripted(Admitting(1)).take(Script(getattr(errno, name))) is Taken.BROKEN


@pytest.mark.parametrize("number", sorted(errno.errorcode))
def test_no_errno_ends_accepting_or_takes_the_loop(number: int) -> None:
    for waits in (False, True):
        admission = Admitting(5, waits)
        listener = Scripted(admission)
        taken = listener.take(Script(*[number] * 1000))
        assert (taken is Taken.ALL) == (fault_of(number) is AcceptFault.NOTHING)
        assert taken is not Taken.MORE
        assert admission.held == 0


def test_in_a_shortage_idle_connections_make_room_a_few_at_a_time() -> None:
    listener = Scripted(Admitting(100))
    there = [Idle(n % 2 == 0) for n in range(200)]
    listener.context.connections = cast("set[Downstream]", there)
    assert listener.take(Script(errno.EMFILE, Conn())) is Taken.SHORT
    drained = [one for one in there if one.drained]
    assert len(drained) == 16
    assert all(one.idle for one in drained)


def test_a_shortage_that_nobody_waits_for_is_none() -> None:
    listener = Scripted(Admitting(100))
    listener.context.descriptors = DescriptorReserve(40, lambda: 39)
    listener.context.descriptors.took(39)
    listener.context.connections = cast("set[Downstream]", [Idle(True)] * 5)
    assert listener.take(Script()) is Taken.ALL
    assert listener.context.accepts.errors == {}
    assert listener.take(Script(Conn())) is Taken.SHORT
    assert listener.context.accepts.errors == {"EMFILE": 1}


def test_a_long_queue_is_taken_in_rounds() -> None:
    listener = Scripted(Admitting(10_000))
    script = Script(*conns(600))
    assert [listener.take(script) for _ in range(3)] == [Taken.MORE, Taken.MORE, Taken.ALL]
    assert len(listener.served) == 600


# -- the limit -------------------------------------------------------------------------------


def test_who_is_over_the_limit_is_closed_at_once() -> None:
    admission = Admitting(2)
    listener = Scripted(admission)
    waiting = conns(4)
    assert listener.take(Script(*waiting)) is Taken.ALL
    assert listener.served == waiting[:2]
    assert [one.closed for one in waiting] == [False, False, True, True]
    assert (admission.held, listener.context.accepts.overflows) == (2, 2)


def test_who_is_over_the_limit_may_wait_in_the_queue() -> None:
    admission = Admitting(2, waits=True)
    listener = Scripted(admission)
    waiting = conns(4)
    script = Script(*waiting)
    assert listener.take(script) is Taken.FULL
    assert script.steps == waiting[2:]
    admission.release()
    assert listener.take(script) is Taken.FULL
    assert listener.served == waiting[:3]
    admission.release()
    assert listener.take(script) is Taken.FULL
    admission.release()
    assert listener.take(script) is Taken.ALL
    assert (listener.served, admission.held) == (waiting, 1)


@given(
    st.booleans(),
    st.integers(1, 5),
    st.lists(st.sampled_from([0, *errno.errorcode]), max_size=60),
    st.data(),
)
def test_each_admitted_connection_is_served_and_no_other(
    waits: bool, limit: int, steps: list[int], data: st.DataObject
) -> None:
    admission = Admitting(limit, waits)
    listener = Scripted(admission)
    script = Script(*[step or Conn() for step in steps])
    all_conns = [step for step in script.steps if isinstance(step, Conn)]
    open_now: set[object] = set()
    for _ in range(500):
        before = len(listener.served)
        taken = listener.take(script)
        open_now |= set(listener.served[before:])
        assert admission.held == len(open_now) <= limit
        if taken is Taken.ALL and not script.steps:
            break
        if open_now:
            open_now.discard(data.draw(st.sampled_from(sorted(open_now, key=id))))
            admission.release()
    assert not script.steps
    assert len(listener.served) + sum(one.closed for one in all_conns) == len(all_conns)
    assert not (waits and any(one.closed for one in all_conns))


@pytest.fixture
def shared() -> Iterator[int]:
    fd = node_state.create()
    yield fd
    os.close(fd)


def test_the_limit_is_that_of_all_workers_together(shared: int) -> None:
    workers = [NodeState(shared, index) for index in range(3)]
    limits = [DownstreamLimit(worker, 10, False) for worker in workers]
    assert [sum(limit.admit() for _ in range(9)) for limit in limits] == [9, 1, 0]
    limits[0].release()
    assert limits[2].admit()
    assert not limits[1].admit()
    workers[1].forget_worker(0)  # worker 0 was killed
    assert sum(limits[1].admit() for _ in range(99)) == 8
    for worker in workers:
        worker.close()


def test_a_limit_that_a_reload_sets_counts_what_is_open_already(shared: int) -> None:
    workers = [NodeState(shared, index) for index in range(2)]
    unlimited = DownstreamLimit(workers[0], 0, False)
    assert all(unlimited.admit() for _ in range(7))
    limited = DownstreamLimit(workers[1], 8, False)
    assert [limited.admit(), limited.admit()] == [True, False]
    for worker in workers:
        worker.close()


# -- the end of a listener -------------------------------------------------------------------


def take_queue(listener: Scripted, script: Script, within_s: float = 60.0) -> float:
    """Seconds on the mock clock."""

    async def run() -> float:
        before = trio.current_time()
        await listener.take_queue(cast(socket.socket, script), within_s)
        return trio.current_time() - before

    return trio.run(run, clock=trio.testing.MockClock(autojump_threshold=0))


def test_a_closing_listener_takes_its_whole_queue() -> None:
    listener = Scripted(Admitting(10_000))
    waiting = conns(5000)
    take_queue(listener, Script(*waiting))
    assert listener.served == waiting


def test_a_closing_listener_waits_for_descriptors() -> None:
    listener = Scripted(Admitting(10))
    waiting = conns(2)
    take_queue(listener, Script(waiting[0], errno.EMFILE, errno.EMFILE, waiting[1]))
    assert listener.served == waiting


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EPERM])
def test_a_closing_listener_does_not_wait_for_ever(number: int) -> None:
    listener = Scripted(Admitting(10))
    assert take_queue(listener, Script(*[number] * 10**5), within_s=5.0) == pytest.approx(5.0)


def test_a_closing_listener_that_is_broken_just_closes() -> None:
    assert take_queue(Scripted(Admitting(1)), Script(errno.EINVAL)) == 0.0


class Unpollable(Script):
    """A listening socket whose descriptor epoll does not take."""

    def __init__(self, fd: int) -> None:
        super().__init__(*[errno.EINVAL] * 1000)
        self._fd = fd

    def fileno(self) -> int:
        return self._fd

    def setblocking(self, flag: bool) -> None:
        pass

    def getsockname(self) -> tuple[str, int]:
        return "127.0.0.1", 1


def test_a_descriptor_that_cannot_be_waited_for_is_told_of_and_tried_again() -> None:
    listener = Scripted(Admitting(1))
    listener.context.loop = cast(Readiness, SimpleNamespace(listening=Listening()))

    async def serve(fd: int) -> None:
        with trio.move_on_after(3.5):
            await listener.serve(cast(socket.socket, Unpollable(fd)))

    with open(os.devnull, "rb") as file:
        trio.run(serve, file.fileno(), clock=trio.testing.MockClock(autojump_threshold=0))
    assert listener.context.accepts.errors == {"EPERM": 2, "EINVAL": 2}


# -- what is told ----------------------------------------------------------------------------


def told(times: Iterable[float], settle_at: float = 0.0) -> list[tuple[str, object]]:
    report = AcceptReport()
    with structlog.testing.capture_logs() as lines:
        for now in times:
            error = OSError(errno.EMFILE, "Too many open files")
            report.failed("egress", error, AcceptFault.SHORTAGE, now)
        if settle_at:
            report.settle(settle_at)
    return [(str(line["event"]), line.get("times")) for line in lines]


def test_a_trouble_is_told_when_it_begins_each_minute_and_when_it_is_over() -> None:
    times = [100.0 + 0.125 * n for n in range(1000)]  # for 125 s
    assert told(times, settle_at=241.0) == [
        ("cannot accept", 1),
        ("cannot accept", 481),
        ("cannot accept", 961),
        ("accepting again", 1000),
    ]


def test_a_trouble_that_comes_and_goes_is_one() -> None:
    assert told([1.0, 1.1], settle_at=5.0) == [("cannot accept", 1)]


def test_connections_at_their_limit_are_told_once() -> None:
    report = AcceptReport()
    with structlog.testing.capture_logs() as lines:
        for now in range(30):
            report.full("egress", 10, False, float(now))
        report.settle(50.0)
    assert [line["times"] for line in lines] == [1, 30]
    assert lines[0]["new_ones"] == "are refused"
