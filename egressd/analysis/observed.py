"""What the node has seen of services, as far as it says something about their configuration."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from egressd.analysis.finding import Finding, finding
from egressd.analysis.subject import Subject
from egressd.api.resource import Resource
from egressd.api.service_entry import ServiceEntry
from egressd.registry.lookup import host_key
from egressd.routing.table import ClusterKey
from egressd.upstream.compile import UnknownCluster, compile_cluster


class Seen(NamedTuple):
    """A cluster as the node's workers have it. `tls_answers`: plain requests that were answered as a
    TLS port answers them. `unanswered`: new plain connections closed before a first byte."""

    key: ClusterKey
    tls_answers: int
    unanswered: int
    requests: int
    failures: int


def plain_to_tls(subject: Subject, seen: Iterable[Seen]) -> Iterator[Finding]:
    """EG0508, where the resources still have the port called in plain."""
    told: set[tuple[str, str]] = set()
    for one in seen:
        if not (found := _sign(one)) or not _is_plain(subject, one.key):
            continue
        for resource, path in _ports(subject, one.key):
            if (resource.ref, path) not in told:
                told.add((resource.ref, path))
                yield finding(
                    "EG0508", resource, path, f"{one.key.host} port {one.key.port}: {found}"
                )


def _sign(one: Seen) -> str:
    if one.tls_answers:
        return f"{one.tls_answers} plain requests were answered as a TLS port answers them"
    if one.unanswered and one.requests and one.failures >= one.requests:
        return (
            f"no request of {one.requests} was ever answered, {one.unanswered} new connections were "
            "closed without a byte, as TLS ports often do"
        )
    return ""


def _is_plain(subject: Subject, key: ClusterKey) -> bool:
    try:
        return compile_cluster(subject.view, key, subject.profile).tls is None
    except UnknownCluster:
        return False


def _ports(subject: Subject, key: ClusterKey) -> Iterator[tuple[Resource, str]]:
    """Where the port of the service is stated."""
    service = subject.service(key.host)
    if service is None:
        return
    for resource, spec in subject.each(ServiceEntry):
        if resource.ref in service.refs and service.host in map(host_key, spec.hosts):
            for index, port in enumerate(spec.ports):
                if port.number == key.port:
                    yield resource, f"spec.ports[{index}]"
