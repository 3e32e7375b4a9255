"""The unit files: verified, spoken to over the notification protocol, and run by a real systemd."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from egressd.node.status import read_status
from integration.booted import check_script, needs_systemd, run_under_systemd

ROOT = Path(__file__).parents[1]
UNIT = ROOT / "systemd" / "egressd.service"
PATIENCE_S = 60.0


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd-analyze")
@pytest.mark.parametrize(
    "name",
    ["egressd.service", "egressd.socket", "egressd-setup.service", "egressd-register.service"],
)
def test_systemd_accepts_the_unit(name: str, tmp_path: Path) -> None:
    for unit in (ROOT / "systemd").glob("*.s[eo]*"):
        text = unit.read_text().replace("/usr/bin/egressd", "/bin/true")
        (tmp_path / unit.name).write_text(text)
    verified = subprocess.run(
        ["systemd-analyze", "verify", "--man=no", str(tmp_path / name)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (verified.returncode, verified.stderr) == (0, "")


def test_egressd_run_tells_its_manager_of_every_phase(tmp_path: Path) -> None:
    config = tmp_path / "egressd.yaml"
    text = f"workers: 1\nlisteners: [{{name: egress, port: 0}}]\nrunDir: {tmp_path}/run\n"
    config.write_text(f"{text}stateDir: {tmp_path}/state\n")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(PATIENCE_S)
        node = subprocess.Popen(
            [sys.executable, "-m", "egressd.cli.main", "run", "--bootstrap", str(config)],
            env={**os.environ, "NOTIFY_SOCKET": str(tmp_path / "notify")},
            stdout=subprocess.DEVNULL,
        )
        try:
            assert _states(manager, 1) == ["READY=1"]
            assert read_status(tmp_path / "run" / "supervisor.json").state == "ready"
            node.send_signal(signal.SIGHUP)
            assert _states(manager, 2) == ["RELOADING=1", "READY=1"]
            node.send_signal(signal.SIGTERM)
            assert _states(manager, 1) == ["STOPPING=1"]
            assert node.wait(PATIENCE_S) == 0
        finally:
            node.kill()
            node.wait()
    assert list((tmp_path / "run").iterdir()) == []


def _states(manager: socket.socket, count: int) -> list[str]:
    """The next `count` notifications that are more than a status line."""
    states: list[str] = []
    while len(states) < count:
        first = manager.recv(4096).decode().split("\n")[0]
        if not first.startswith(("STATUS=", "FDSTORE")):
            states.append(first)
    return states


@needs_systemd
def test_a_real_systemd_starts_reloads_and_stops_the_hardened_unit(tmp_path: Path) -> None:
    said = run_under_systemd(tmp_path, check_script("systemd_check.sh"), PATIENCE_S)
    assert "started active" in said
    assert "workers serve\nadmin srw-rw---- egressd egressd\nanswer 502\n" in said
    assert "reload ends with 0, generation 1\n" in said
    assert "reloaded ready: 1 of 1 workers serve" in said
    assert 'restarted   "workerRestarts": 1' in said
    assert "again 502" in said
    assert "same main process yes" in said
    assert "reload of a wrong file ends with 1" in said
    assert "last reload refused" in said
    assert "stopped success\nleft 0\n" in said
