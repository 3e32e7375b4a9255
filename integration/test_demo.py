"""The README's first command does what it says and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path


def test_demo_once_shows_and_checks_itself_and_cleans_up(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "egressd.cli.main", "demo", "--once"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "shop.demo x-tester" in done.stdout
    assert "outbound|80||secure.demo" in done.stdout
    assert "ejections remembered" in done.stdout
    assert "curl -i -H 'Host: shop.demo'" in done.stdout
    assert not list(tmp_path.iterdir())
