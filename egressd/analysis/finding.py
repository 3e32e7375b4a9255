"""Findings as values."""

from __future__ import annotations

import msgspec

from egressd.analysis.codes import CODES, ISTIO, NO_EFFECT, REFUSED, UNREADABLE
from egressd.api.resource import Place, Problem, Resource, Severity


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One finding: a pure value, to be shown as place, what, and what to do. `resource` and `field` are
    "" where it is about a whole file."""

    code: str
    severity: Severity
    place: Place
    resource: str
    field: str
    found: str
    fix: str

    @property
    def title(self) -> str:
        """What kind of finding it is."""
        return CODES[self.code].title

    @property
    def istio(self) -> tuple[str, ...]:
        """The codes of `istioctl analyze` for the same."""
        return ISTIO.get(self.code, ())

    def __str__(self) -> str:
        where = ": ".join(part for part in (str(self.place), self.resource, self.field) if part)
        return f"{self.severity} {self.code} {where}: {self.title}: {self.found}; {self.fix}"


def finding(code: str, resource: Resource, field: str, found: str) -> Finding:
    """A finding of a code at a field of a resource."""
    kind = CODES[code]
    return Finding(
        code=code, severity=kind.severity, place=resource.place, resource=resource.ref,
        field=field, found=found, fix=kind.fix,
    )  # fmt: skip


def finding_of(problem: Problem) -> Finding:
    """What reading a file found. One without a resource and a field is about the whole file."""
    code = NO_EFFECT if problem.severity is Severity.WARNING else REFUSED
    if not problem.resource and not problem.field:
        code = UNREADABLE
    expected = f"expected {problem.expected}" if problem.expected else CODES[code].fix
    return Finding(
        code=code, severity=CODES[code].severity, place=problem.place, resource=problem.resource,
        field=problem.field, found=problem.found, fix=expected,
    )  # fmt: skip
