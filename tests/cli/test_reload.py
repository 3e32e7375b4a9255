"""Which node `egressd reload` means, and what it makes of the status file."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from egressd.cli import reload as module
from egressd.cli.main import main
from egressd.node.status import ReloadCounts, SupervisorStatus, write_status

HERE = os.getpid()


def status(**fields: object) -> SupervisorStatus:
    known: dict[str, object] = {
        "pid": HERE,
        "state": "ready",
        "started_at": 1.0,
        "generation": 1,
        "config_path": "/etc/egressd/egressd.yaml",
        "config_error": "",
        "admin_address": "unix:/run/egressd/admin.sock",
        "worker_restarts": 0,
        "registry_restarts": 0,
        "listeners": (),
        "children": (),
        **fields,
    }
    return SupervisorStatus(**known)  # type: ignore[arg-type]


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "egressd.yaml"
    file.write_text(f"runDir: {tmp_path}\n")
    write_status(tmp_path / "supervisor.json", status())
    return file


def reload(
    config: Path, monkeypatch: pytest.MonkeyPatch, *then: SupervisorStatus, **environ: str
) -> Result:
    """Reload a node that writes `then`, one after the other, each time that it is looked at."""
    left = list(then)
    real = os.kill

    def kill(pid: int, number: int) -> None:
        if number == signal.SIGHUP:
            turn()
        else:
            real(pid, number)

    def turn(seconds: float = 0.0) -> None:
        if left:
            write_status(config.parent / "supervisor.json", left.pop(0))

    monkeypatch.setattr(module.os, "kill", kill)
    monkeypatch.setattr(module.time, "sleep", turn)
    words = ["reload", "--timeout", "30", "--bootstrap", str(config)]
    return CliRunner().invoke(main, words, env=dict(environ))


def test_the_outcome_of_this_reload_is_waited_for(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = reload(
        config,
        monkeypatch,
        status(reloads=ReloadCounts(begun=1), state="reloading"),
        status(reloads=ReloadCounts(begun=1, ended=1, needs_restart=("run_dir",)), generation=2),
    )
    assert said.exit_code == 0, said.output
    assert "generation 2 serves" in said.output
    assert "wait for a restart: run_dir" in said.output


def test_a_refusal_ends_with_1_and_the_reason(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = status(reloads=ReloadCounts(begun=1, ended=1), config_error="error: x:1: wrong")
    said = reload(config, monkeypatch, refused)
    assert said.exit_code == 1
    assert "x:1: wrong" in said.output
    assert "the configuration before stands" in said.output


def test_a_reload_that_was_under_way_is_not_taken_for_this_one(
    config: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_status(
        config.parent / "supervisor.json", status(reloads=ReloadCounts(begun=1), state="reloading")
    )
    of_another = status(reloads=ReloadCounts(begun=1, ended=1), config_error="error: of another")
    own = status(reloads=ReloadCounts(begun=2, ended=2), generation=2)
    said = reload(config, monkeypatch, of_another, own)
    assert (said.exit_code, "of another" in said.output) == (0, False), said.output


@pytest.mark.parametrize(
    ("then", "expected"),
    [
        (status(state="stopping"), "the node stops"),
        (status(pid=2**22 - 1), "the node ended"),
    ],
)
def test_a_node_that_goes_is_said(
    config: Path, monkeypatch: pytest.MonkeyPatch, then: SupervisorStatus, expected: str
) -> None:
    said = reload(config, monkeypatch, then)
    assert (said.exit_code, expected in said.output) == (1, True), said.output


def test_a_new_process_has_read_the_file(config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = reload(config, monkeypatch, status(pid=os.getppid()))
    assert (said.exit_code, "a new node process" in said.output) == (0, True), said.output


@pytest.mark.parametrize("text", ["a: [\n", "runDir: relative\n", "wrokers: 1\n"])
def test_the_node_is_found_where_its_file_is_wrong(
    config: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    config.write_text(text)
    refused = status(reloads=ReloadCounts(begun=1, ended=1), config_error="error: wrong")
    said = reload(config, monkeypatch, refused, RUNTIME_DIRECTORY=str(config.parent))
    assert said.exit_code == 1
    assert "error: wrong" in said.output


def test_no_node_is_said_with_what_is_wrong_with_the_file(tmp_path: Path) -> None:
    config = tmp_path / "egressd.yaml"
    config.write_text(f"runDir: {tmp_path}\n")
    said = CliRunner().invoke(main, ["reload", "--bootstrap", str(config)])
    assert (said.exit_code, "no node runs here" in said.output) == (1, True)
    config.write_text(f"runDir: {tmp_path}\nwrokers: 1\n")
    said = CliRunner().invoke(main, ["reload", "--bootstrap", str(config)])
    assert (said.exit_code, "wrokers" in said.output) == (1, True)
