"""What is refused before it is written: what `egressd validate` checks, of the set as it would be."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import msgspec

from egressd.api.crosscheck import check_set
from egressd.api.resource import Problem, Resource, Severity
from egressd.fleet.change import Action, Change
from egressd.fleet.resource_set import ResourceSet


class Checked(msgspec.Struct, frozen=True):
    """Problems of a change. With `errors` it is not written; `warnings` are for the operator."""

    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def check_change(
    base: ResourceSet, changes: Sequence[Change], beside: Sequence[Resource] = ()
) -> Checked:
    """The problems that the change makes, or that what it writes has. Destinations may lead to what is
    in force `beside` the fleet's resources.

    What was wrong before, with resources that the change leaves alone, keeps nobody from working.
    """
    before = base.resources
    after = dict(before)
    touched: set[str] = set()
    for change in changes:
        if change.action is Action.UNCHANGED:
            continue
        touched.add(change.ref)
        if change.resource is None:
            after.pop(change.ref, None)
        else:
            after[change.ref] = change.resource
    known = {_sameness(problem) for problem in check_set(before.values(), beside)}
    new = [
        problem
        for problem in check_set(after.values(), beside)
        if problem.resource in touched or _sameness(problem) not in known
    ]
    return Checked(_of(new, Severity.ERROR), _of(new, Severity.WARNING))


def _sameness(problem: Problem) -> tuple[str, str, str]:
    return problem.resource, problem.field, problem.expected


def _of(problems: Iterable[Problem], severity: Severity) -> tuple[Problem, ...]:
    return tuple(problem for problem in problems if problem.severity is severity)
