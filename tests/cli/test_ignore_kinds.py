"""`--ignore-kinds` and the marker of a directory: skipped kinds are said once."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from egressd.api.other_kinds import MARKER
from egressd.cli.ignore_kinds import spelled_out
from egressd.cli.main import main
from tests.registry.test_merge import service

OTHERS = "apiVersion: v1\nkind: Service\n---\napiVersion: apps/v1\nkind: Deployment\n---\n"


def _run(*arguments: str) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, list(arguments))
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    for name in "ab":
        (tmp_path / f"{name}.yaml").write_text(OTHERS + service(name))
    return tmp_path


@pytest.mark.parametrize(
    "option",
    [
        ["--ignore-kinds"],
        ["--ignore-kinds", "*"],
        ["--ignore-kinds", "Service,Deployment"],
        ["--ignore-kinds=Service", "--ignore-kinds=Deployment"],
    ],
)
@pytest.mark.parametrize("is_before", [True, False])
def test_skipped_kinds_are_said_once(shared: Path, option: list[str], is_before: bool) -> None:
    words = [*option, str(shared)] if is_before else [str(shared), *option]
    code, out, err = _run("validate", "--offline", *words)
    assert (code, out) == (0, "2 resources, 0 errors, 0 warnings\n")
    assert err == "skipped, kinds of others: Deployment (2), Service (2)\n"


def test_a_marker_does_the_same(shared: Path) -> None:
    assert _run("validate", "--offline", str(shared))[0] == 1
    (shared / MARKER).touch()
    code, _, err = _run("validate", "--offline", str(shared))
    assert (code, err) == (0, "skipped, kinds of others: Deployment (2), Service (2)\n")


def test_other_commands_take_it(shared: Path) -> None:
    assert _run("analyze", "--offline", "--ignore-kinds", str(shared))[0] == 0
    assert _run("routes", "--config", str(shared), "--ignore-kinds", "a.example")[0] == 0


def test_what_follows_is_a_path_where_it_is_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert spelled_out(["--ignore-kinds", "Shared"]) == ["--ignore-kinds", "Shared"]
    (tmp_path / "Shared").mkdir()
    assert spelled_out(["--ignore-kinds", "Shared"]) == ["--ignore-kinds=*", "Shared"]
