"""The README's first command does what it says and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

DEMO = [sys.executable, "-m", "egressd.cli.main", "demo"]


def test_demo_once_shows_and_checks_itself_and_cleans_up(tmp_path: Path) -> None:
    done = subprocess.run(
        [*DEMO, "--once"],
        env={**os.environ, "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith("egressd demo: a real node")
    assert "shop.demo x-tester" in done.stdout
    assert "outbound|80||secure.demo" in done.stdout
    assert "ejections remembered" in done.stdout
    assert "http://127.0.0.1" not in done.stdout  # the node is gone by then
    assert "\x1b" not in done.stdout
    assert not list(tmp_path.iterdir())


def test_what_the_demo_says_to_try_works_from_another_shell() -> None:
    place = Path(
        tempfile.mkdtemp(prefix="a b", dir="/tmp")
    )  # short: Unix sockets are made below it
    demo = subprocess.Popen(
        DEMO, env={**os.environ, "TMPDIR": str(place)}, stdout=subprocess.PIPE, text=True
    )
    try:
        assert demo.stdout is not None
        lines: list[str] = []
        while not (lines and lines[-1].startswith("cluster")):
            lines.append(demo.stdout.readline())
            assert lines[-1], lines
        tries = [line.strip() for line in lines if line.startswith(("  curl", "  sh "))]
        assert len(tries) == 5
        for line in tries:
            done = subprocess.run(
                ["sh", "-c", line],
                env={"PATH": "/usr/bin:/bin"},
                cwd="/",
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            assert done.returncode == 0, (line, done.stdout, done.stderr)
            assert "demo" in done.stdout or "HTTP/1.1 200" in done.stdout, (line, done.stdout)
    finally:
        demo.send_signal(signal.SIGINT)
        demo.wait(30)
    place.rmdir()  # nothing is left in it
