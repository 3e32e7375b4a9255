"""`egressd validate`: all errors at once, exit status, JSON."""

from __future__ import annotations

import json
import os
from pathlib import Path

from click.testing import CliRunner

from egressd.cli.main import main
from tests.registry.test_merge import service


def _run(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, ["validate", *arguments])
    return result.exit_code, result.output


def test_valid_files_exit_0(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(service("a"))
    code, output = _run(str(tmp_path))
    assert code == 0
    assert "1 resource, 0 errors" in output


def test_all_errors_of_all_files_are_shown_at_once(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(service("a").replace("80", "99999999"))
    (tmp_path / "b.yaml").write_text(service("b").replace("STATIC", "STATIK"))
    code, output = _run(str(tmp_path))
    assert code == 1
    assert "a.yaml" in output
    assert "spec.ports[0].number" in output
    assert "b.yaml" in output
    assert "spec.resolution" in output


def test_json_for_programs(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(service("a").replace("resolution:", "resolutions:"))
    code, output = _run("-o", "json", str(tmp_path))
    assert code == 1
    found = json.loads(output)
    assert found["errors"] >= 1
    assert any(problem["field"] == "spec.resolutions" for problem in found["problems"])


def test_a_bootstrap_file_is_checked_too(tmp_path: Path) -> None:
    path = tmp_path / "egressd.yaml"
    path.write_text("workerz: 2\n")
    code, output = _run("--bootstrap", str(path))
    assert code == 1
    assert "workerz" in output


def test_no_path_is_wrong_usage() -> None:
    assert _run()[0] == 2


def test_a_directory_is_read_as_the_static_adapter_reads_it(tmp_path: Path) -> None:
    """A ConfigMap's directory: the files are links into one that begins with a dot."""
    data = tmp_path / "..2026_01"
    data.mkdir()
    (data / "a.yaml").write_text(service("a"))
    (tmp_path / "..data").symlink_to(data.name)
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    (tmp_path / "gone.yaml").symlink_to("nowhere")
    (tmp_path / "#a.yaml").write_text("x")
    (tmp_path / "up").symlink_to(tmp_path)
    (tmp_path / "below.yaml").mkdir()
    (tmp_path / "below.yaml" / "b.json").write_text(service("b"))
    os.mkfifo(tmp_path / "pipe.yaml")
    code, output = _run(str(tmp_path))
    assert code == 0, output
    assert "2 resources, 0 errors" in output


def test_files_that_others_may_write_are_warnings(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    resources = tmp_path / "resources"
    resources.mkdir()
    bootstrap = tmp_path / "egressd.yaml"
    bootstrap.write_text(f"resources: [{resources}]\nrunDir: {tmp_path}\nstateDir: {tmp_path}\n")
    bootstrap.chmod(0o600)
    resources.chmod(0o700)
    assert _run("--bootstrap", str(bootstrap)) == (0, "0 resources, 0 errors, 0 warnings\n")
    resources.chmod(0o777)
    bootstrap.chmod(0o666)
    code, output = _run("--bootstrap", str(bootstrap))
    assert code == 0
    assert f"warning: {bootstrap}: found mode 0666, everybody may write" in output
    assert f"warning: {resources}: resources: found mode 0777, everybody may write" in output
