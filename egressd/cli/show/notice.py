"""One thing to tell an operator: where, what, and what to do about it. Errors, findings and warnings of
every command become this."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

from egressd.api.resource import Problem, Severity

if TYPE_CHECKING:
    from egressd.analysis.finding import Finding

_URGENCY = {severity: rank for rank, severity in enumerate((Severity.ERROR, Severity.WARNING))}


class Notice(NamedTuple):
    """`line` is the whole of it as one line, as pipes and logs have it."""

    severity: Severity
    title: str  # "EG0101 destination without a service"; "" where there is no code
    place: str  # "reviews.yaml:12:3"
    subject: str  # "VirtualService/default/reviews"
    field: str
    what: str
    fix: str
    line: str


def of_problem(problem: Problem) -> Notice:
    """A problem of a file or a resource."""
    return Notice(
        problem.severity, "", str(problem.place), problem.resource, problem.field,
        f"found {problem.found}" if problem.found else "",
        f"expected {problem.expected}" if problem.expected else "",
        str(problem),
    )  # fmt: skip


def of_finding(found: Finding) -> Notice:
    """A finding of the analysis."""
    return Notice(
        found.severity, f"{found.code} {found.title}", str(found.place), found.resource, found.field,
        found.found, found.fix, str(found),
    )  # fmt: skip


def most_urgent_first(notices: Iterable[Notice]) -> list[Notice]:
    """Errors before warnings, each in the given order."""
    return sorted(notices, key=lambda one: _URGENCY.get(one.severity, len(_URGENCY)))
