"""`egressd --help` loads nothing that it does not need."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("rich", "trio", "msgspec", "cryptography", "yaml", "structlog", "egressd.api.resource")
SCRIPT = f"""
import sys
from egressd.cli.main import main
try:
    main(sys.argv[1:], prog_name="egressd")
except SystemExit as ended:
    assert not ended.code, ended.code
print(*[name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""


@pytest.mark.parametrize("words", [["--help"], ["version"], []])
def test_help_is_quick(words: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *(words or ["-h"])],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert done.stderr == "\n"
    assert done.stdout
