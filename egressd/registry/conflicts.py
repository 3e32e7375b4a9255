"""Hosts that are claimed twice: which claim stands, and what is said of the other one. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from egressd.api.export import exports_overlap
from egressd.api.resource import Kind, Problem, Resource, Severity
from egressd.registry.claims import contested_hosts, gateway_names, named_hosts
from egressd.registry.records import Record


def settle(
    candidates: Iterable[Record], age: Callable[[Record], tuple[bool, str, int, str]]
) -> tuple[set[str], tuple[Problem, ...]]:
    """The keys of VirtualServices that are refused, since an older one (by `age`) has one of their
    hosts on the same gateway for a namespace that sees both; and what to say of each."""
    owners: dict[tuple[str, str], list[Record]] = {}
    refused: set[str] = set()
    problems: list[Problem] = []
    for record in sorted(candidates, key=age):
        keys = _gateway_hosts(record)
        taken = _taken(record, keys, owners)
        if taken is None:
            for key in keys:
                owners.setdefault(key, []).append(record)
        else:
            refused.add(record.key)
            problems.append(_refusal(record, *taken))
    return refused, tuple(problems)


class ServiceHosts:
    """Which sources have a ServiceEntry for a host; kept up to date with what is in force. What is
    said of a host is the same object until it is another word: many hosts may be shared for long."""

    def __init__(self) -> None:
        self._records: dict[str, dict[str, Record]] = {}  # host -> key -> record
        self._found: dict[str, tuple[Problem, ...]] = {}  # of each host with several sources
        self._stale: set[str] = set()  # of these hosts it has to be worked out again
        self._all: tuple[Problem, ...] = ()

    def replace(self, old: Record | None, new: Record | None) -> None:
        """A record in force was put, replaced or deleted."""
        before, after = _service_hosts(old), _service_hosts(new)
        for host in before:
            self._records[host].pop(old.key if old else "", None)
            if not self._records[host]:
                del self._records[host]
        for host in after:
            assert new is not None
            self._records.setdefault(host, {})[new.key] = new
        for host in {*before, *after}:
            if host in self._found or len(self._records.get(host, ())) > 1:
                self._stale.add(host)

    def conflicts(self, rank: Callable[[str], int]) -> tuple[Problem, ...]:
        """Of each host with several sources, the records whose endpoints are left out: those of a
        later source that is not configured to be merged."""
        if not self._stale:
            return self._all
        for host in self._stale:
            before, found = self._found.pop(host, ()), self._left_out(host, rank)
            if found:
                self._found[host] = before if before == found else found
        self._stale.clear()
        self._all = tuple(problem for host in sorted(self._found) for problem in self._found[host])
        return self._all

    def _left_out(self, host: str, rank: Callable[[str], int]) -> tuple[Problem, ...]:
        claims = sorted(self._records.get(host, {}).values(), key=lambda r: (rank(r.source), r.key))
        return tuple(
            _left_out(host, record, claims[0].source)
            for record in claims
            if record.source != claims[0].source and not record.is_merged
        )


def _service_hosts(record: Record | None) -> list[str]:
    """The hosts of a ServiceEntry. Resources of other kinds name hosts, too: they say how a service is
    used, not where it is, and take no endpoints from anybody."""
    is_service = record is not None and record.resource.kind is Kind.SERVICE_ENTRY
    return named_hosts(record.resource) if record is not None and is_service else []


def _left_out(host: str, record: Record, first: str) -> Problem:
    return Problem(
        severity=Severity.WARNING,
        place=record.resource.place,
        resource=record.resource.ref,
        field="spec.hosts",
        found=f"{host} of source {record.source}, which source {first} has, too",
        expected=f"one source for a host: {first} has precedence and its endpoints are used "
        f"(`endpoints: merge` of adapter {record.source} would add its own)",
    )


def _gateway_hosts(record: Record) -> list[tuple[str, str]]:
    hosts = contested_hosts(record.resource)
    return [(gateway, host) for gateway in gateway_names(record.resource) for host in hosts]


def _taken(
    record: Record, keys: list[tuple[str, str]], owners: dict[tuple[str, str], list[Record]]
) -> tuple[Resource, tuple[str, str]] | None:
    """The owner of one of the keys whom some namespace sees beside this one, with the key."""
    for key in keys:
        for owner in owners.get(key, ()):
            if exports_overlap(owner.resource, record.resource):
                return owner.resource, key
    return None


def _refusal(refused: Record, owner: Resource, taken: tuple[str, str]) -> Problem:
    gateway, host = taken
    return Problem(
        place=refused.resource.place,
        resource=refused.resource.ref,
        field="spec.hosts",
        found=f"{host} (gateway {gateway})",
        expected=f"a host that no other VirtualService claims: {owner.ref} has it and keeps it",
    )
