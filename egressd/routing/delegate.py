"""Delegation: a route of one VirtualService stands for the routes of another. Pure.

Source: Istio `HTTPRoute.delegate` (`mergeHTTPRoute`). The delegate has no hosts, is used one level deep
and must be exported to the root's namespace. Each match of its route must lie within one of the root's
(a pair that conflicts is dropped), else the whole route is left out. What the delegate's route does not
say, the root's does: field by field, `headers` as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

import msgspec

from egressd.api.export import is_exported
from egressd.api.message import StringMatch
from egressd.api.resource import Kind, Resource
from egressd.api.virtual_service import Destination, HTTPMatchRequest, HTTPRoute, VirtualService
from egressd.registry.claims import delegate_key, qualified_gateways
from egressd.registry.lookup import RecordingView, service_host

T = TypeVar("T")


def expand(
    view: RecordingView, root: Resource, index: int, route: HTTPRoute
) -> Iterator[tuple[Resource, str, HTTPRoute]]:
    """The routes that a written route stands for: (resource whose namespace names are relative to,
    place, route). A delegate that is not there gives none (Istio)."""
    place = f"{root.ref} spec.http[{index}]"
    if route.delegate is None:
        yield root, place, route
        return
    namespace = route.delegate.namespace or root.metadata.namespace
    absolute = _absolute(view, route, root.metadata.namespace)
    for record in view.claims(Kind.VIRTUAL_SERVICE, delegate_key(namespace, route.delegate.name)):
        spec = record.resource.spec
        assert isinstance(spec, VirtualService)
        if not is_exported(record.resource, root.metadata.namespace):
            continue
        for number, written in enumerate(spec.http):
            leaf = _absolute(view, written, namespace)
            if leaf.delegate is None and (merged := merge_route(absolute, leaf)) is not None:
                where = f"{place} > {record.resource.ref} spec.http[{number}]"
                yield record.resource, where, merged


def _absolute(view: RecordingView, route: HTTPRoute, namespace: str) -> HTTPRoute:
    """The names of what a delegate may inherit, in full: they are relative to the namespace of the
    resource that they stand in, and after the merge nobody knows which that was."""
    return msgspec.structs.replace(
        route,
        match=tuple(
            msgspec.structs.replace(match, gateways=qualified_gateways(match.gateways, namespace))
            for match in route.match
        ),
        mirror=route.mirror and _in_full(view, route.mirror, namespace),
        mirrors=tuple(
            msgspec.structs.replace(m, destination=_in_full(view, m.destination, namespace))
            for m in route.mirrors
        ),
    )


def _in_full(view: RecordingView, destination: Destination, namespace: str) -> Destination:
    return msgspec.structs.replace(
        destination, host=service_host(view.destinations, destination.host, namespace)
    )


def merge_route(root: HTTPRoute, leaf: HTTPRoute) -> HTTPRoute | None:
    """One route of a delegate under its root's route; None when a match of it is not within those."""
    matches = _merge_matches(root.match, leaf.match)
    if matches is None:
        return None
    inherited = {
        name: getattr(root, name)
        for name in (
            "rewrite", "direct_response", "timeout", "retries", "fault", "mirror",
            "mirror_percent", "mirror_percentage", "cors_policy", "headers",
        )
        if getattr(leaf, name) is None
    }  # fmt: skip
    if leaf.route or leaf.redirect is not None:
        inherited.pop("direct_response", None)
    return msgspec.structs.replace(
        leaf,
        name="-".join(filter(None, (root.name, leaf.name))),
        match=matches,
        mirrors=leaf.mirrors or root.mirrors,
        **inherited,
    )


def _merge_matches(
    roots: tuple[HTTPMatchRequest, ...], leaves: tuple[HTTPMatchRequest, ...]
) -> tuple[HTTPMatchRequest, ...] | None:
    if not roots or not leaves:
        return roots or leaves
    merged: list[HTTPMatchRequest] = []
    for leaf in leaves:
        within = [_merge(root, leaf) for root in roots if not conflicts(root, leaf)]
        if not within:
            return None
        merged += within
    return tuple(merged)


def _merge(root: HTTPMatchRequest, leaf: HTTPMatchRequest) -> HTTPMatchRequest:
    return msgspec.structs.replace(
        leaf,
        name="-".join(filter(None, (root.name, leaf.name))),
        uri=leaf.uri or root.uri,
        scheme=leaf.scheme or root.scheme,
        method=leaf.method or root.method,
        authority=leaf.authority or root.authority,
        headers={**root.headers, **leaf.headers},
        without_headers={**root.without_headers, **leaf.without_headers},
        query_params={**root.query_params, **leaf.query_params},
        port=leaf.port or root.port,
        source_labels={**root.source_labels, **leaf.source_labels},
        gateways=leaf.gateways or root.gateways,
        source_namespace=leaf.source_namespace or root.source_namespace,
        stat_prefix=leaf.stat_prefix or root.stat_prefix,
    )


def conflicts(root: HTTPMatchRequest, leaf: HTTPMatchRequest) -> bool:
    """Whether a delegate's match is not within its root's."""
    pairs = (
        (root.uri, leaf.uri), (root.scheme, leaf.scheme), (root.method, leaf.method),
        (root.authority, leaf.authority),
    )  # fmt: skip
    maps = (
        (root.headers, leaf.headers),
        (root.without_headers, leaf.without_headers),
        (root.query_params, leaf.query_params),
    )
    return (
        any(_outside(r, one) for r, one in pairs)
        or any(_outside(_at(r, key), one) for r, ours in maps for key, one in ours.items())
        or root.ignore_uri_case != leaf.ignore_uri_case
        or bool(root.port and leaf.port and root.port != leaf.port)
        or bool(root.source_namespace and leaf.source_namespace != root.source_namespace)
        or any(root.source_labels.get(k, v) != v for k, v in leaf.source_labels.items())
        or bool(root.gateways and not set(leaf.gateways) <= set(root.gateways))
    )


def _at(matches: Mapping[str, T], key: str) -> T | None:
    return matches.get(key)


def _outside(root: StringMatch | None, leaf: StringMatch | None) -> bool:
    """Istio `stringMatchConflict`: nothing is compared with a regular expression or with "present", so
    that these exclude every other condition on the same thing."""
    if root is None or leaf is None:
        return False
    if root.exact:
        return leaf.exact != root.exact
    if root.prefix:
        return not (leaf.exact or leaf.prefix or "").startswith(root.prefix)
    return True
