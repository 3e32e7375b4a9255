"""Rules of the house that no linter knows."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MOST_LINES = 420


def _tracked() -> list[Path]:
    # Another user's checkout will do: CI runs the tests once as nobody.
    if shutil.which("git") is None:
        pytest.skip("needs git")
    command = ["git", "-c", "safe.directory=*", "ls-files"]
    listed = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    return [ROOT / name for name in listed.stdout.split("\n") if name and (ROOT / name).is_file()]


def test_source_files_stay_short() -> None:
    long = {
        str(path.relative_to(ROOT)): count
        for path in _tracked()
        if path.suffix == ".py" and not path.name.endswith("_resources.py")  # tables of YAML
        if (count := len(path.read_text().splitlines())) > MOST_LINES
    }
    assert not long, f"split these files: {long}"


def test_nothing_names_a_private_place() -> None:
    private = re.compile(
        r"/(?:root/\.[a-z]|home/[a-z]+/[a-z])|/work/(?:main|shared)|pypi\.org|deb\.debian\.org"
    )
    found = {
        str(path.relative_to(ROOT)): match[0]
        for path in _tracked()
        if path.suffix in {".py", ".md", ".toml", ".yaml", ".sh", ".service", ""}
        and path.name != "test_layout.py"
        if (match := private.search(path.read_text(errors="replace")))
    }
    assert not found, f"paths of one machine or hosts of a registry: {found}"


def test_every_room_states_its_rule() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in _tracked()
        if path.name == "__init__.py" and path.is_relative_to(ROOT / "egressd")
        if not path.read_text().lstrip().startswith('"""')
    ]
    assert not silent
