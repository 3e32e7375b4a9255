"""Which DestinationRules apply to a host. Pure.

Source: Istio `PushContext.destinationRule`, `mergeDestinationRule`.
"""

from __future__ import annotations

from typing import NamedTuple

from egressd.api.age import creation_order
from egressd.api.authorization_policy import PolicySelector
from egressd.api.destination_rule import DestinationRule
from egressd.api.export import export_namespaces
from egressd.api.names import host_is_subset
from egressd.api.resource import Kind
from egressd.registry.join import Service
from egressd.registry.lookup import candidates
from egressd.registry.profile import NodeProfile
from egressd.registry.records import Record
from egressd.registry.view import RegistryView


class Applicable(NamedTuple):
    """The rules that count as one, the oldest first, and the host that they have."""

    host: str = ""
    rules: tuple[Record, ...] = ()


def find_destination_rules(
    view: RegistryView, host: str, profile: NodeProfile, service_namespace: str
) -> Applicable:
    """The DestinationRules for a host: of the client's namespace, else of the service's, else of the
    root namespace, in each the most specific host (Istio). Those whose `workloadSelector` is this node
    come before those without. Several with the same `exportTo` and selector are one, the oldest first:
    their subsets together, the first one of a name, and the trafficPolicy of the first that has one. To
    a client of the root namespace only rules private to it come first: the others there are everyone's
    defaults."""
    found = [
        (key, record)
        for key in candidates(host)
        for record in view.claims(Kind.DESTINATION_RULE, key)
        if selects(record, profile)
    ]
    own = [pair for pair in found if pair[1].resource.metadata.namespace == profile.namespace]
    if profile.namespace == profile.root_namespace:
        own = [p for p in own if export_namespaces(p[1].resource) == {profile.namespace}]
    rest = (
        [pair for pair in found if pair[1].resource.metadata.namespace == namespace]
        for namespace in (service_namespace, profile.root_namespace)
    )
    for tier in (own, *rest):
        if tier:
            host = tier[0][0]
            return Applicable(host, _merged([record for key, record in tier if key == host]))
    return Applicable()


def cluster_host(view: RegistryView, name: str, service: Service, profile: NodeProfile) -> str:
    """The host of the cluster that a name of a service leads to: the service's own, or below a wildcard
    the narrower one that DestinationRules have which apply to the name. Istio looks them up for the
    service alone, so that TLS for one name below a wildcard would be left out without a word."""
    if service.host[:1] != "*" or name == service.host:
        return service.host
    narrow = find_destination_rules(view, name, profile, service.namespace).host
    is_narrower = narrow not in ("", service.host) and host_is_subset(narrow, service.host)
    return narrow if is_narrower else service.host


def selects(record: Record, profile: NodeProfile) -> bool:
    """Whether the `workloadSelector` of a DestinationRule is this node; one without is everybody's."""
    selector = _selector(record)
    if selector is None:
        return True
    same = record.resource.metadata.namespace == profile.namespace
    return same and selector.match_labels.items() <= profile.labels.items()


def _selector(record: Record) -> PolicySelector | None:
    spec = record.resource.spec
    assert isinstance(spec, DestinationRule)
    return spec.workload_selector


def _merged(records: list[Record]) -> tuple[Record, ...]:
    """Those that count as one, of all that a namespace has for a host. A rule is merged into an older
    one with the same selector that is exported to no more namespaces; of several that are left the
    first whose selector is this node counts, else the last (Istio)."""
    if len(records) == 1:
        return tuple(records)
    groups: list[list[Record]] = []
    for record in sorted(records, key=lambda record: creation_order(record.resource)):
        exports, selector = export_namespaces(record.resource), _selector(record)
        for group in groups:
            is_alike = _selector(group[0]) == selector
            if is_alike and exports >= export_namespaces(group[0].resource):
                group.append(record)
                break
        else:
            groups.append([record])
    selected = [group for group in groups if _selector(group[0]) is not None]
    return tuple(selected[0] if selected else groups[-1])
