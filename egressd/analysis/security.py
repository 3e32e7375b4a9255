"""TLS: ports called in plain, TLS twice, certificates that are gone, old or of another key."""

from __future__ import annotations

from collections.abc import Iterator

from egressd.analysis.finding import Finding, finding
from egressd.analysis.subject import Subject
from egressd.api.names import is_tls
from egressd.api.resource import Resource
from egressd.api.virtual_service import Destination, VirtualService
from egressd.upstream.compile import UnknownCluster, compile_cluster


def plain_and_double(subject: Subject) -> Iterator[Finding]:
    """EG0501: an http route to a TLS port without TLS; EG0502: a tls route that is wrapped again."""
    for resource, spec in subject.each(VirtualService):
        targets = [
            (f"spec.http[{n}].route[{m}].destination", target.destination)
            for n, route in enumerate(spec.http)
            for m, target in enumerate(route.route)
        ]
        for path, destination in targets:
            host, port, protocol, secured = _called(subject, resource, destination)
            if is_tls(protocol) and not secured:
                found = f"{host} port {port} speaks {protocol}"
                yield finding("EG0501", resource, path, found)
        closed = [
            (f"spec.tls[{n}].route[{m}].destination", to.destination)
            for n, tls in enumerate(spec.tls)
            for m, to in enumerate(tls.route)
        ]
        for path, destination in closed:
            host, _, _, secured = _called(subject, resource, destination)
            if secured:
                yield finding("EG0502", resource, path, f"{secured} originates TLS for {host}")


def _called(
    subject: Subject, resource: Resource, destination: Destination
) -> tuple[str, int, str, str]:
    """Host, port, protocol and, where TLS is originated, the rule that says so."""
    key = subject.key(resource, destination)
    service = subject.service(key.host)
    port = next((p for p in (service.ports if service else ()) if p.number == key.port), None)
    if port is None:
        return key.host, key.port, "", ""
    try:
        spec = compile_cluster(subject.view, key, subject.profile)
    except UnknownCluster:
        return key.host, key.port, "", ""
    return key.host, key.port, port.protocol, spec.destination_rule if spec.tls else ""
