"""`egressd status` for people."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from egressd.admin.state import ClusterView, EndpointView, SourceView, StatusView
from egressd.cli import output as output_module
from egressd.cli import status as module
from egressd.cli.main import main
from egressd.cli.screen import Screen

REASON = "http://10.0.0.1:8500/v1/catalog/services: " + "no leader, " * 20 + "\nsecond line"
STATUS = StatusView(
    node="vm-1",
    version="1",
    state="ready",
    registry_version=7,
    registry_error="no space left",
    registry_records=3,
    config_path="",
    config_error="",
    listeners=("egress 127.0.0.1:15001",),
    processes=(),
    sources=(
        SourceView("files", "static", 3, 0.5, "", "", 0, ()),
        SourceView("consul", "consul", 0, -1.0, "", REASON, 4, ()),
    ),
    ejected=(),
    problems=(),
    upgrade_error="its workers do not start (exit 9); see the log",
    upgrade_failed_at=1.0,
)


def test_a_long_reason_does_not_stand_in_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: dict[type, object] = {StatusView: STATUS, list[ClusterView]: []}
    monkeypatch.setattr(module, "ask_admin", lambda bootstrap, target, kind: answers[kind])
    lines = CliRunner().invoke(main, ["status", "--bootstrap", "/dev/null"]).output.splitlines()
    table = next(at for at, line in enumerate(lines) if line.startswith("SOURCE"))
    assert max(map(len, lines[table : table + 3])) < 120
    assert "ALARM nothing can be published: no space left" in lines
    said = "\n".join(lines)
    assert "this program stays: its workers do not start (exit 9); see the log" in said
    assert f"source consul fails: {REASON}" in said


def _endpoint(
    name: str, *, healthy: bool = True, requests: int = 0, failed: int = 0
) -> EndpointView:
    left = 0.0 if healthy else 3.0
    return EndpointView(name, "", 1, healthy, left, 0, 0, 0, requests, failed, 0)


def _cluster(name: str, *endpoints: EndpointView, failure: str = "") -> ClusterView:
    return ClusterView(name, "", "", 80, "", "", "", (), failure, endpoints)


CLUSTERS = [
    _cluster("idle", _endpoint("10.0.0.1")),
    _cluster("used", _endpoint("10.0.0.2"), _endpoint("10.0.0.3", requests=5)),
    _cluster("failing", _endpoint("10.0.0.4", requests=5, failed=1)),
    _cluster("ejected", _endpoint("10.0.0.5"), _endpoint("10.0.0.6", healthy=False)),
    _cluster("broken", failure="no such file: ca.pem"),
]


def test_the_most_urgent_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: dict[type, object] = {StatusView: STATUS, list[ClusterView]: CLUSTERS}
    monkeypatch.setattr(module, "ask_admin", lambda bootstrap, target, kind: answers[kind])
    output = CliRunner().invoke(main, ["status", "--bootstrap", "/dev/null"]).output
    parts = (
        "ALARM nothing can be published", "source consul fails", "\nconsul ", "\nfiles ", "\nbroken",
        "10.0.0.6", "10.0.0.5", "10.0.0.4", "10.0.0.3", "10.0.0.2", "\nidle ",
    )  # fmt: skip
    found = [output.index(part) for part in parts]
    assert found == sorted(found), output


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_whole_fits_a_terminal(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    answers: dict[type, object] = {StatusView: STATUS, list[ClusterView]: CLUSTERS}
    monkeypatch.setattr(module, "ask_admin", lambda bootstrap, target, kind: answers[kind])
    screen = Screen(width, 24, has_colour=False)
    monkeypatch.setattr(output_module, "find_screen", lambda err=False: screen)
    output = CliRunner().invoke(main, ["status", "--bootstrap", "/dev/null"]).output
    reason = REASON.split()[0]  # an address is not broken
    assert all(len(line) <= width or reason in line for line in output.splitlines())
