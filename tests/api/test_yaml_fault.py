"""Text that is not YAML: place and cause."""

from __future__ import annotations

import pytest

from egressd.api.parse import parse_text


@pytest.mark.parametrize(
    ("text", "place", "cause"),
    [
        ("a:\n\tb: 1\n", "2:1", "a tab"),
        ("a:\n  \tb: 1\n", "2:3", "a tab"),
        ("a:\n  b: 1\n\t c: 2\n", "3:1", "a tab"),
        ("a: |\n b\n\tc\n", "3:1", "a tab"),
        ("a: @x\n", "1:4", "@ at the beginning of a value"),
        ("a: `x`\n", "1:4", "` at the beginning of a value"),
        ("a: [b, %c]\n", "1:8", "% at the beginning of a value"),
        ("a: *.example.com\n", "1:4", "* at the beginning of a value"),
        ("a: [b, *.example.com]\n", "1:8", "* at the beginning of a value"),
        ("a: b: c\n", "1:5", "a second colon in one line"),
        ("a: x\n  b: y\n", "2:3", "a key that stands further in"),
        ("a:\n    b: 1\n  c: 2\n", "3:3", "an indentation that fits no line above"),
        ("a:\n  - b\n - c\n", "3:2", "an indentation that fits no line above"),
        ('a: "x" y\n', "1:8", "text behind a quoted value"),
        ("a: 'it's'\n", "1:8", "text behind a quoted value"),
        ("a: {b: 1\nc: 2\n", "1:4", "{ that does not end"),
        ("a: [b, c\n", "1:4", "[ that does not end"),
        ('{"a": 1 "b": 2}', "1:12", "an entry within { that no comma separates"),
        ('{"a": 1\n "b": {}}', "2:5", "an entry within the { of line 1 that no comma"),
        ("a\nb: 1\n", "1:1", "a line without a colon"),
        ("a:b\nc: 1\n", "1:1", "a line without a colon"),
        ("a:\n- b: 1\nc\n", "3:1", "a line without a colon"),
        ('a: "x\nb: 1\n', "1:4", "a quote that does not end"),
        ('a: "\\d+"\n', "1:5", "a backslash in double quotes"),
        ("a: - b\n", "1:4", "- behind a key"),
        ("a: x{{ .b }}: {{ c }}\n", "1:13", "a template"),
        ("a:\r\n\tb: 1\r\n", "2:1", "a tab"),
    ],
)
def test_the_cause_and_its_place_are_named(text: str, place: str, cause: str) -> None:
    (problem,) = parse_text(text, "f").problems
    assert f"f:{place}: found {cause}" in str(problem)
    assert problem.expected


def test_the_value_is_not_repeated() -> None:
    (problem,) = parse_text("password: @secret\n", "f").problems
    assert "secret" not in str(problem)
