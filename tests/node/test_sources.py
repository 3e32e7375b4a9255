"""The fence around an adapter."""

from __future__ import annotations

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


def sink(taken: list[Snapshot] | None = None) -> SourceSink:
    def take(source: str, snapshot: Snapshot) -> bool:
        (taken if taken is not None else []).append(snapshot)
        return True

    return SourceSink(
        SourceStatus("one", "t"), take, lambda: None, lambda source: (), lambda source: ()
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
