"""Gateways: who is bound to them, whether this node opens them, whether they agree."""

from __future__ import annotations

from collections.abc import Iterator

from egressd.analysis.finding import Finding, finding
from egressd.analysis.subject import Subject
from egressd.api.gateway import Gateway
from egressd.api.names import hosts_overlap
from egressd.api.resource import Resource
from egressd.api.virtual_service import VirtualService
from egressd.registry.claims import MESH, gateway_names
from egressd.registry.exposure import server_hosts
from egressd.routing.gateway import compile_listeners


def gateway_bindings(subject: Subject) -> Iterator[Finding]:
    """EG0301, EG0302, EG0305."""
    known: dict[str, tuple[Resource, Gateway]] = {
        f"{r.metadata.namespace}/{r.metadata.name}": (r, spec) for r, spec in subject.each(Gateway)
    }
    used: set[str] = set()
    for resource, spec in subject.each(VirtualService):
        names = gateway_names(resource)
        bound = MESH in names
        for index, name in enumerate(names):
            if name == MESH:
                continue
            if name not in known:
                yield finding("EG0301", resource, f"spec.gateways[{index}]", f"no Gateway {name}")
            elif _exports(known[name][1], name, resource, spec):
                bound = True
                used.add(name)
        if not bound and spec.hosts and any(name in known for name in names):
            found = f"none of {', '.join(spec.hosts)} is exported by {', '.join(names)}"
            yield finding("EG0302", resource, "spec.gateways", found)
    for name, (resource, gateway) in known.items():
        redirects = all(s.tls is not None and s.tls.https_redirect for s in gateway.servers)
        automatic = any(
            s.tls is not None and s.tls.mode == "AUTO_PASSTHROUGH" for s in gateway.servers
        )
        if name not in used and not redirects and not automatic:
            yield finding("EG0305", resource, "spec.servers", "no VirtualService is bound to it")


def _exports(gateway: Gateway, name: str, resource: Resource, spec: VirtualService) -> bool:
    namespace = name.partition("/")[0]
    return any(
        owner in ("*", resource.metadata.namespace)
        and any(hosts_overlap(pattern, host) for host in spec.hosts)
        for server in gateway.servers
        for owner, pattern in server_hosts(server.hosts, namespace)
    )


def gateway_ports(subject: Subject) -> Iterator[Finding]:
    """EG0303, EG0304."""
    labels = subject.profile.labels
    by_ref = {}
    for resource, gateway in subject.each(Gateway):
        by_ref[resource.ref] = resource
        if not gateway.selector.items() <= labels.items():
            wanted = ",".join(f"{k}={v}" for k, v in gateway.selector.items())
            has = ",".join(f"{k}={v}" for k, v in labels.items()) or "none"
            found = f"it wants {wanted}, the node has {has}"
            yield finding("EG0303", resource, "spec.selector", found)
    for problem in compile_listeners(subject.view, subject.profile)[1]:
        yield finding("EG0304", by_ref[problem.resource], problem.field, problem.found)
