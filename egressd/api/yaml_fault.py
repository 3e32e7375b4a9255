"""Why a text is not YAML, in words that say what to change. Pure.

libyaml says what its scanner met ("found character that cannot start any token"), often where it
noticed and not where the fault is. Here its sentence and the text together become the cause, a place
and what is expected; what has no row here keeps libyaml's words.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

VALID: Final = "valid YAML"
_KEY: Final = re.compile(r"[\w.\"'/-]+:(\s|$)")
_VALUE: Final = re.compile(r"(?:^|:\s+|-\s+)([\"'])")


class YamlFault(NamedTuple):
    """Line and column are 1-based."""

    line: int
    column: int
    found: str
    expected: str


class Mark(NamedTuple):
    """A place in a text, 1-based."""

    line: int
    column: int


def yaml_fault(
    text: str, problem: str, at: Mark, context: str = "", since: Mark | None = None
) -> YamlFault:
    """The cause of an error of the YAML parser. `at` is where it noticed, `since` where what it was
    reading began."""
    lines = text.split("\n")
    line = _line(lines, at)
    before, here = line[: at.column - 1], line[at.column - 1 : at.column]
    if (
        here == "\t"
        or "\t" in before[: len(before) - len(before.lstrip())]
        or "tab char" in problem
    ):
        tab = line.find("\t") + 1 or at.column
        return YamlFault(
            at.line, tab, "a tab in the indentation", "spaces: YAML takes no tab there"
        )
    if "{{" in line or (since and "{{" in _line(lines, since)):
        return YamlFault(*at, "a template: {{ }}", "the YAML that is made of it")
    found = (
        _of_character(problem, at, line, here)
        or _of_quotes(problem, context, at, since, before)
        or _of_brackets(problem, at, since, lines)
        or _of_keys(problem, at, since, lines)
    )
    said = f"{context}: {problem}" if context else problem
    return found or YamlFault(*at, said, VALID)


def _of_character(problem: str, at: Mark, line: str, here: str) -> YamlFault | None:
    """A character with a meaning of its own, where a value is meant."""
    start = at.column - 1
    if problem == "did not find expected alphabetic or numeric character":
        start = max(line.rfind("*", 0, at.column), line.rfind("&", 0, at.column), 0)
    elif problem == "did not find expected node content" and ":" in line[start : start + 2]:
        start = line.find(":", start)  # `[::1]`
    elif problem != "found character that cannot start any token":
        return None
    first = line[start : start + 1] or here
    what = {"*": ", which makes it an alias", "&": ", which makes it an anchor"}.get(first, "")
    expected = (
        'the value in quotes, such as "*.example.com"' if first == "*" else "the value in quotes"
    )
    return YamlFault(at.line, start + 1, f"{first} at the beginning of a value{what}", expected)


def _of_quotes(
    problem: str, context: str, at: Mark, since: Mark | None, before: str
) -> YamlFault | None:
    """Quotes that do not end, end too soon, or escape."""
    if problem == "found unknown escape character":
        found = "a backslash in double quotes, which escapes what follows"
        return YamlFault(*at, found, "single quotes, or two backslashes")
    if problem == "found unexpected end of stream" and "quoted scalar" in context and since:
        return YamlFault(*since, "a quote that does not end", "its end, on the same line")
    if problem == "did not find expected key" and _VALUE.search(before.lstrip()):
        return YamlFault(*at, "text behind a quoted value", "nothing there, or all of it in quotes")
    return None


def _of_brackets(problem: str, at: Mark, since: Mark | None, lines: list[str]) -> YamlFault | None:
    """Brackets that do not end, and entries in them without a comma."""
    closing = re.fullmatch(r"did not find expected ',' or '([\]}])'", problem)
    if closing is None or since is None:
        return None
    opening = "{" if closing[1] == "}" else "["
    is_in = at.column <= len(_line(lines, at))
    if at.line == since.line and is_in:
        return YamlFault(
            *at, f"an entry within {opening} that no comma separates", "a comma before it"
        )
    if is_in and closing[1] in "\n".join(lines[at.line - 1 :]):
        found = f"an entry within the {opening} of line {since.line} that no comma separates"
        return YamlFault(*at, found, f"a comma before it, or {closing[1]} where {opening} ends")
    return YamlFault(*since, f"{opening} that does not end", f"{closing[1]} on the same line")


def _of_keys(problem: str, at: Mark, since: Mark | None, lines: list[str]) -> YamlFault | None:
    """Keys and list entries that stand where none can."""
    line = _line(lines, at)
    before = line[: at.column - 1]
    start = Mark(at.line, len(line) - len(line.lstrip()) + 1)
    if problem == "mapping values are not allowed in this context":
        if ":" in before:
            return YamlFault(
                *at, "a second colon in one line", "the value in quotes, or a line a key"
            )
        if (above := _above(lines, at)) and not _KEY.search(lines[above - 1].lstrip()):
            found = "a line without a colon before a line with one"
            return YamlFault(above, 1, found, "KEY: VALUE, a space after the colon")
        found = "a key that stands further in than the one above, which has a value"
        return YamlFault(*start, found, "keys of one mapping below each other")
    if problem == "could not find expected ':'" and since is not None:
        return YamlFault(*since, "a line without a colon", "KEY: VALUE, a space after the colon")
    if problem == "block sequence entries are not allowed in this context":
        return YamlFault(
            *at, "- behind a key on one line", "each entry on a line of its own, or [a, b]"
        )
    if problem in ("did not find expected key", "did not find expected '-' indicator") or (
        "document start" in problem and line[:1] not in ("", "-")
    ):
        found = "an indentation that fits no line above"
        return YamlFault(*start, found, "keys, and entries of a list, below each other")
    return None


def _above(lines: list[str], at: Mark) -> int:
    """The line before that says something; 0 = none."""
    said = (n for n in range(at.line - 1, 0, -1) if lines[n - 1].split("#")[0].strip())
    return next(said, 0)


def _line(lines: list[str], mark: Mark) -> str:
    return lines[mark.line - 1].rstrip("\r") if mark.line <= len(lines) else ""
