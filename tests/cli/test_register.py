"""`egressd register`: what is refused before any registry is asked."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner

from egressd.cli.main import main


def test_one_id_in_two_files_is_refused(tmp_path: Path) -> None:
    """Both would be kept registered, each over the other."""
    config = tmp_path / "egressd.yaml"
    config.write_text("")
    arguments = ["register", "--once", "--to", "consul", "--bootstrap", str(config)]
    for name in ("a", "b"):
        (tmp_path / name).write_text("services: [{name: web, port: 80}]")
        arguments += ["-f", str(tmp_path / name)]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 1
    assert f"{tmp_path}/b: found a service with id web-80, expected" in result.output
