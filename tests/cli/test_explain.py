"""`egressd explain` asks what a client writes, letter by letter."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from egressd.cli.main import main

SERVICE = (
    "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {name: a}\n"
    "spec: {hosts: [a.example], ports: [{number: 80, name: http, protocol: HTTP}], "
    "resolution: STATIC, endpoints: [{address: 192.0.2.1}]}\n"
)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "a.yaml"
    file.write_text(SERVICE)
    return file


def explain(config: Path, *words: str) -> dict[str, object]:
    result = CliRunner().invoke(main, ["explain", "--config", str(config), "-o", "json", *words])
    assert result.exit_code == 0, result.output
    found = json.loads(result.output)
    assert isinstance(found, dict)
    return found


@pytest.mark.parametrize(
    ("words", "status", "target"),
    [
        ("GET http://a.example/x/../y?q=/..", 0, "/y?[redacted]"),
        ("GET HTTP://A.Example.?q", 0, "/?[redacted]"),
        ("GET a.example/a//%2f#x", 0, "/a//%2f"),
        ("GET a.example?u=http://b/", 0, "/?[redacted]"),
        ("GET http://a.example/x\\y", 0, "/x/y"),
        ("GET http://a.example\\x/", 400, ""),
        ("GET http://a.example:080/", 400, ""),
        ("GET http://u:p@a.example/", 400, ""),
        ("GET http://[::1/", 400, ""),
        ("GET http://127.1/", 400, ""),
        ("GET http:///x", 400, ""),
        ("GET http://a.example/%00", 400, ""),
        ("get http://a.example/", 400, ""),
        ("CONNECT a.example:80", 405, ""),
        ("CONNECT http://a.example:80", 405, ""),
        ("CONNECT a.example", 400, ""),
    ],
)
def test_a_request(config: Path, words: str, status: int, target: str) -> None:
    found = explain(config, *words.split(" "))
    outcome, destinations = found["outcome"], found["destinations"]
    assert isinstance(outcome, dict)
    assert isinstance(destinations, list)
    assert outcome["status"] == status
    assert [one["sent"]["target"] for one in destinations] == ([target] if target else [])


def test_another_scheme_is_no_question(config: Path) -> None:
    words = ["explain", "--config", str(config), "GET", "ftp://a.example/"]
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2
    assert "expected http:// or https://" in result.output
