"""What resources in force lose when others are taken away. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Final

from egressd.analysis.analyze import analyze
from egressd.analysis.finding import Finding
from egressd.api.resource import Problem, Severity
from egressd.registry.profile import DEFAULT_PROFILE, NodeProfile
from egressd.registry.records import Record

_BREAKING: Final = frozenset(("EG0103", "EG0105", "EG0501"))
"""Warnings of what no longer works: a subset or a service without endpoints, TLS that is gone."""


def broken_without(
    before: Sequence[Record],
    removed: frozenset[str],
    now: datetime,
    profile: NodeProfile = DEFAULT_PROFILE,
) -> tuple[Problem, ...]:
    """The problems that other resources get when those of the refs `removed` are gone: a destination
    without its service, subset, delegate or gateway."""
    after = [record for record in before if record.resource.ref not in removed]
    known = set(map(_sameness, analyze(before, now, profile)))
    return tuple(
        _problem(found)
        for found in analyze(after, now, profile)
        if (found.severity is Severity.ERROR or found.code in _BREAKING)
        and _sameness(found) not in known
    )


def _sameness(found: Finding) -> tuple[str, str, str]:
    return found.code, found.resource, found.field


def _problem(found: Finding) -> Problem:
    return Problem(
        place=found.place,
        resource=found.resource,
        field=found.field,
        found=f"without what is deleted a {found.title} ({found.found})",
        expected="what this needs to stay: change it first, or delete both together",
    )
