"""An adapter that is a package of its own: installed beside egressd, found by its entry point."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from integration.node import Node, eventually
from integration.origins import Origin

PACKAGE = Path(__file__).parent / "third_party" / "roster"


def write(path: Path, services: Mapping[str, object]) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(services))
    beside.replace(path)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory to put on PYTHONPATH. Nothing is fetched."""
    scratch = tmp_path_factory.mktemp("third-party")
    source, target = scratch / "source", scratch / "installed"
    source.mkdir()
    for file in PACKAGE.iterdir():  # a build leaves files beside the source
        if file.is_file():
            (source / file.name).write_bytes(file.read_bytes())
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-index", "--no-deps"]
    options = ["--no-build-isolation", "--disable-pip-version-check", "--target", str(target)]
    done = subprocess.run(
        [*pip, *options, str(source)], capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr
    return target


def test_traffic_reaches_a_service_of_an_adapter_installed_by_itself(
    installed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = [str(installed), os.environ.get("PYTHONPATH", "")]
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, path)))
    roster = tmp_path / "roster.json"
    adapters = [{"type": "roster", "options": {"path": str(roster)}}]
    with Origin("a") as a, Origin("b") as b:
        names = [f"s{number}.example" for number in range(12)]
        services = {name: {"port": a.port, "addresses": ["127.0.0.1"]} for name in names}
        write(roster, services)
        with Node(tmp_path / "node", adapters=adapters, resources=[]) as node:
            eventually(lambda: node.get("s3.example")[2] == b"a")
            services["s3.example"] = {"port": b.port, "addresses": ["127.0.0.1"]}
            services["bad name"] = {"port": 1, "addresses": []}
            write(roster, services)
            eventually(lambda: node.get("s3.example")[2] == b"b")
            assert "ServiceEntry/default/bad name" in node.log()
            roster.write_text("{")
            eventually(lambda: "source failed" in node.log())
            assert node.get("s3.example")[2] == b"b"
            write(roster, {"s0.example": services["s0.example"]})
            eventually(lambda: node.get("s3.example")[0] == 502, 30)  # a second look confirmed it
            assert node.get("s0.example")[2] == b"a"
            assert "mass loss held" in node.log()


def test_the_example_stays_short() -> None:
    assert len((PACKAGE / "egressd_roster.py").read_text().splitlines()) < 60
