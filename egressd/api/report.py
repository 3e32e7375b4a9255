"""Collects the problems of one resource and finds the line of each field path."""

from __future__ import annotations

from collections.abc import Iterable

from egressd.api.grammar import escaped
from egressd.api.resource import Place, Problem, Severity
from egressd.api.secret import redact_value


def quoted(value: object) -> str:
    """A value as a message shows it: printable, without a URL's secrets, cut to a readable length."""
    shown = f'"{escaped(redact_value(value))}"' if isinstance(value, str) else str(value)
    return shown if len(shown) <= 120 else f"{shown[:117]}..."


class Report:
    """The problems of one resource.

    A rule that looks at a field which did not decode would complain about a value that nobody
    wrote. So a rule's problem is dropped where its field, a field in it, around it, or one it
    names in `given` has failed to decode.
    """

    def __init__(self, file: str = "", resource: str = "") -> None:
        self.file = file
        self.resource = resource
        self.lines: dict[str, int] = {}
        self.problems: list[Problem] = []
        self._undecoded: list[str] = []

    def undecodable(self, path: str, line: int, found: str, expected: str, column: int = 0) -> None:
        """An error of the text itself: the field has no value."""
        self._undecoded.append(path)
        self._add(Severity.ERROR, path, line, found, expected, column)

    def error(self, path: str, found: str, expected: str, given: Iterable[str] = ()) -> None:
        """A rule of Istio that the value at `path` breaks."""
        if not self._is_undecoded(path, given):
            self._add(Severity.ERROR, path, self.line_of(path), found, expected)

    def warn(self, path: str, found: str, expected: str, given: Iterable[str] = ()) -> None:
        """Something valid that does not do what its writer may think."""
        if not self._is_undecoded(path, given):
            self._add(Severity.WARNING, path, self.line_of(path), found, expected)

    def line_of(self, path: str) -> int:
        """The line of the field, or of the nearest one around it; 0 when nothing is known."""
        while path:
            if path in self.lines:
                return self.lines[path]
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.lines.get("", 0)

    def has_error_at(self, path: str) -> bool:
        """True when an error of this very field is known."""
        return any(p.field == path and p.severity is Severity.ERROR for p in self.problems)

    def has_errors(self) -> bool:
        """True when the resource must be refused."""
        return any(problem.severity is Severity.ERROR for problem in self.problems)

    def _is_undecoded(self, path: str, given: Iterable[str]) -> bool:
        return any(
            _is_within(failed, one) or _is_within(one, failed)
            for failed in self._undecoded
            for one in (path, *given)
        )

    def _add(
        self, severity: Severity, path: str, line: int, found: str, expected: str, column: int = 0
    ) -> None:
        self.problems.append(
            Problem(
                severity=severity,
                place=Place(self.file, line, column),
                resource=self.resource,
                field=escaped(path),
                found=found,
                expected=expected,
            )
        )


def _is_within(inner: str, outer: str) -> bool:
    return inner == outer or inner.startswith((f"{outer}.", f"{outer}["))
