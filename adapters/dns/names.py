"""What is known of the names together: which questions to ask, which records to publish. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from adapters.dns.options import Name, kinds
from adapters.dns.translate import (
    address_endpoints,
    parse_srv,
    place_of,
    service_endpoints,
    targets_of,
    translate,
)
from egressd.api.resource import Kind, Problem, Severity
from egressd.api.service_entry import ServiceEntry
from egressd.dns.held import Held
from egressd.dns.watch import Question
from egressd.registry.records import Record, Snapshot

_PATIENCE = 3
"""Failures in a row after which a target that never answered no longer holds up its service."""

HeldOf = Callable[[Question], Held | None]


@dataclass(frozen=True, slots=True)
class Known:
    """One name as last looked at."""

    questions: tuple[Question, ...]  # also those of SRV targets
    record: Record | None = None  # None: no server has said anything yet
    problem: Problem | None = None
    is_asked: bool = False
    is_failing: bool = False  # no server answers for it now
    has_expired: bool = False  # none has for so long that its endpoints were given up just now


def look_at(
    name: Name,
    held_of: HeldOf,
    before: Known | None,
    source: str,
    namespace: str,
    *,
    is_young: bool = False,
) -> Known:
    """A name from what is held of its questions; the record of before where it is the same.

    `is_young`: the process has not run for long. That a name has no endpoints may then be news that
    has yet to stand for a while, as it must for a name that worked: the registry may have some.
    """
    own = Question(name.question, kinds(name.type))
    held = held_of(own)
    if held is None or not held.is_answered:
        return Known(
            (own,),
            problem=_problem(name, namespace, held.error if held is not None else ""),
            is_asked=held is not None and held.is_asked,
            is_failing=held is not None and held.is_asked,
        )
    questions: tuple[Question, ...] = (own,)
    states = [held]
    if name.type == "SRV":
        records = parse_srv(held.records)
        targets = {target: Question(target, kinds(name.targets)) for target in targets_of(records)}
        questions += tuple(targets.values())
        found = {target: held_of(question) for target, question in targets.items()}
        if not all(one is not None and _is_settled(one) for one in found.values()):
            return Known(questions, before.record if before is not None else None)
        known = {target: one for target, one in found.items() if one is not None}
        states += known.values()
        endpoints = service_endpoints(
            name, records, {target: one.records for target, one in known.items()}
        )
    else:
        endpoints = address_endpoints(name, held.records)
    record = before.record if before is not None else None
    if is_young and not endpoints and record is None:
        said = held.error or "no addresses"
        return Known(questions, problem=_problem(name, namespace, said), is_asked=True)
    resource = translate(name, endpoints, namespace)
    if record is None or record.resource != resource:
        record = Record(resource=resource, source=source, origin=name.host)
    error = next((state.error for state in states if state.error), "")
    if not error and not endpoints:
        error = "no addresses"
    is_failing = all(state.error and not state.gone_since for state in states)
    return Known(
        questions,
        record,
        _problem(name, namespace, error),
        is_asked=True,
        is_failing=is_failing,
        has_expired=is_failing and not endpoints and _has_endpoints(before),
    )


def snapshot_of(
    known: Sequence[tuple[Name, Known]],
    *,
    expired: Sequence[str] = (),
    is_reread: bool = False,
) -> Snapshot:
    """Everything that is known. A name that no server has answered for yet keeps what the registry
    has of it. `expired` are the hosts whose endpoints were given up since the last snapshot."""
    doubt = ""
    if expired:
        doubt = f"no server has answered for {len(expired)} names for long, {expired[0]} among them"
    return Snapshot(
        records=tuple(one.record for _, one in known if one.record is not None),
        failed_origins=frozenset(name.host for name, one in known if one.record is None),
        doubt=doubt,
        is_reread=is_reread,
        is_failing=all_fail(one for _, one in known),
    )


def all_fail(known: Iterable[Known]) -> bool:
    """Whether no server answers for any name: a failure of the source."""
    return all(one.problem is not None and one.is_failing for one in known)


def _has_endpoints(known: Known | None) -> bool:
    if known is None or known.record is None:
        return False
    spec = known.record.resource.spec
    return isinstance(spec, ServiceEntry) and bool(spec.endpoints)


def _is_settled(held: Held) -> bool:
    return held.is_answered or held.failures >= _PATIENCE


def _problem(name: Name, namespace: str, found: str) -> Problem | None:
    if not found:
        return None
    return Problem(
        severity=Severity.WARNING,
        place=place_of(name),
        resource=f"{Kind.SERVICE_ENTRY}/{namespace}/{name.host}",
        field="spec.endpoints",
        found=found,
        expected=f"{name.type} records of {name.question}",
    )
