"""README's "On a VM", literally, on a machine of its own that systemd has booted."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from integration.booted import ROOT, check_script, needs_systemd, run_under_systemd

PATIENCE_S = 400.0


def readme_block() -> str:
    """The commands of the section."""
    section = (ROOT / "README.md").read_text().partition("## On a VM\n")[2]
    found = re.search(r"```sh\n(.*?)```", section, re.DOTALL)
    assert found
    return found[1]


def checkout(directory: Path) -> None:
    """What a clone of the repository holds, links as links."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    for name in filter(None, listed.stdout.decode().split("\0")):
        if (ROOT / name).is_symlink() or (ROOT / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, directory / name, follow_symlinks=False)


def has_venv() -> bool:
    """Whether the booted machine's own Python can make a virtual environment, as README asks."""
    made = subprocess.run(
        ["/usr/bin/env", "-i", "PATH=/usr/bin:/bin", "python3", "-c", "import ensurepip, venv"],
        capture_output=True,
        check=False,
    )
    return made.returncode == 0


@needs_systemd
@pytest.mark.skipif(not has_venv(), reason="needs python3-venv")
def test_readme_makes_a_service_of_a_bare_machine(tmp_path: Path) -> None:
    checkout(tmp_path / "checkout")
    (tmp_path / "readme.sh").write_text(readme_block())
    log = run_under_systemd(tmp_path, check_script("install_check.sh"), PATIENCE_S, "bare")
    said = dict(line.partition(": ")[::2] for line in log.splitlines())
    assert said["readme ends with"] == "0", log
    assert (said["service"], said["socket"]) == ("active", "active"), log
    assert said["enabled"] == "enabled enabled "
    assert said["answer"] == "502"
    assert said["again"] == "everything is in its place"
    assert said["version"].startswith("egressd")
    assert "/etc/egressd/egressd.yaml" in said["first line"]
    assert "status" in said["completes"]

    looks = {words: status for words, status in said.items() if words.startswith("ann may ")}
    assert len(looks) == 8
    assert set(looks.values()) == {"0"}, log
    assert said["ann watched"] != "0", log
    assert "not permitted" in said["ann reloads"]
    assert "root" in said["ann confirms"]
    assert "needs root" in said["ann installs"]
    assert "group" in said["bob looks"]

    assert (said["started without its user"], said["answer then"]) == ("0", "502"), log
    assert (said["wrong reload"], said["wrong restart"]) == ("1", "1"), log
    assert said["restarts"] == "0"
    assert (said["mended"], said["answer mended"]) == ("0", "502"), log
    assert (said["masked"], said["answer masked"]) == ("0", "502"), log
    assert said["left"] == "/etc/systemd/system/egressd.service.before ", log
    assert "egressd.yaml" in said["configuration left"]
    assert said["purged"] == "0 ", log
