"""The node's log in a process of its own: what Python code says becomes a line, nothing raises."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

BEGIN = """
import logging, os, sys, threading, warnings
import structlog
from egressd.node.bootstrap_model import LogConfig
from egressd.node.log import capture_python_output, configure_log, dropped_lines, flush_log
configure_log(LogConfig())
capture_python_output()
log = structlog.get_logger()
"""
RUN = """
for code in CODES:
    log.info("begin")
    try:
        exec(code, globals())
    except Exception:
        sys.excepthook(*sys.exc_info())
"""
SAYINGS: list[tuple[str, dict[str, object]]] = [
    ("log.info('hello', n=1)", {"event": "hello", "n": 1}),
    ("print('hello')", {"event": "printed", "text": "hello", "stream": "stdout"}),
    ("print('no end', end='', file=sys.stderr, flush=True)", {"stream": "stderr", "text": "no end"}),
    ("logging.getLogger('lib').warning('old %s', 'style')", {"event": "old style", "logger": "lib"}),
    ("logging.getLogger('lib').log(35, 'odd level')", {"event": "odd level", "level": "warning"}),
    (
        "thread = threading.Thread(target=lambda: 1 / 0, name='t'); thread.start(); thread.join()",
        {"event": "uncaught exception in a thread", "thread": "t", "level": "error"},
    ),
    ("raise RuntimeError('the end')", {"event": "uncaught exception", "level": "critical"}),
    ("class D:\n  def __del__(self): 1 / 0\nD()", {"level": "error"}),
    ("log.info('odd', text='\\udc80\\x00', raw=b'\\xff', thing=object())", {"event": "odd"}),
    (
        "class Bad:\n  def __repr__(self): raise ValueError\nlog.error('bad', thing=Bad())",
        {"event": "'bad'", "unprintable": "ValueError"},
    ),
    ("for n in range(9): logging.getLogger('lib').error('again %d', n)", {"event": "again 0"}),
    ("warnings.warn('old', UserWarning)", {"logger": "py.warnings"}),
    (
        "try: open('/nonexistent')\n"
        "except OSError: logging.getLogger('lib').error('failed', exc_info=True)",
        {"error": "[Errno 2] No such file or directory: '/nonexistent'", "exception": None},
    ),
]  # fmt: skip


@pytest.fixture(scope="module")
def said() -> list[list[dict[str, object]]]:
    """The lines of each saying."""
    code = f"{BEGIN}CODES = {[code for code, _ in SAYINGS]!r}\n{RUN}"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60, check=True)
    assert done.stdout == b""
    found: list[list[dict[str, object]]] = []
    for line in map(json.loads, done.stderr.splitlines()):
        if line["event"] == "begin":
            found.append([])
        else:
            found[-1].append(line)
    return found


@pytest.mark.parametrize("number", range(len(SAYINGS)), ids=lambda n: SAYINGS[n][0][:30])
def test_whatever_python_code_says_is_one_line(
    said: list[list[dict[str, object]]], number: int
) -> None:
    (line,) = said[number]
    expected = SAYINGS[number][1]
    assert {name: line.get(name) for name in expected} == expected


@pytest.mark.parametrize("fds", ["(2,)", "(0, 1, 2)"])
def test_closed_standard_descriptors_are_not_taken_by_the_next_file(fds: str) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            f"import os\nfor fd in {fds}: os.close(fd)\n"
            + BEGIN
            + "log.error('lost'); sys.exit(0 if os.pipe()[0] > 2 else 9)",
        ],
        timeout=60,
        check=False,
    )
    assert done.returncode == 0


def test_a_low_limit_of_open_files_is_no_error() -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import resource\nresource.setrlimit(resource.RLIMIT_NOFILE, (50, 50))\n"
            + BEGIN
            + "log.error('here')",
        ],
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, json.loads(done.stderr)["event"]) == (0, "here")
