"""Delegation: a route of one VirtualService stands for the routes of another. Pure.

Source: Istio `HTTPRoute.delegate`. The delegate has no hosts and is used one level deep. Its matches
must lie within the root's: a pair that conflicts is dropped, a route without a pair left as well. What
the delegate's route does not say, the root's does.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TypeVar

import msgspec

from egressd.api.message import StringMatch
from egressd.api.resource import Kind, Resource
from egressd.api.virtual_service import HTTPMatchRequest, HTTPRoute, VirtualService
from egressd.registry.claims import delegate_key
from egressd.registry.view import RegistryView

T = TypeVar("T")


def expand(
    view: RegistryView, root: Resource, index: int, route: HTTPRoute
) -> Iterator[tuple[Resource, str, HTTPRoute]]:
    """The routes that a written route stands for: (resource whose namespace names are relative to,
    place, route). A delegate that is not there gives none (Istio)."""
    place = f"{root.ref} spec.http[{index}]"
    if route.delegate is None:
        yield root, place, route
        return
    namespace = route.delegate.namespace or root.metadata.namespace
    for record in view.claims(Kind.VIRTUAL_SERVICE, delegate_key(namespace, route.delegate.name)):
        spec = record.resource.spec
        assert isinstance(spec, VirtualService)
        for number, leaf in enumerate(spec.http):
            if leaf.delegate is None and (merged := merge_route(route, leaf)) is not None:
                where = f"{place} > {record.resource.ref} spec.http[{number}]"
                yield record.resource, where, merged


def merge_route(root: HTTPRoute, leaf: HTTPRoute) -> HTTPRoute | None:
    """One route of a delegate under its root's route; None when no match is left."""
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
    merged = [_merge(r, leaf) for r in roots for leaf in leaves if not conflicts(r, leaf)]
    return tuple(merged) or None


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
        ignore_uri_case=leaf.ignore_uri_case or root.ignore_uri_case,
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
        or (
            (root.uri is not None and leaf.uri is not None)
            and root.ignore_uri_case != leaf.ignore_uri_case
        )
        or bool(root.port and leaf.port and root.port != leaf.port)
        or bool(root.source_namespace and leaf.source_namespace not in ("", root.source_namespace))
        or any(root.source_labels.get(k, v) != v for k, v in leaf.source_labels.items())
        or bool(root.gateways and not set(leaf.gateways) <= set(root.gateways))
    )


def _at(matches: Mapping[str, T], key: str) -> T | None:
    return matches.get(key)


def _outside(root: StringMatch | None, leaf: StringMatch | None) -> bool:
    """Istio: nothing is compared with a regular expression, so that one excludes the other."""
    if root is None or leaf is None:
        return False
    if root.regex is not None or leaf.regex is not None:
        return True
    if root.exact is not None:
        return leaf.exact != root.exact
    if root.prefix is not None:
        inner = leaf.exact if leaf.exact is not None else leaf.prefix
        return inner is None or not inner.startswith(root.prefix)
    return False
