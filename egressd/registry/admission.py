"""What a source may state at all, whoever reads it. Pure.

Adapters make records of what registries say; a registry's names, addresses and labels come to stand in
heads, server names, labels of metrics and logs.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

import msgspec

from egressd.api.grammar import plain_fault, server_name_fault
from egressd.api.names import A_WILDCARD_HOST, UNIX, is_host, is_ip
from egressd.api.report import Report, quoted
from egressd.api.resource import Problem, Severity
from egressd.api.rules.grammar import check_grammar
from egressd.api.service_entry import Resolution, ServiceEntry
from egressd.api.workload_entry import WorkloadEntry
from egressd.registry.records import Record, Snapshot

_ENDPOINT: Final = re.compile(r"spec\.endpoints\[([0-9]+)\]")


class Verdict(NamedTuple):
    """What becomes of a record: itself, itself less some endpoints, or None; and why."""

    record: Record
    admitted: Record | None
    problems: tuple[Problem, ...] = ()


class Admission:
    """Holds the snapshots of one source to the grammars. Records that it has seen are not looked at
    again."""

    def __init__(self) -> None:
        self._stated: tuple[Record, ...] = ()  # also keeps the objects whose ids are in `_faulty`
        self._faulty: dict[int, Verdict] = {}

    @property
    def problems(self) -> tuple[Problem, ...]:
        """Of the last snapshot."""
        return tuple(problem for verdict in self._faulty.values() for problem in verdict.problems)

    def admit(self, snapshot: Snapshot) -> Snapshot:
        """The snapshot with what may be in force. A record that may not is as one that cannot be read:
        what was in force of its origin stays."""
        for record in _new(self._stated, snapshot.records):
            verdict = judge_record(record)
            if verdict.problems:
                self._faulty[id(record)] = verdict
        self._stated = snapshot.records
        if self._faulty:
            stated = set(map(id, snapshot.records))
            self._faulty = {key: verdict for key, verdict in self._faulty.items() if key in stated}
        if not self._faulty:
            return snapshot
        verdicts = [self._faulty.get(id(r)) or Verdict(r, r) for r in snapshot.records]
        refused = {one.record.origin for one in verdicts if one.admitted is None}
        return msgspec.structs.replace(
            snapshot,
            records=tuple(one.admitted for one in verdicts if one.admitted is not None),
            failed_origins=snapshot.failed_origins | refused,
        )


def _new(before: tuple[Record, ...], now: tuple[Record, ...]) -> list[Record]:
    if len(before) == len(now):  # most often one record in its place has changed
        return [one for old, one in zip(before, now, strict=True) if one is not old]
    known = set(map(id, before))
    return [record for record in now if id(record) not in known]


def judge_record(record: Record) -> Verdict:
    """Whether the strings of a record fit their grammars; an endpoint that does not is left out."""
    resource = record.resource
    report = Report(resource.place.file, resource.ref)
    for field, text in (("place", resource.place.file), ("origin", record.origin)):
        if fault := plain_fault(text):  # the names of files, keys and services, for people
            report.error(field, quoted(text), fault)
    _check_names(resource.spec, report)
    check_grammar(resource.metadata, "metadata", report)
    check_grammar(resource.spec, "spec", report)
    faults = tuple(p for p in report.problems if p.severity is Severity.ERROR)
    if not faults:
        return Verdict(record, record)
    bad = {int(found[1]) for p in faults if (found := _ENDPOINT.match(p.field))}
    spec = resource.spec
    if not isinstance(spec, ServiceEntry) or any(not _ENDPOINT.match(p.field) for p in faults):
        return Verdict(record, None, faults)
    kept = tuple(one for index, one in enumerate(spec.endpoints) if index not in bad)
    spec = msgspec.structs.replace(spec, endpoints=kept)
    repaired = msgspec.structs.replace(
        record, resource=msgspec.structs.replace(resource, spec=spec)
    )
    left_out = (
        msgspec.structs.replace(p, severity=Severity.WARNING, expected=f"{p.expected}; left out")
        for p in faults
    )
    return Verdict(record, repaired, tuple(left_out))


def _check_names(spec: object, report: Report) -> None:
    if isinstance(spec, ServiceEntry):
        for index, host in enumerate(spec.hosts):
            if not is_host(host):
                report.error(f"spec.hosts[{index}]", quoted(host), A_WILDCARD_HOST)
        # A registry of instances names hosts; that a Unix socket of this machine is one (docker.sock)
        # only a resource says, which is STATIC then (Istio).
        may_be_unix = spec.resolution is Resolution.STATIC
        for index, endpoint in enumerate(spec.endpoints):
            where = f"spec.endpoints[{index}].address"
            _check_address(endpoint.address, where, report, may_be_unix)
    elif isinstance(spec, WorkloadEntry):
        _check_address(spec.address, "spec.address", report, True)


def _check_address(address: str, path: str, report: Report, may_be_unix: bool) -> None:
    if not address or is_ip(address) or (may_be_unix and address.startswith(UNIX)):
        return
    # With "_" in names, as registries of containers have it.
    if server_name_fault(address.removesuffix(".")):
        unix = f", or {UNIX}/path" if may_be_unix else ""
        report.error(path, quoted(address), f"an IP address or a DNS name{unix}")
