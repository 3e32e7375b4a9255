"""What only shows between resources: two of one name, two claims of one host, names nobody has."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from egressd.api.age import creation_order
from egressd.api.destination_rule import DestinationRule
from egressd.api.export import contest, is_exported
from egressd.api.names import host_is_subset, qualified_gateway, qualified_host
from egressd.api.report import quoted
from egressd.api.resource import Problem, Resource, Severity
from egressd.api.service_entry import ServiceEntry
from egressd.api.virtual_service import Destination, HTTPRoute, VirtualService


class Conflict(msgspec.Struct, frozen=True):
    """Two resources claim the same thing: `keeper` is older and keeps it, `refused` does not."""

    keeper: Resource
    refused: Resource
    field: str
    claim: str  # what both claim: a host on a gateway, or the name itself


def check_set(
    resources: Iterable[Resource], beside: Iterable[Resource] = ()
) -> tuple[Problem, ...]:
    """The problems of resources taken together; the older one comes first, then the given order.

    `beside` is in force as well, from elsewhere (a node's registry): destinations may lead there. It is
    not judged itself.
    """
    ordered = by_age(resources)
    return tuple(
        problem
        for problems in (
            _duplicates(ordered),
            _host_problems(ordered),
            _rule_duplicates(ordered),
            _delegate_problems(ordered),
            _destination_problems(ordered, beside),
        )
        for problem in problems
    )


def host_conflicts(resources: Iterable[Resource]) -> tuple[Conflict, ...]:
    """VirtualServices that claim a host which an older one has on the mesh.

    semantics.md, Names: on a Gateway the routes of several are merged, on the mesh one has a host. Two
    that no namespace sees with equal precedence (`exportTo`) do not meet.
    """
    conflicts: list[Conflict] = []
    holders: dict[str, list[Resource]] = {}
    for resource in _distinct(by_age(resources)):
        spec = resource.spec
        if not isinstance(spec, VirtualService):
            continue
        if "mesh" not in _gateways(spec, resource.metadata.namespace):
            continue
        hosts = {_full(host, resource): index for index, host in enumerate(spec.hosts)}
        for claim, index in hosts.items():
            holding = holders.setdefault(claim, [])
            keeper = next((one for one in holding if contest(one, resource)), None)
            if keeper is None:
                holding.append(resource)
            else:
                shown = f"host {spec.hosts[index]} on gateway mesh"
                conflicts.append(Conflict(keeper, resource, f"spec.hosts[{index}]", shown))
    return tuple(conflicts)


def by_age(resources: Iterable[Resource]) -> list[Resource]:
    """Oldest first by creationTimestamp; those without one after, all else in the given order."""
    return sorted(resources, key=creation_order)


def _distinct(ordered: Sequence[Resource]) -> list[Resource]:
    return list({resource.ref: resource for resource in reversed(ordered)}.values())[::-1]


def _gateways(spec: VirtualService, namespace: str) -> tuple[str, ...]:
    names = spec.gateways or ("mesh",)
    return tuple(qualified_gateway(name, namespace) for name in names)


def _plain(host: str) -> str:
    return host.lower().removesuffix(".")


def _full(host: str, resource: Resource) -> str:
    return qualified_host(_plain(host), resource.metadata.namespace)


def _problem(
    resource: Resource, field: str, found: str, expected: str, severity: Severity
) -> Problem:
    return Problem(
        severity=severity,
        place=resource.place,
        resource=resource.ref,
        field=field,
        found=found,
        expected=expected,
    )


def repeated(resources: Iterable[Resource]) -> Iterator[Problem]:
    """Resources whose kind, namespace and name another one has: they are refused."""
    return _duplicates(by_age(resources))


def _duplicates(ordered: Sequence[Resource]) -> Iterator[Problem]:
    first: dict[str, Resource] = {}
    for resource in ordered:
        keeper = first.setdefault(resource.ref, resource)
        if keeper is not resource:
            found = f"a second {resource.ref} (the first: {_where(keeper)})"
            expected = "each kind, namespace and name once; the first is kept"
            yield _problem(resource, "metadata.name", found, expected, Severity.ERROR)


def _host_problems(ordered: Sequence[Resource]) -> Iterator[Problem]:
    for conflict in host_conflicts(ordered):
        found = f"{conflict.claim}, which {conflict.keeper.ref} has ({_where(conflict.keeper)})"
        expected = f"one VirtualService a host of the mesh; {conflict.keeper.ref} keeps it"
        yield _problem(conflict.refused, conflict.field, found, expected, Severity.ERROR)


def _rule_duplicates(ordered: Sequence[Resource]) -> Iterator[Problem]:
    first: dict[tuple[str, str], Resource] = {}
    for resource in _distinct(ordered):
        spec = resource.spec
        if not isinstance(spec, DestinationRule) or spec.workload_selector is not None:
            continue
        keeper = first.setdefault((resource.metadata.namespace, _plain(spec.host)), resource)
        if keeper is not resource:
            found = f"host {spec.host}, for which {keeper.ref} is a rule, too ({_where(keeper)})"
            expected = "one DestinationRule a host; what the older one says counts"
            yield _problem(resource, "spec.host", found, expected, Severity.WARNING)


def _where(resource: Resource) -> str:
    place = resource.place
    return f"{place.file}:{place.line}" if place.line else place.file or "no file"


def _delegate_problems(ordered: Sequence[Resource]) -> Iterator[Problem]:
    """Delegates that cannot be used: Istio leaves the route out, and only logs it."""
    known = {resource.ref: resource for resource in _distinct(ordered)}
    for resource in ordered:
        spec = resource.spec
        for index, route in enumerate(spec.http if isinstance(spec, VirtualService) else ()):
            if route.delegate is None:
                continue
            own = resource.metadata.namespace
            name = f"{route.delegate.namespace or own}/{route.delegate.name}"
            fault = _delegate_fault(known.get(f"VirtualService/{name}"), own)
            if fault:
                expected = f"{fault}; the route is left out until then"
                where = f"spec.http[{index}].delegate"
                yield _problem(resource, where, f"delegate {name}", expected, Severity.WARNING)


def _delegate_fault(delegate: Resource | None, namespace: str) -> str:
    if delegate is None or not isinstance(delegate.spec, VirtualService):
        return "a VirtualService of this name"
    if delegate.spec.hosts:
        return "a VirtualService without hosts"
    if not is_exported(delegate, namespace):
        return f"a VirtualService that is exported to the namespace {namespace}"
    return ""


# --- destinations --------------------------------------------------------------------------------


def _destination_problems(
    ordered: Sequence[Resource], beside: Iterable[Resource]
) -> Iterator[Problem]:
    """Destinations that no ServiceEntry knows and subsets that no DestinationRule has."""
    services: set[str] = set()
    wide_services: list[str] = []
    rules: dict[str, set[str]] = {}
    refs = {resource.ref for resource in ordered}
    for resource in (*ordered, *(other for other in beside if other.ref not in refs)):
        spec = resource.spec
        if isinstance(spec, ServiceEntry):
            hosts = [_plain(host) for host in spec.hosts]
            services.update(hosts)
            wide_services += [host for host in hosts if host.startswith("*")]
        elif isinstance(spec, DestinationRule):
            names = {subset.name for subset in spec.subsets}
            for host in {_plain(spec.host), _full(spec.host, resource)}:
                rules.setdefault(host, set()).update(names)
    for resource in ordered:
        if not isinstance(resource.spec, VirtualService):
            continue
        for path, destination in _destinations(resource.spec):
            names = {_plain(destination.host), _full(destination.host, resource)}
            is_known = not names.isdisjoint(services) or any(
                host_is_subset(name, wide) for name in names for wide in wide_services
            )
            if not is_known:
                expected = "a host of some ServiceEntry; requests answer 503 until there is one"
                yield _problem(
                    resource, f"{path}.host", quoted(destination.host), expected, Severity.WARNING
                )
            if destination.subset:
                in_full = names - {_plain(destination.host)}
                host = next(
                    (name for name in in_full if name in services), _plain(destination.host)
                )
                yield from _subset_problem(resource, path, destination, host, rules)


def _subset_problem(
    resource: Resource,
    path: str,
    destination: Destination,
    host: str,
    rules: dict[str, set[str]],
) -> Iterator[Problem]:
    subset = destination.subset
    where = f"{path}.subset"
    if host in rules:
        if subset not in rules[host]:
            known = ", ".join(sorted(rules[host])) or "none"
            found = f"missing subset {quoted(subset)}"
            expected = f"a subset of the DestinationRule for {destination.host} ({known})"
            yield _problem(resource, where, found, expected, Severity.ERROR)
        return
    wide = [names for rule_host, names in rules.items() if host_is_subset(host, rule_host)]
    if not any(subset in names for names in wide):
        found = f"missing subset {quoted(subset)}"
        expected = (
            f"a DestinationRule for {destination.host} with it; requests answer 503 until then"
        )
        yield _problem(resource, where, found, expected, Severity.WARNING)


def _destinations(spec: VirtualService) -> Iterator[tuple[str, Destination]]:
    for index, route in enumerate(spec.http):
        yield from _http_destinations(route, f"spec.http[{index}]")
    for index, tls in enumerate(spec.tls):
        for number, target in enumerate(tls.route):
            yield f"spec.tls[{index}].route[{number}].destination", target.destination
    for index, tcp in enumerate(spec.tcp):
        for number, target in enumerate(tcp.route):
            yield f"spec.tcp[{index}].route[{number}].destination", target.destination


def _http_destinations(route: HTTPRoute, path: str) -> Iterator[tuple[str, Destination]]:
    for number, target in enumerate(route.route):
        yield f"{path}.route[{number}].destination", target.destination
    if route.mirror is not None:
        yield f"{path}.mirror", route.mirror
    for number, mirror in enumerate(route.mirrors):
        yield f"{path}.mirrors[{number}].destination", mirror.destination
