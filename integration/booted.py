"""Boots systemd in namespaces of its own, to run a check script under it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SYSTEMD = Path("/lib/systemd/systemd")

needs_systemd = pytest.mark.skipif(
    os.geteuid() != 0 or not SYSTEMD.exists() or shutil.which("unshare") is None,
    reason="needs root, systemd and unshare",
)


def check_script(name: str) -> str:
    """The text of a script of this directory."""
    return (ROOT / "integration" / name).read_text()


def run_under_systemd(
    test: Path,
    script: str,
    patience_s: float,
    *words: str,
    more: Sequence[str] = (),
) -> str:
    """What a check script, given as its text, said; it ends with "finished". `words` go to
    systemd_inside.sh, `more` are namespaces of its own. Skips where no systemd can be booted."""
    (test / "root").mkdir()
    test.chmod(0o755)
    (test / "check.sh").write_text(script)
    namespaces = ["--mount", "--pid", "--cgroup", "--ipc", "--uts", "--fork", "--kill-child", *more]
    inside = ["bash", str(ROOT / "integration" / "systemd_inside.sh")]
    places = [str(ROOT), sys.base_prefix, sysconfig.get_path("purelib"), str(test)]
    init = subprocess.Popen(
        ["unshare", *namespaces, *inside, *places, *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    log = test / "log"
    deadline = time.monotonic() + patience_s
    try:
        while not (log.exists() and log.read_text().endswith("finished\n")):
            if init.poll() is not None:
                pytest.skip(f"no systemd in namespaces here (exit {init.returncode})")
            if time.monotonic() > deadline:
                pytest.fail(log.read_text() if log.exists() else "systemd did not boot")
            time.sleep(0.1)
    finally:
        init.kill()  # with it the namespace's PID 1, and with that everything in it
        init.wait()
    return log.read_text()
