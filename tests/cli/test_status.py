"""`egressd status` for people."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from egressd.admin.state import ClusterView, SourceView, StatusView
from egressd.cli import status as module
from egressd.cli.main import main

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


def test_a_long_reason_stands_below_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    answers: dict[type, object] = {StatusView: STATUS, list[ClusterView]: []}
    monkeypatch.setattr(module, "ask_admin", lambda bootstrap, target, kind: answers[kind])
    lines = CliRunner().invoke(main, ["status", "--bootstrap", "/dev/null"]).output.splitlines()
    table = next(at for at, line in enumerate(lines) if line.startswith("SOURCE"))
    assert max(map(len, lines[table : table + 3])) < 120
    assert "ALARM nothing can be published: no space left" in lines
    said = "\n".join(lines)
    assert "this program stays: its workers do not start (exit 9); see the log" in said
    assert f"source consul fails: {REASON}" in said
