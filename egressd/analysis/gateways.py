"""Gateways: who is bound to them, whether this node opens them, whether they agree."""

from __future__ import annotations

from collections.abc import Iterator

from egressd.analysis.finding import Finding, finding
from egressd.analysis.subject import Subject
from egressd.api.age import creation_order
from egressd.api.gateway import Gateway, Server
from egressd.api.names import hosts_overlap
from egressd.api.resource import Resource
from egressd.api.virtual_service import VirtualService
from egressd.registry.claims import MESH, gateway_names
from egressd.registry.exposure import server_hosts
from egressd.routing.gateway import Handling, compile_listeners, handling_of


def gateway_bindings(subject: Subject) -> Iterator[Finding]:
    """EG0301, EG0302, EG0305, EG0308."""
    known: dict[str, tuple[Resource, Gateway]] = {
        f"{r.metadata.namespace}/{r.metadata.name}": (r, spec) for r, spec in subject.each(Gateway)
    }
    used: set[str] = set()
    for resource, spec in subject.each(VirtualService):
        names = gateway_names(resource)
        exports = {
            name: [host for host in spec.hosts if _exports(known[name][1], name, resource, host)]
            for name in names
            if name in known
        }
        used.update(name for name, hosts in exports.items() if hosts)
        for index, name in enumerate(names):
            if name != MESH and name not in known:
                yield finding("EG0301", resource, f"spec.gateways[{index}]", f"no Gateway {name}")
        if spec.hosts and exports:
            yield from _unexported(resource, spec.hosts, names, exports)
    for name, (resource, gateway) in known.items():
        redirects = all(s.tls is not None and s.tls.https_redirect for s in gateway.servers)
        automatic = any(
            s.tls is not None and s.tls.mode == "AUTO_PASSTHROUGH" for s in gateway.servers
        )
        if name not in used and not redirects and not automatic:
            yield finding("EG0305", resource, "spec.servers", "no VirtualService is bound to it")


def _unexported(
    resource: Resource,
    hosts: tuple[str, ...],
    names: tuple[str, ...],
    exports: dict[str, list[str]],
) -> Iterator[Finding]:
    """EG0302, EG0308 (Istio `VirtualServiceHostNotFoundInGateway`): a gateway that exports no host, a
    host that no gateway exports."""
    on_mesh = MESH in names
    if not on_mesh and not any(exports.values()):
        found = f"none of {', '.join(hosts)} is exported by {', '.join(names)}"
        yield finding("EG0302", resource, "spec.gateways", found)
        return
    for index, name in enumerate(names):
        if name in exports and not exports[name]:
            found = f"{name} exports none of {', '.join(hosts)}"
            yield finding("EG0308", resource, f"spec.gateways[{index}]", found)
    for index, host in enumerate(hosts):
        if not on_mesh and not any(host in exported for exported in exports.values()):
            found = f"{host} is exported by none of {', '.join(exports)}"
            yield finding("EG0308", resource, f"spec.hosts[{index}]", found)


def _exports(gateway: Gateway, name: str, resource: Resource, host: str) -> bool:
    namespace = name.partition("/")[0]
    return any(
        owner in ("*", resource.metadata.namespace) and hosts_overlap(pattern, host)
        for server in gateway.servers
        for owner, pattern in server_hosts(server.hosts, namespace)
    )


def shared_hosts(subject: Subject) -> Iterator[Finding]:
    """EG0306, EG0307 (Istio `ConflictingGateways`): of two Gateways that a node has together, servers of
    one port that export the same names. Where they speak differently EG0304 says so."""
    gateways = [(resource, spec) for resource, spec in subject.each(Gateway)]
    gateways.sort(key=lambda pair: (creation_order(pair[0]), pair[0].metadata.name, pair[0].ref))
    for at, (resource, gateway) in enumerate(gateways):
        for index, server in enumerate(gateway.servers):
            for place, (other, another) in enumerate(gateways):
                if other is resource or not _meet(gateway, another):
                    continue
                rival = next(
                    (one for one in another.servers if _share(resource, server, other, one)), None
                )
                if rival is None:
                    continue
                is_first = at < place
                code, found = _judge_share(resource, server, other, rival, is_first=is_first)
                yield finding(code, resource, f"spec.servers[{index}].hosts", found)


def _judge_share(
    resource: Resource, server: Server, other: Resource, rival: Server, *, is_first: bool
) -> tuple[str, str]:
    port = f"port {server.port.number}"
    same = _pairs(resource, server) & _pairs(other, rival)
    if same and _speaks_tls(server) and _speaks_tls(rival):
        names = ", ".join(sorted(pattern for _, pattern in same))
        used = resource if is_first else other
        return (
            "EG0306",
            f"{names} on {port}, as {other.ref} does: {used.ref} comes first and is used",
        )
    names = ", ".join(sorted(pattern for _, pattern in _pairs(resource, server)))
    theirs = ", ".join(sorted(pattern for _, pattern in _pairs(other, rival)))
    return "EG0307", f"{names} on {port}; {other.ref} has {theirs} there"


def _meet(one: Gateway, other: Gateway) -> bool:
    """Whether every node that has one of them may have the other: one selector within the other."""
    ours, theirs = one.selector.items(), other.selector.items()
    return ours <= theirs or theirs <= ours


def _share(resource: Resource, server: Server, other: Resource, rival: Server) -> bool:
    same_place = (server.port.number, server.bind) == (rival.port.number, rival.bind)
    return same_place and any(
        "*" in (owner, another) or owner == another
        for owner, pattern in _pairs(resource, server)
        for another, name in _pairs(other, rival)
        if hosts_overlap(pattern, name)
    )


def _pairs(resource: Resource, server: Server) -> set[tuple[str, str]]:
    return set(server_hosts(server.hosts, resource.metadata.namespace))


def _speaks_tls(server: Server) -> bool:
    return handling_of(server) not in (Handling.HTTP, Handling.TCP)


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
