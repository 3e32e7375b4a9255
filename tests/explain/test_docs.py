"""The worked examples of docs/explain.md are what the command prints; its JSON has the keys it names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

from egressd.cli import output
from egressd.cli.explain import explain
from egressd.cli.screen import Screen

ROOT = Path(__file__).parents[2]
BLOCKS = re.findall(
    r"```\n\$ egressd (.*?)\n(.*?)```", (ROOT / "docs/explain.md").read_text(), re.DOTALL
)


def run(words: str, directory: Path, status: int = 0) -> str:
    """What the command prints on a node of which nothing is configured."""
    bootstrap = directory / "egressd.yaml"
    bootstrap.write_text("{}\n")
    command, *arguments = words.split(" ")
    assert command == "explain"
    done = CliRunner().invoke(explain, arguments, env={"EGRESSD_CONFIG": str(bootstrap)})
    assert done.exit_code == status, done.output
    return done.output


def printed_of(output: str) -> str:
    """Without the warnings of validation, which go to standard error."""
    lines = output.splitlines(keepends=True)
    return "".join(line for line in lines if not line.startswith("warning: "))


@pytest.mark.parametrize(("words", "printed"), BLOCKS, ids=[words for words, _ in BLOCKS])
def test_a_worked_example_is_what_is_printed(
    words: str, printed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    page = Screen(
        110, 24, has_colour=False
    )  # the examples are shown as on a terminal of this width
    monkeypatch.setattr(output, "find_screen", lambda err=False: None if err else page)
    assert printed_of(run(words, tmp_path)) == printed


def test_there_are_two_examples() -> None:
    assert len(BLOCKS) == 2


def test_json_has_every_key(tmp_path: Path) -> None:
    words = f"explain -o json --config {ROOT}/examples/sticky.yaml GET http://carts.example.com/"
    found = json.loads(run(words, tmp_path))
    assert found.keys() == {"asked", "outcome", "steps", "destinations", "mirrors"}
    assert found["outcome"].keys() == {"kind", "says", "status", "flag", "details", "headers"}
    for step in found["steps"]:
        assert step.keys() == {"name", "says", "by", "considered", "notes"}
    (destination,) = found["destinations"]
    assert set(destination) == {
        "cluster", "host", "subset", "port", "weight", "share", "problem", "resolution", "protocol",
        "service_entries", "destination_rules", "sent", "policy", "levels", "hashing", "notes",
    }  # fmt: skip
    assert destination["hashing"].keys() == {"by", "key", "endpoints"}
    assert destination["levels"][0]["endpoints"][0].keys() == {
        "id", "hostname", "weight", "share", "locality", "labels", "health", "ejected_for_s",
        "times_ejected", "consecutive_errors",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ("", "give a URL, METHOD and URL"),
        ("GET", "give a URL, METHOD and URL"),
        ("--tcp 10.0.0.1", "expected ADDRESS:PORT or :PORT"),
        ("--tcp x:80", "expected an IP address"),
        ("--tcp :80 GET http://a/", "leave METHOD and URL out"),
        ("GET ftp://a/", "expected http:// or https://"),
        ("-H x GET http://a/", "expected 'Name: value'"),
        ("--gateway no GET http://a/", "no such Gateway; there are none"),
        ("--sni a -H x:y", "-H goes with METHOD and URL"),
    ],
)
def test_a_question_that_lacks_something_says_what(words: str, error: str, tmp_path: Path) -> None:
    said = run(f"explain --config {ROOT}/examples/canary.yaml {words}", tmp_path, status=2)
    assert error in said
