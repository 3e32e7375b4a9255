"""The whole table of invalid resources against a running node: none is taken, none harms."""

from __future__ import annotations

import json
from pathlib import Path

from integration.node import Node, eventually
from integration.origins import Origin, service_entry
from tests.api.invalid_resources import INVALID


def test_no_invalid_resource_reaches_the_registry(tmp_path: Path) -> None:
    assert len(INVALID) >= 500
    with Origin("web") as origin:
        with Node(tmp_path, {"web.yaml": service_entry("web", origin.port)}) as node:
            version = node.admin_json("/status")["registry_version"]  # type: ignore[call-overload,index]
            bad = node.resources / "bad"
            bad.mkdir()
            for number, case in enumerate(INVALID):
                (bad / f"{number:04}.yaml").write_text(case.text)
            refused = eventually(lambda: _refused(node, len(INVALID)), 90)
            for number, case in enumerate(INVALID):
                fields = refused[f"{number:04}.yaml"]
                assert case.field in fields, (case, fields)
            status = json.loads(node.admin("/status")[1])
            assert status["registry_version"] == version
            assert node.get("web.example")[2] == b"web"


def _refused(node: Node, count: int) -> dict[str, str]:
    """File name to what was said about it, once every file was looked at."""
    found: dict[str, str] = {}
    for problem in json.loads(node.admin("/status")[1])["problems"]:
        if problem.startswith("error"):
            name = problem.partition("/bad/")[2].partition(":")[0]
            found[name] = found.get(name, "") + problem + "\n"
    return found if len([name for name in found if name]) >= count else {}
