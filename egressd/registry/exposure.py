"""What a gateway's port exposes: which names, by which VirtualServices. Pure.

Source: Istio `Gateway.servers[].hosts`, `VirtualService.gateways`. A VirtualService binds where it
lists the gateway and one of its hosts is exported by one of the port's servers; the name that it
then claims there is the narrower of the two.
"""

from __future__ import annotations

from typing import NamedTuple

from egressd.api.names import host_is_subset
from egressd.api.resource import Kind
from egressd.api.virtual_service import VirtualService
from egressd.registry.claims import gateway_key, gateway_names
from egressd.registry.lookup import candidates, host_key
from egressd.registry.records import Record
from egressd.registry.view import RegistryView


class Exposure(NamedTuple):
    """The hosts of one server of a gateway: (namespace or "*", host pattern) each."""

    gateway: str  # "namespace/name"
    hosts: tuple[tuple[str, str], ...]


class Bound(NamedTuple):
    """A VirtualService as it is found on a gateway."""

    claim: str  # the name that it claims there: may be a wildcard
    gateway: str
    record: Record


def server_hosts(hosts: tuple[str, ...], namespace: str) -> tuple[tuple[str, str], ...]:
    """Istio `Server.hosts`: `[namespace/]host`, "." = the gateway's own namespace, "*" = any."""
    found = []
    for host in hosts:
        owner, slash, pattern = host.rpartition("/")
        owner = namespace if owner == "." else owner
        found.append((owner if slash else "*", host_key(pattern)))
    return tuple(found)


def exposes(exposure: Exposure, name: str) -> str:
    """The narrowest host pattern of a server that covers a name, "" for none."""
    keys = {pattern for _, pattern in exposure.hosts}
    return next((key for key in candidates(name) if key in keys), "")


def find_bound(view: RegistryView, host: str, exposures: tuple[Exposure, ...]) -> Bound | None:
    """The VirtualService that owns a name on a gateway's port: the narrowest claim wins."""
    order = list(candidates(host))
    rank = {key: at for at, key in enumerate(order)}
    best: tuple[int, Bound] | None = None
    for key in order:
        for record in view.claims(Kind.VIRTUAL_SERVICE, key):
            bound = _bind(record, key, rank, exposures)
            if bound is not None and (best is None or rank[bound.claim] < best[0]):
                best = (rank[bound.claim], bound)
    return best[1] if best is not None else None


def _bind(
    record: Record, key: str, rank: dict[str, int], exposures: tuple[Exposure, ...]
) -> Bound | None:
    names = gateway_names(record.resource)
    namespace = record.resource.metadata.namespace
    best: Bound | None = None
    for exposure in exposures:
        if exposure.gateway not in names:
            continue
        for owner, pattern in exposure.hosts:
            if owner not in ("*", namespace) or pattern not in rank:
                continue
            claim = key if rank[key] <= rank[pattern] else pattern
            if best is None or rank[claim] < rank[best.claim]:
                best = Bound(claim, exposure.gateway, record)
    return best


def unexposed_reason(record: Record, host: str, exposures: tuple[Exposure, ...]) -> str:
    """Why a VirtualService does not own a name on a gateway's port, as far as it is its own doing."""
    names = gateway_names(record.resource)
    listed = [exposure for exposure in exposures if exposure.gateway in names]
    if not listed:
        return f"it is bound to {', '.join(names)}, not to {exposures[0].gateway}"
    namespace = record.resource.metadata.namespace
    shown = [pattern for one in listed for owner, pattern in one.hosts if owner in ("*", namespace)]
    if not shown:
        return f"no server of the port exports hosts to its namespace {namespace}"
    if not set(shown) & set(candidates(host)):
        return f"the servers of the port export {', '.join(shown)}, not {host}"
    return ""


def bound_records(view: RegistryView, exposures: tuple[Exposure, ...]) -> list[Bound]:
    """Every VirtualService bound to a port, for TCP, which has no name to look up by."""
    found: dict[str, Bound] = {}
    for exposure in exposures:
        for record in view.claims(Kind.VIRTUAL_SERVICE, gateway_key(exposure.gateway)):
            spec = record.resource.spec
            assert isinstance(spec, VirtualService)
            namespace = record.resource.metadata.namespace
            for owner, pattern in exposure.hosts:
                if owner in ("*", namespace) and any(
                    host_is_subset(host_key(h), pattern) or host_is_subset(pattern, host_key(h))
                    for h in spec.hosts
                ):
                    found.setdefault(record.resource.ref, Bound(pattern, exposure.gateway, record))
    return list(found.values())
