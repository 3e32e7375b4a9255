"""Questions in use over time, with a clock that jumps."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

import structlog
import trio
import trio.testing

from egressd.dns.answer import Answer
from egressd.dns.held import Bounds, Held, Part
from egressd.dns.memory import decode_answers, encode_answers
from egressd.dns.watch import AT_ONCE, FOLLOW_S, Question, Told, Watch

NONE = Answer((), 60.0, "nodata")
FAILED = Answer(outcome="timeout", reason="no answer")


class Servers:
    """A table that answers after a while, and remembers when it was asked."""

    def __init__(self, **table: Answer) -> None:
        self.table = table
        self.delay_s = {"A": 0.0, "AAAA": 0.0}
        self.asked: list[tuple[float, str]] = []
        self.under_way = self.most_under_way = 0

    async def ask(self, name: str, kind: str) -> Answer:
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await trio.sleep(self.delay_s[kind])
        finally:
            self.under_way -= 1
        self.asked.append((round(trio.current_time(), 2), kind))
        return self.table.get(f"{name}_{kind}", NONE)


@asynccontextmanager
async def watching(
    servers: Servers, remembered: Mapping[Question, Held] | None = None, **bounds: float
) -> AsyncIterator[Watch]:
    watch = Watch(servers.ask, Bounds(**bounds), lambda: 0.999999, remembered)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.run)
        yield watch
        nursery.cancel_scope.cancel()


def records(watch: Watch, name: str) -> tuple[str, ...]:
    held = watch.held(Question(name))
    assert held is not None
    return held.records


async def test_a_name_is_asked_for_ahead_of_the_end_of_its_ttl(
    autojump_clock: trio.testing.MockClock,
) -> None:
    servers = Servers(x_A=Answer(("10.0.0.1",), 100.0))
    told: list[float] = []
    async with watching(servers) as watch:
        watch.watch(Question("x"), lambda: told.append(round(trio.current_time())))
        await watch.first(Question("x"))
        assert records(watch, "x") == ("10.0.0.1",)
        servers.table["x_A"] = Answer(("10.0.0.2",), 100.0)
        await trio.sleep(101)
        assert records(watch, "x") == ("10.0.0.2",)
        await trio.sleep(200)
    assert told == [0, 100]
    assert [round(at) for at, kind in servers.asked if kind == "A"] == [0, 100, 200, 300]


async def test_the_first_family_waits_a_moment_for_the_other(
    autojump_clock: trio.testing.MockClock,
) -> None:
    servers = Servers(x_A=Answer(("10.0.0.1",), 100.0), x_AAAA=Answer(("::1",), 100.0))
    servers.delay_s["AAAA"] = 0.03
    async with watching(servers) as watch:
        watch.watch(Question("x"), lambda: None)
        await watch.first(Question("x"))
        assert records(watch, "x") == ("10.0.0.1", "::1")


async def test_a_family_that_does_not_answer_holds_nobody_up(
    autojump_clock: trio.testing.MockClock,
) -> None:
    servers = Servers(x_A=Answer(("10.0.0.1",), 100.0), x_AAAA=Answer(("::1",), 100.0))
    servers.delay_s["AAAA"] = 5.0
    async with watching(servers) as watch:
        watch.watch(Question("x"), lambda: None)
        started = trio.current_time()
        await watch.first(Question("x"))
        assert trio.current_time() - started < 0.1
        assert records(watch, "x") == ("10.0.0.1",)
        await trio.sleep(6)
        assert records(watch, "x") == ("10.0.0.1", "::1")


async def test_an_outage_is_counted_and_ends_by_itself(
    autojump_clock: trio.testing.MockClock,
) -> None:
    good = Answer(("10.0.0.1",), 10.0)
    servers = Servers(x_A=good)
    async with watching(servers, stale_s=3600.0) as watch:
        watch.watch(Question("x"), lambda: None)
        await watch.first(Question("x"))
        servers.table.update(x_A=FAILED, x_AAAA=FAILED)
        await trio.sleep(600)
        assert (records(watch, "x"), watch.failing) == (("10.0.0.1",), 1)
        servers.table.update(x_A=good, x_AAAA=NONE)
        await trio.sleep(31)
        assert (records(watch, "x"), watch.failing) == (("10.0.0.1",), 0)


async def test_a_name_that_flaps_is_told_of_a_few_times(
    autojump_clock: trio.testing.MockClock,
) -> None:
    good = Answer(("10.0.0.1",), 1.0)
    servers = Servers(x_A=good)
    with structlog.testing.capture_logs() as lines:
        async with watching(servers) as watch:
            watch.watch(Question("x"), lambda: None)
            for _ in range(40):
                servers.table.update(x_A=FAILED, x_AAAA=FAILED)
                await trio.sleep(4)
                servers.table.update(x_A=good, x_AAAA=NONE)
                await trio.sleep(4)
    said = [line["event"] for line in lines]
    assert said[:2] == ["name not resolved, it has no answer", "name resolved again"]
    assert said.count("name not resolved again and again, its last answer stands") == 1
    assert len(said) <= 2 * 3 + 2


async def test_a_name_that_nobody_watches_is_not_asked_for(
    autojump_clock: trio.testing.MockClock,
) -> None:
    servers = Servers(x_A=Answer(("10.0.0.1",), 10.0))

    def listener() -> None: ...

    async with watching(servers) as watch:
        watch.watch(Question("x"), listener)
        await watch.first(Question("x"))
        watch.unwatch(Question("x"), listener)
        asked = len(servers.asked)
        await trio.sleep(100)
        assert (len(servers.asked), len(watch)) == (asked, 0)


async def test_renewing_asks_at_once_and_waits_for_the_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    servers = Servers(x_A=Answer(("10.0.0.1",), 1000.0))
    async with watching(servers, most_s=1000.0) as watch:
        watch.watch(Question("x"), lambda: None)
        await watch.first(Question("x"))
        servers.table["x_A"] = Answer(("10.0.0.2",), 1000.0)
        servers.delay_s["A"] = 2.0
        await watch.renew([Question("x"), Question("unknown")])
        assert records(watch, "x") == ("10.0.0.2",)


async def test_many_names_are_not_asked_for_all_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    servers = Servers()
    servers.delay_s["A"] = servers.delay_s["AAAA"] = 1.0
    async with watching(servers) as watch:
        for number in range(500):
            watch.watch(Question(f"x{number}"), lambda: None)
        await trio.sleep(20)
        assert len(servers.asked) >= 1000
        assert servers.most_under_way <= 2 * AT_ONCE


X = Question("x")
KNOWN = {X: Held((Part(("10.0.0.9",), -100.0), Part((), -100.0)))}


async def test_what_was_known_before_a_restart_serves_while_no_server_answers(
    autojump_clock: trio.testing.MockClock,
) -> None:
    servers = Servers(x_A=FAILED, x_AAAA=FAILED)
    servers.delay_s = {"A": 6.0, "AAAA": 6.0}
    async with watching(servers, KNOWN, stale_s=3600.0) as watch:
        watch.watch(X, lambda: None)
        await watch.first(X)
        assert trio.current_time() < 2
        assert records(watch, "x") == ("10.0.0.9",)
        await trio.sleep(60)
        assert (records(watch, "x"), watch.failing) == (("10.0.0.9",), 1)
        servers.table.update(x_A=Answer(("10.0.0.1",), 10.0), x_AAAA=NONE)
        await trio.sleep(60)
        assert (records(watch, "x"), watch.failing) == (("10.0.0.1",), 0)


async def test_what_was_known_before_a_restart_gives_way_to_an_answer(
    autojump_clock: trio.testing.MockClock,
) -> None:
    servers = Servers(x_A=Answer(("10.0.0.1",), 10.0))
    async with watching(servers, KNOWN) as watch:
        watch.watch(X, lambda: None)
        await watch.first(X)
        assert records(watch, "x") == ("10.0.0.1",)


async def test_answers_are_remembered_until_they_are_too_old(
    autojump_clock: trio.testing.MockClock,
) -> None:
    servers = Servers(y_A=Answer(("10.0.0.1",), 10.0))
    async with watching(servers, KNOWN, stale_s=3600.0) as watch:
        watch.watch(Question("y"), lambda: None)
        await watch.first(Question("y"))
        assert set(watch.answers()) == {X, Question("y")}  # x was not asked for yet
        kept = encode_answers(watch.answers(), 1e9)
        found = decode_answers(kept, 1e9 + 50)
        assert found[Question("y")].records == ("10.0.0.1",)
        assert found[X].parts == (Part(("10.0.0.9",), -150.0), Part((), -150.0))
        await trio.sleep(3600)
        assert set(watch.answers()) == {Question("y")}


def test_bytes_that_are_no_answers_hold_none() -> None:
    assert decode_answers(b"{", 0.0) == decode_answers(b"[1]", 0.0) == {}


class Table:
    """What processes share, and that of a test: what was told."""

    def __init__(self) -> None:
        self.known: dict[Question, Told] = {}
        self.peers: list[Watch] = []

    def find(self, question: Question) -> Told | None:
        return self.known.get(question)

    def tell(self, question: Question, held: Held) -> None:
        self.known[question] = Told(held, trio.current_time())
        for peer in self.peers:
            peer.heard(question, held)


@asynccontextmanager
async def two_watching(servers: Servers) -> AsyncIterator[tuple[Watch, Watch]]:
    """Two processes that tell each other."""
    tables = Table(), Table()
    tables[1].known = tables[0].known
    one, other = (
        Watch(servers.ask, Bounds(), lambda: 0.999999, None, shared=table) for table in tables
    )
    tables[0].peers.append(other)
    tables[1].peers.append(one)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(one.run)
        nursery.start_soon(other.run)
        yield one, other
        nursery.cancel_scope.cancel()


async def test_a_name_that_another_process_knows_is_known_at_once(
    autojump_clock: trio.testing.MockClock,
) -> None:
    servers = Servers(x_A=Answer(("10.0.0.1",), 10.0))
    async with two_watching(servers) as (one, other):
        one.watch(X, lambda: None)
        await one.first(X)
        servers.table.update(x_A=FAILED, x_AAAA=FAILED)
        other.watch(X, lambda: None)
        assert records(other, "x") == ("10.0.0.1",)
        one.unwatch(X, print)
        await trio.sleep(300)  # long after its end, while no server answers
        third = Watch(servers.ask, shared=_table(other))
        third.watch(X, lambda: None)
        assert records(third, "x") == ("10.0.0.1",)


def _table(watch: Watch) -> Table:
    table = watch._shared
    assert isinstance(table, Table)
    return table


async def test_one_process_asks_for_all(autojump_clock: trio.testing.MockClock) -> None:
    servers = Servers(x_A=Answer(("10.0.0.1",), 100.0))
    told: list[str] = []
    async with two_watching(servers) as (one, other):
        one.watch(X, lambda: None)
        await one.first(X)
        other.watch(X, lambda: told.append("changed"))
        servers.table["x_A"] = Answer(("10.0.0.2",), 100.0)
        await trio.sleep(950)
        assert records(other, "x") == records(one, "x") == ("10.0.0.2",)
    assert told == ["changed"]
    assert len([kind for _, kind in servers.asked if kind == "A"]) == 10


async def test_the_others_go_on_when_the_one_that_asked_is_gone(
    autojump_clock: trio.testing.MockClock,
) -> None:
    servers = Servers(x_A=Answer(("10.0.0.1",), 100.0))
    async with two_watching(servers) as (one, other):
        listener = print
        one.watch(X, listener)
        await one.first(X)
        other.watch(X, lambda: None)
        one.unwatch(X, listener)
        servers.table["x_A"] = Answer(("10.0.0.2",), 100.0)
        await trio.sleep(100 + FOLLOW_S)
        assert records(other, "x") == ("10.0.0.2",)


async def test_an_answer_that_another_process_got_ends_an_outage(
    autojump_clock: trio.testing.MockClock,
) -> None:
    good = Answer(("10.0.0.1",), 10.0)
    servers = Servers(x_A=FAILED, x_AAAA=FAILED)
    told: list[float] = []
    async with two_watching(servers) as (one, other):
        other.watch(X, lambda: told.append(trio.current_time()))
        await trio.sleep(100)
        assert (records(other, "x"), other.failing) == ((), 1)
        servers.table.update(x_A=good, x_AAAA=NONE)
        one.watch(X, lambda: None)
        await one.first(X)
        assert (records(other, "x"), other.failing) == (("10.0.0.1",), 0)


async def test_an_old_answer_that_nobody_lives_on_waits_for_a_fresh_one(
    autojump_clock: trio.testing.MockClock,
) -> None:
    servers = Servers(x_A=Answer(("10.0.0.2",), 10.0))
    table = Table()
    table.known[X] = Told(Held((Part(("10.0.0.1",), -500.0), None), heard_at=-510.0), -510.0)
    watch = Watch(servers.ask, shared=table)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch.run)
        watch.watch(X, lambda: None)
        assert records(watch, "x") == ()
        await watch.first(X)
        assert records(watch, "x") == ("10.0.0.2",)
        nursery.cancel_scope.cancel()


async def test_names_that_never_had_records_are_not_told_of(
    autojump_clock: trio.testing.MockClock,
) -> None:
    """Clients below a wildcard may invent any number of them."""
    servers = Servers(x_A=Answer(("10.0.0.1",), 10.0))
    async with two_watching(servers) as (one, _):
        for name in ("x", "y"):
            one.watch(Question(name), lambda: None)
            await one.first(Question(name))
        assert _table(one).known.keys() == {X}
        servers.table["x_A"] = NONE
        await trio.sleep(600)
        assert _table(one).known[X].held.records == ()  # but that one is gone is told
