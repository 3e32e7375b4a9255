"""Specs that Istio's validation and Kubernetes definitions take or refuse, a line each."""

from __future__ import annotations

from pathlib import Path

import pytest

from egressd.api.parse import parse_text

ROWS = [
    line.split(" ", 2)
    for line in (Path(__file__).parent / "istio_rules.txt").read_text().splitlines()
    if not line.startswith("#")
]
HEAD = "apiVersion: networking.istio.io/v1\nkind: {}\nmetadata: {{name: a, namespace: bar}}\nspec: {}\n"


@pytest.mark.parametrize(("kind", "verdict", "spec"), ROWS)
def test_the_parser_says_what_istio_says(kind: str, verdict: str, spec: str) -> None:
    parsed = parse_text(HEAD.format(kind, spec), "a.yaml")
    assert bool(parsed.errors) == (verdict == "refused"), parsed.problems
    if verdict == "warned":
        assert parsed.problems
