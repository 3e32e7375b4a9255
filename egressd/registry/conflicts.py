"""Hosts that are claimed twice: which claim stands, and what is said of the other one. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from egressd.api.export import exports_overlap
from egressd.api.resource import Problem, Resource, Severity
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
    """Which sources have a ServiceEntry for a host; kept up to date with what is in force."""

    def __init__(self) -> None:
        self._records: dict[str, dict[str, Record]] = {}  # host -> key -> record
        self._shared: set[str] = set()  # hosts with more than one source
        self._found: tuple[Problem, ...] | None = ()  # None = to be looked for again

    def replace(self, old: Record | None, new: Record | None) -> None:
        """A record in force was put, replaced or deleted."""
        for host in _named_hosts(old):
            self._records[host].pop(old.key if old else "", None)
            if not self._records[host]:
                del self._records[host]
        for host in _named_hosts(new):
            assert new is not None
            self._records.setdefault(host, {})[new.key] = new
        for host in {*_named_hosts(old), *_named_hosts(new)}:
            if host in self._shared:
                self._found = None
            sources = {record.source for record in self._records.get(host, {}).values()}
            if len(sources) > 1:
                self._shared.add(host)
                self._found = None
            else:
                self._shared.discard(host)

    def conflicts(self, rank: Callable[[str], int]) -> tuple[Problem, ...]:
        """Of each host with several sources, the records whose endpoints are left out: those of a
        later source that is not configured to be merged."""
        if self._found is not None:
            return self._found
        found: list[Problem] = []
        for host in sorted(self._shared):
            claims = sorted(self._records[host].values(), key=lambda r: (rank(r.source), r.key))
            first = claims[0].source
            left_out = [r for r in claims if r.source != first and not r.is_merged]
            found += [_left_out(host, record, first) for record in left_out]
        self._found = tuple(found)
        return self._found


def _named_hosts(record: Record | None) -> list[str]:
    return [] if record is None else named_hosts(record.resource)


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
