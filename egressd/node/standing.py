"""What a refused resource means for traffic: whether a version before stands. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from egressd.api.resource import Problem, Severity
from egressd.registry.records import Record


def with_standing(
    problems: Iterable[Problem], known: Callable[[], Iterable[Record]]
) -> tuple[Problem, ...]:
    """Problems of a source's resources; those that refuse one say what is in force in its place. `known`
    is what the registry holds of the source, and is asked for only if there is such a problem."""
    given = tuple(problems)
    if all(problem.severity is not Severity.ERROR for problem in given):
        return given
    refs, origins = set(), set()
    for record in known():
        refs.add(record.resource.ref)
        origins.add(record.origin)
    return tuple(_standing(problem, refs, origins) for problem in given)


def _standing(problem: Problem, refs: set[str], origins: set[str]) -> Problem:
    if problem.severity is not Severity.ERROR:
        return problem
    place = problem.place.file
    if problem.resource in refs:
        said = "the version before stays in force"
    elif place in origins:
        said = f"it is not in force, and what {place} held before stays"
    elif problem.resource:
        said = "it is not in force, nor was it before"
    else:
        return problem
    expected = f"{problem.expected}; {said}" if problem.expected else said
    return msgspec.structs.replace(problem, expected=expected)
