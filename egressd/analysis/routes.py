"""http routes that do something else than they seem to."""

from __future__ import annotations

from collections.abc import Iterator

from egressd.analysis.finding import Finding, finding
from egressd.analysis.subject import Subject
from egressd.api.names import qualified_host
from egressd.api.resource import Resource
from egressd.api.virtual_service import HTTPRoute, VirtualService
from egressd.registry.claims import MESH, gateway_names
from egressd.registry.lookup import host_key

_CLAIMS = "@request.auth.claims"


def rewrites(subject: Subject) -> Iterator[Finding]:
    """EG0206: Envoy replaces the characters of a prefix, not path segments."""
    for resource, spec in subject.each(VirtualService):
        for index, route in enumerate(spec.http):
            rewrite = route.rewrite.uri if route.rewrite is not None else ""
            for match in route.match if rewrite.endswith("/") else ():
                prefix = (match.uri.prefix if match.uri is not None else "") or "/"
                if not prefix.endswith("/"):
                    found = f"prefix {prefix} and rewrite {rewrite} make {rewrite}/x of {prefix}/x"
                    yield finding("EG0206", resource, f"spec.http[{index}].rewrite.uri", found)
                    break


def passed_by_subsets(subject: Subject) -> Iterator[Finding]:
    """EG0207 (Istio `IngressRouteRulesNotAffected`): a gateway sends to the service itself, and the
    routes to its subsets are for clients of the mesh."""
    routed: dict[str, Resource] = {}
    for resource, spec in subject.each(VirtualService):
        if MESH in gateway_names(resource):
            hosts = {_full(host, resource) for host in spec.hosts}
            for route in spec.http:
                for target in route.route:
                    host = _full(target.destination.host, resource)
                    if target.destination.subset and host in hosts:
                        routed.setdefault(host, resource)
    for resource, spec in subject.each(VirtualService):
        if MESH in gateway_names(resource):
            continue
        for index, route in enumerate(spec.http):
            for number, target in enumerate(route.route):
                host = _full(target.destination.host, resource)
                if host in routed and not target.destination.subset:
                    path = f"spec.http[{index}].route[{number}].destination.subset"
                    found = f"{routed[host].ref} routes {host} to subsets, for clients of the mesh"
                    yield finding("EG0207", resource, path, found)


def _full(host: str, resource: Resource) -> str:
    return qualified_host(host_key(host), resource.metadata.namespace)


def claim_matches(subject: Subject) -> Iterator[Finding]:
    """EG0208 (Istio `JwtClaimBasedRoutingWithoutRequestAuthN`): no JWT is validated here."""
    for resource, spec in subject.each(VirtualService):
        for index, route in enumerate(spec.http):
            for path, name in _claims(route):
                where = f"spec.http[{index}].{path}"
                yield finding("EG0208", resource, where, f"{name}: no JWT is validated here")


def _claims(route: HTTPRoute) -> Iterator[tuple[str, str]]:
    for number, match in enumerate(route.match):
        for field, names in (("headers", match.headers), ("withoutHeaders", match.without_headers)):
            for name in names:
                if name.startswith(_CLAIMS):
                    yield f"match[{number}].{field}", name
