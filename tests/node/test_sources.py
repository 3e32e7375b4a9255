"""The fence around an adapter."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest
import structlog
import trio

from egressd.api.resource import Problem
from egressd.node import sources
from egressd.node.bootstrap_model import AdapterConfig, Bootstrap
from egressd.node.sources import SourceSink, SourceStatus, run_source
from egressd.registry.adapter import Sink
from egressd.registry.records import Snapshot
from tests.registry.test_merge import service, snapshot

CLOCK = [0.0]


def sink(taken: list[Snapshot] | None = None) -> SourceSink:
    def take(source: str, snapshot: Snapshot) -> bool:
        (taken if taken is not None else []).append(snapshot)
        return True

    return SourceSink(
        SourceStatus("one", "t"),
        take,
        lambda: None,
        lambda source: (),
        lambda source: (),
        lambda: CLOCK[0],
    )


def test_records_under_another_name_are_refused_in_the_adapter_itself() -> None:
    """Further on they would end the registry process."""
    taken: list[Snapshot] = []
    with pytest.raises(ValueError, match="ServiceEntry/default/a: found source 'two', expected"):
        sink(taken).publish(snapshot("two", service("a")))
    assert not taken
    assert sink(taken).publish(snapshot("one", service("a")))


def test_a_type_that_is_not_installed_is_one_failure() -> None:
    told = sink()

    async def run() -> None:
        with trio.move_on_after(0.1):
            await run_source(AdapterConfig(type="no-such", name="one"), Bootstrap(), told)

    trio.run(run)
    assert told.status.errors == 1
    assert "'no-such': found no such entry point" in told.status.error


class Failing:
    """An adapter whose library ends the process, or whose tasks fail."""

    def __init__(self, error: BaseException) -> None:
        self._error = error

    async def run(self, sink: Sink) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._fail)
            nursery.start_soon(trio.sleep_forever)

    async def _fail(self) -> None:
        raise self._error


@pytest.mark.parametrize(
    ("error", "reason"),
    [(SystemExit(3), "SystemExit: 3"), (ValueError("garbage"), "ValueError: garbage")],
)
def test_whatever_leaves_an_adapter_is_its_failure_alone(
    error: BaseException, reason: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = sink()
    monkeypatch.setattr(sources, "make_adapter", lambda config, bootstrap: Failing(error))

    async def run() -> None:
        with trio.move_on_after(0.1):
            await run_source(AdapterConfig(type="t", name="one"), Bootstrap(), told)

    trio.run(run)
    assert told.status.error == reason


def test_thousands_of_problems_are_a_few_lines_and_no_new_ones_none() -> None:
    told = sink()
    problems = tuple(Problem(found=str(n), expected="x") for n in range(1000))
    with structlog.testing.capture_logs() as lines:
        told.problems(problems)
        told.problems((*problems[1:], Problem(found="new", expected="x")))
    assert [line.get("problem", line.get("count")) for line in lines[19:]] == [
        "error: found 19, expected x",
        980,
        "error: found new, expected x",
    ]


def test_what_a_server_said_is_one_line() -> None:
    told = sink()
    told.failed("500: no\r\nlevel=error msg=evil\x1b[2J")
    assert told.status.error == "500: no\\r\\nlevel=error msg=evil\\x1b[2J"


def test_what_no_source_may_state_is_left_out_and_told() -> None:
    taken: list[Snapshot] = []
    told = sink(taken)
    good = snapshot("one", service("a"), origin="a")
    (record,) = good.records
    spec = msgspec.structs.replace(record.resource.spec, hosts=("a.example\r\nX-Evil: 1",))
    resource = msgspec.structs.replace(record.resource, spec=spec)
    bad = msgspec.structs.replace(record, resource=resource)
    own = Problem(field="x", found="y", expected="z")
    told.problems((own,))
    told.publish(msgspec.structs.replace(good, records=(bad,)))
    assert (taken[-1].records, taken[-1].failed_origins) == ((), {"a"})
    assert [problem.field for problem in told.status.problems] == ["x", "spec.hosts[0]"]
    told.problems(())
    assert [problem.field for problem in told.status.problems] == ["spec.hosts[0]"]
    told.publish(good)
    assert taken[-1] is good
    assert told.status.problems == ()


def logged(
    told: SourceSink, words: Iterable[str | Snapshot | None], step_s: float = 0.3
) -> list[str]:
    """The events of a log in which a source says these words: a reason, a snapshot, None for in sync."""
    with structlog.testing.capture_logs() as lines:
        for word in words:
            CLOCK[0] += step_s
            if word is None:
                told.in_sync()
            elif isinstance(word, str):
                told.failed(word)
            else:
                told.publish(word)
    return [line["event"] for line in lines]


def test_a_source_that_is_asked_many_questions_fails_in_one_line_and_recovers_in_another() -> None:
    told = sink()
    paths = ("catalog/services", "health/state/critical", "health/state/warning")
    reasons = [f"http://c:8500/v1/{paths[n % 3]}: Connection refused" for n in range(54)]
    assert logged(told, reasons) == ["source failed, it has never answered"]
    assert told.status.errors == 54
    assert logged(told, [snapshot("one", service("a")), None, None]) == ["source recovered"]
    assert logged(told, reasons) == ["source failed, its last answer stands"]
    assert logged(told, ["http://c:8500/v1/catalog/services: 403 no"]) == [
        "source failed, its last answer stands"
    ]


def test_a_source_that_flaps_is_a_few_lines() -> None:
    words = ["refused", None] * 100
    assert len(logged(sink(), words)) <= 8


def test_what_says_nothing_but_that_all_fails_is_no_answer() -> None:
    told = sink()
    told.publish(Snapshot(records=(), failed_origins=frozenset("a"), is_failing=True))
    assert not told.status.has_answered
    told.failed("no server")
    told.publish(Snapshot(records=snapshot("one", service("a")).records, is_failing=True))
    assert told.status.has_answered
    assert told.status.error == "no server"


def test_an_answer_to_an_earlier_process_is_one() -> None:
    told = sink()
    told.status.answered_before = True
    assert told.status.has_answered
    assert not told.status.is_synced
    assert logged(told, ["refused"]) == ["source failed, its last answer stands"]


def test_a_first_sync_that_gets_nowhere_is_not_told_again_and_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = [1000.0]
    monkeypatch.setattr(sources, "time", lambda: clock[0])
    told = sink()
    with structlog.testing.capture_logs() as lines:
        for _ in range(20):
            clock[0] += 3.0
            told.progress(0, 0)
        clock[0] += 3.0
        told.progress(1, 2)
    assert [(line["done"], line["total"]) for line in lines] == [(1, 2)]
