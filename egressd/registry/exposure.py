"""What a gateway's port exposes: which names, by which VirtualServices. Pure.

Source: Istio `Gateway.servers[].hosts`, `VirtualService.gateways`. A VirtualService binds where it
lists the gateway and one of its hosts is exported by one of the port's servers; the name that it
then claims there is the narrower of the two. Several may have one claim: their routes are merged.
"""

from __future__ import annotations

from typing import NamedTuple

from egressd.api.age import creation_order
from egressd.api.export import precedence
from egressd.api.names import host_is_subset
from egressd.api.resource import Kind
from egressd.api.virtual_service import VirtualService
from egressd.registry.claims import claimed_hosts, gateway_key, gateway_names
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
    exposure: Exposure
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


def bound_claims(
    view: RegistryView, host: str, exposures: tuple[Exposure, ...], namespace: str
) -> dict[str, list[Bound]]:
    """The VirtualServices that claim a name on a gateway's port, by claim, the narrowest first; those
    of one claim in the order in which Istio merges their routes: by server, then private ones first
    (`precedence`), then the older, then by name."""
    order = list(candidates(host))
    records: dict[str, Record] = {}
    for key in order:
        for record in view.claims(Kind.VIRTUAL_SERVICE, key):
            records.setdefault(record.resource.ref, record)
    listed = sorted(records.values(), key=lambda record: merge_order(record, namespace))
    found: dict[str, list[Bound]] = {key: [] for key in order}
    for exposure in exposures:
        for record in listed:
            for claim in _claims(record, exposure, order):
                found[claim].append(Bound(claim, exposure, record))
    return {claim: bound for claim, bound in found.items() if bound}


def merge_order(record: Record, namespace: str) -> tuple[int, int, str, str]:
    """The order in which Istio has the VirtualServices of a Gateway."""
    metadata = record.resource.metadata
    created = creation_order(record.resource)
    return precedence(record.resource, namespace), created, metadata.name, metadata.namespace


def _claims(record: Record, exposure: Exposure, order: list[str]) -> list[str]:
    """What a VirtualService claims of the keys of `order` on a server: of each pair of its hosts and
    the server's the narrower one (Istio `Names.Intersection`)."""
    if exposure.gateway not in gateway_names(record.resource):
        return []
    namespace = record.resource.metadata.namespace
    shown = {pattern for owner, pattern in exposure.hosts if owner in ("*", namespace)}
    ours = [at for at, key in enumerate(order) if key in claimed_hosts(record.resource)]
    theirs = [at for at, key in enumerate(order) if key in shown]
    return [order[at] for at in sorted({min(one, other) for one in ours for other in theirs})]


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


def bound_records(
    view: RegistryView, exposures: tuple[Exposure, ...], namespace: str
) -> list[Bound]:
    """Every VirtualService bound to a port, for TCP, which has no name to look up by."""
    found: dict[tuple[str, str], Bound] = {}
    for exposure in exposures:
        records = view.claims(Kind.VIRTUAL_SERVICE, gateway_key(exposure.gateway))
        for record in sorted(records, key=lambda record: merge_order(record, namespace)):
            spec = record.resource.spec
            assert isinstance(spec, VirtualService)
            own = record.resource.metadata.namespace
            for owner, pattern in exposure.hosts:
                if owner in ("*", own) and any(
                    host_is_subset(host_key(h), pattern) or host_is_subset(pattern, host_key(h))
                    for h in spec.hosts
                ):
                    key = (exposure.gateway, record.resource.ref)
                    found.setdefault(key, Bound(pattern, exposure, record))
    return list(found.values())
