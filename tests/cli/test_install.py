"""`egressd install`: its steps in a directory of their own, and that they can be repeated."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from egressd.cli import laying
from egressd.cli.completion import PLACES
from egressd.cli.install import UNITS, _out_of_reach, unit_text
from egressd.cli.laying import MARK, Aside, CannotLay, Directory, Link, TextFile
from egressd.cli.main import COMMANDS, main
from egressd.node.bootstrap import parse_bootstrap


def run(*words: str) -> Result:
    return CliRunner().invoke(main, [*words])


def laid(prefix: Path) -> set[str]:
    return {str(path.relative_to(prefix)) for path in prefix.rglob("*") if not path.is_dir()}


def test_a_second_install_changes_nothing_and_uninstall_leaves_what_is_the_operators(
    tmp_path: Path,
) -> None:
    where = ["--prefix", str(tmp_path)]
    assert run("install", *where, "--dry-run").exit_code == 0
    assert laid(tmp_path) == set()
    first = run("install", *where)
    assert first.exit_code == 0, first.output
    units = {f"usr/local/lib/systemd/system/{name}" for name in UNITS}
    command = {"etc/egressd/egressd.yaml", "usr/bin/egressd"}
    assert laid(tmp_path) == units | command | set(PLACES.values())
    before = {name: (tmp_path / name).lstat().st_mtime_ns for name in laid(tmp_path)}
    assert run("install", *where).output == "everything is in its place\n"
    assert {name: (tmp_path / name).lstat().st_mtime_ns for name in laid(tmp_path)} == before

    config = tmp_path / "etc/egressd/egressd.yaml"
    config.write_text("workers: 1\n")
    (tmp_path / "usr/local/lib/systemd/system/egressd.service").unlink()
    again = run("install", *where)
    assert again.output.count("\n") == 1
    assert "egressd.service" in again.output
    gone = run("uninstall", *where)
    assert gone.exit_code == 0, gone.output
    assert laid(tmp_path) == {"etc/egressd/egressd.yaml"}
    assert config.read_text() == "workers: 1\n"
    assert run("uninstall", *where, "--purge").exit_code == 0
    assert laid(tmp_path) == set()
    assert run("uninstall", *where).exit_code == 0


def test_a_unit_of_another_hand_is_kept_beside_and_an_older_one_of_ours_is_not(
    tmp_path: Path,
) -> None:
    step = TextFile(tmp_path / "a.service", f"{MARK}, new\n")
    step.path.write_text("[Service]\n")
    assert "keep what is there as a.service.before" in step.wanted()
    step.take()
    assert (tmp_path / "a.service.before").read_text() == "[Service]\n"
    step.path.write_text(f"{MARK}, old\n")
    assert step.wanted() == f"replace {step.path}"
    step.take()
    assert not step.wanted()
    assert (tmp_path / "a.service.before").read_text() == "[Service]\n"
    step.path.write_text("[Service]\n# of an operator\n")
    assert step.undo() == ""


def test_what_would_hide_a_unit_is_moved_aside_and_a_mask_stays(tmp_path: Path) -> None:
    step = Aside(tmp_path / "egressd.service")
    assert step.wanted() == ""
    step.path.symlink_to("/dev/null")
    assert step.wanted() == ""
    step.path.unlink()
    step.path.write_text("[Service]\n")
    assert "egressd.service.before" in step.wanted()
    step.take()
    assert (step.wanted(), (tmp_path / "egressd.service.before").read_text()) == ("", "[Service]\n")


def test_every_unit_begins_with_the_mark() -> None:
    for name in UNITS:
        assert unit_text(name).startswith(MARK), name


def test_the_first_configuration_is_one() -> None:
    assert parse_bootstrap(unit_text("egressd.first.yaml")).resources == ("/etc/egressd/resources",)


def test_a_link_follows_the_program_and_a_file_in_its_place_is_left_alone(tmp_path: Path) -> None:
    for name in ("old", "new"):
        (tmp_path / name).touch()
    link = Link(tmp_path / "bin" / "egressd", tmp_path / "new")
    link.path.parent.mkdir()
    link.path.symlink_to(tmp_path / "old")
    assert "was" in link.wanted()
    assert link.undo() == ""
    link.take()
    assert (link.wanted(), link.path.resolve()) == ("", tmp_path / "new")
    link.path.unlink()
    link.path.write_text("a package's")
    with pytest.raises(CannotLay, match="another egressd is installed"):
        link.wanted()


def test_a_directory_keeps_its_contents(tmp_path: Path) -> None:
    step = Directory(tmp_path / "a" / "b", 0o750)
    step.take()
    assert (step.path.stat().st_mode & 0o7777, step.wanted()) == (0o750, "")
    (step.path / "kept").touch()
    assert step.undo() == ""


def test_a_command_that_fails_is_told_with_what_it_said() -> None:
    with pytest.raises(CannotLay, match="sh -c echo no >&2; exit 3: no"):
        laying.Act("", ("sh", "-c", "echo no >&2; exit 3"), lambda: False).take()
    with pytest.raises(CannotLay, match="/absent/program: No such file"):
        laying.Act("", ("/absent/program",), lambda: False).take()


def test_a_program_that_the_service_cannot_reach_is_refused(tmp_path: Path) -> None:
    assert "does not see /home" in _out_of_reach(Path("/home/egressd"))
    assert _out_of_reach(Path("/usr/bin/env")) == ""


def test_the_version_is_told_both_ways() -> None:
    assert run("--version").output.split()[-1] == run("version").output.strip()


@pytest.mark.parametrize("shell", list(PLACES))
def test_each_shell_gets_its_completion(shell: str) -> None:
    said = run("completion", shell)
    assert said.exit_code == 0
    assert f"_EGRESSD_COMPLETE={shell}_complete" in said.output


def test_commands_complete_without_being_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.import_module", None)  # to load one would fail
    environ = {"_EGRESSD_COMPLETE": "bash_complete", "COMP_WORDS": "egressd r", "COMP_CWORD": "1"}
    said = CliRunner().invoke(main, [], env=environ, prog_name="egressd").output.split()
    assert said == [f"plain,{name}" for name in COMMANDS if name.startswith("r")]
