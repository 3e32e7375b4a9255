"""`egressd run`: which file it reads, by each way to name one, and how it says so."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from egressd.node.bootstrap import DEFAULT_PATH
from integration.node import eventually

RUN = [sys.executable, "-m", "egressd.cli.main", "run"]
PATIENCE_S = 60.0


def run(*words: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*RUN, *words],
        env={**os.environ, **(environ or {})},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )


def test_every_way_to_name_the_file_reads_it(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("wrokers: 2\nrunDir: run\n")
    expected = f'{wrong}:1: wrokers: found unknown field "wrokers"'
    for words, environ in (
        (["--bootstrap", str(wrong)], {}),
        ([], {"EGRESSD_CONFIG": str(wrong)}),
        (["--bootstrap", str(wrong)], {"EGRESSD_CONFIG": "/absent"}),
        (["--config", str(wrong)], {}),
    ):
        ended = run(*words, environ=environ)
        assert ended.returncode == 1, ended.stderr
        assert expected in ended.stderr
        assert f'{wrong}:2: runDir: found "run"' in ended.stderr
        assert ("--config names resources" in ended.stderr) == ("--config" in words)


def test_a_named_file_must_exist(tmp_path: Path) -> None:
    absent = str(tmp_path / "absent")
    for words, environ in ((["--bootstrap", absent], {}), ([], {"EGRESSD_CONFIG": absent})):
        ended = run(*words, environ=environ)
        assert (ended.returncode, "No such file" in ended.stderr) == (1, True), ended.stderr


def test_both_spellings_at_once_are_refused(tmp_path: Path) -> None:
    ended = run("--bootstrap", "a.yaml", "--config", "b.yaml")
    assert ended.returncode == 2
    assert "--config names resources" in ended.stderr


def test_the_first_line_names_the_file_and_the_former_spelling_still_runs(tmp_path: Path) -> None:
    config = tmp_path / "egressd.yaml"
    text = f"workers: 1\nlisteners: [{{name: egress, port: 0}}]\nrunDir: {tmp_path}/run\n"
    config.write_text(f"{text}stateDir: {tmp_path}/state\n")
    lines = lines_until_serving(["--config", str(config)], tmp_path)
    assert lines[0]["event"] == "configuration read"
    assert lines[0]["file"] == str(config)
    assert "deprecated" in str(lines[1]["event"])


@pytest.mark.skipif(os.geteuid() != 0 or DEFAULT_PATH.exists(), reason="needs a place of its own")
def test_the_first_line_says_that_defaults_apply(tmp_path: Path) -> None:
    script = (
        "mount -t tmpfs tmpfs /run && mount --bind $1 /var/lib && ip link set lo up "
        '&& exec "$2" -m egressd.cli.main run'
    )
    alone = ["unshare", "--mount", "--net", "bash", "-c", script, "run", str(tmp_path), RUN[0]]
    lines = lines_until_serving([], tmp_path, alone)
    assert lines[0]["event"] == "no configuration file: every default applies"
    assert lines[0]["looked_for"] == str(DEFAULT_PATH)


def lines_until_serving(
    words: list[str], directory: Path, command: list[str] = RUN
) -> list[dict[str, object]]:
    """The log of a node until it serves."""
    log = directory / "node.log"
    with log.open("wb") as file:
        node = subprocess.Popen([*command, *words], stdout=subprocess.DEVNULL, stderr=file)
    try:
        eventually(lambda: '"serving"' in log.read_text() or node.poll() is not None, PATIENCE_S)
        node.send_signal(signal.SIGTERM)
        assert node.wait(PATIENCE_S) == 0, log.read_text()
    finally:
        node.kill()
        node.wait()
    return [json.loads(line) for line in log.read_text().splitlines()]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_whole_process_group_is_a_stop_and_nothing_else(
    number: signal.Signals, tmp_path: Path
) -> None:
    """Ctrl-C in a terminal; SIGTERM as `timeout` and process managers send it."""
    config = tmp_path / "egressd.yaml"
    text = f"workers: 2\nlisteners: [{{name: egress, port: 0}}]\nrunDir: {tmp_path}/run\n"
    config.write_text(f"{text}stateDir: {tmp_path}/state\n")
    log = tmp_path / "log"
    with log.open("wb") as output:
        node = subprocess.Popen([*RUN, "--bootstrap", str(config)], stderr=output, process_group=0)
    try:
        eventually(lambda: '"serving"' in log.read_text(), PATIENCE_S)
        os.killpg(node.pid, number)
        assert node.wait(PATIENCE_S) == 0
    finally:
        node.kill()
        node.wait()
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["event"] for line in lines if line["level"] not in {"info", "debug"}] == []
    ended = [(line["role"], line["index"]) for line in lines if line["event"] == "ended"]
    assert sorted(ended) == [("registry", 0), ("worker", 0), ("worker", 1)]
