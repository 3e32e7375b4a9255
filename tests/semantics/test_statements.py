"""What Istio's documentation and pilot say, statement by statement, against the pure decisions."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import tests.semantics
from tests.semantics.world import Statement, World

_TABLES = [
    module.name
    for module in pkgutil.iter_modules(tests.semantics.__path__)
    if module.name not in ("lines", "world") and not module.name.startswith("test_")
]


def _statements() -> list[tuple[str, Statement]]:
    found = []
    for name in _TABLES:
        module = importlib.import_module(f"tests.semantics.{name}")
        found += [(name, statement) for statement in module.STATEMENTS]
    return found


@pytest.mark.parametrize(
    "statement", [one for _, one in _statements()], ids=[f"{t}: {s.says}" for t, s in _statements()]
)
def test_statement(statement: Statement) -> None:
    assert World(statement.resources).answer(statement.ask) == statement.expected


def test_statements_are_many_and_each_says_something_of_its_own() -> None:
    statements = [statement for _, statement in _statements()]
    assert len(statements) >= 218
    assert len({statement.says for statement in statements}) == len(statements)
