"""Misspelt commands, options, kinds and hosts."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from egressd.cli.fleet_access import read_kind
from egressd.cli.main import main
from tests.registry.test_merge import service


@pytest.mark.parametrize(
    ("words", "meant"),
    [
        ("statsu", "did you mean status?"),
        ("validte x", "did you mean validate?"),
        ("Status", "did you mean status?"),
        ("registry lst", "did you mean list?"),
        ("registry gte x", "did you mean get?"),
        ("fleet stat", "did you mean status?"),
        ("status --outptu json", "--output"),
    ],
)
def test_what_was_meant_is_named(words: str, meant: str) -> None:
    result = CliRunner().invoke(main, [*words.split()])
    assert (result.exit_code, meant in result.output) == (2, True), result.output


def test_a_kind_that_was_meant_is_named() -> None:
    with pytest.raises(click.UsageError, match=r"did you mean VirtualService\?"):
        read_kind("virtualservise")


def test_what_is_like_nothing_gets_no_guess() -> None:
    result = CliRunner().invoke(main, ["frobnicate"])
    assert (result.exit_code, "did you mean" in result.output) == (2, False)


@pytest.mark.parametrize(
    "command", ["explain", "explain GET", "routes", "explain CONNECT", "explain -o table"]
)
@pytest.mark.parametrize(
    ("host", "meant"), [("reveiws.example", True), ("reviews.example", False), ("x.test", False)]
)
def test_a_host_that_was_meant_is_named(
    tmp_path: Path, command: str, host: str, meant: bool
) -> None:
    (tmp_path / "a.yaml").write_text(service("reviews"))
    words = [*command.split(), host, "--config", str(tmp_path)]
    result = CliRunner().invoke(main, words)
    assert ("did you mean reviews.example?" in result.output) == meant, result.output


@pytest.mark.parametrize(
    ("words", "asked"),
    [
        ("reviews.example", "GET http://reviews.example/"),
        ("http://reviews.example/a", "GET http://reviews.example/a"),
        ("reviews.example:8080/a", "GET http://reviews.example:8080/a"),
        ("POST reviews.example", "POST http://reviews.example/"),
        ("reviews.example -H x:y", "GET http://reviews.example/"),
    ],
)
def test_the_method_is_get_where_none_is_given(tmp_path: Path, words: str, asked: str) -> None:
    (tmp_path / "a.yaml").write_text(service("reviews"))
    result = CliRunner().invoke(main, ["explain", *words.split(), "--config", str(tmp_path)])
    assert (result.exit_code, result.output.splitlines()[0]) == (0, asked)
