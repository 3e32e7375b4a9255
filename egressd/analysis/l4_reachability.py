"""tls and tcp routes that no connection reaches: an earlier one takes all that they match."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Sequence

from egressd.analysis.finding import Finding, finding
from egressd.analysis.subject import Subject
from egressd.api.names import host_is_subset
from egressd.api.virtual_service import L4MatchAttributes, TLSMatchAttributes, VirtualService

L4Match = L4MatchAttributes | TLSMatchAttributes


def unreachable_l4_routes(subject: Subject) -> Iterator[Finding]:
    """EG0201, EG0202 (Istio `VirtualServiceUnreachableRule`, `VirtualServiceIneffectiveMatch`)."""
    for resource, spec in subject.each(VirtualService):
        tls = [(f"spec.tls[{n}]", tuple(route.match)) for n, route in enumerate(spec.tls)]
        tcp = [(f"spec.tcp[{n}]", tuple(route.match)) for n, route in enumerate(spec.tcp)]
        for code, field, found in (*_unreachable(tls), *_unreachable(tcp)):
            yield finding(code, resource, field, found)


def _unreachable(
    routes: Sequence[tuple[str, Sequence[L4Match]]],
) -> Iterator[tuple[str, str, str]]:
    earlier: list[tuple[str, L4Match]] = []
    takes_all = ""
    for path, matches in routes:
        if takes_all:
            yield "EG0201", path, f"{takes_all} matches every connection"
            continue
        places = [(f"{path}.match[{number}]", match) for number, match in enumerate(matches)]
        taken: list[tuple[str, str]] = []
        own: list[tuple[str, L4Match]] = []
        for where, match in places:
            by = next((place for place, one in (*earlier, *own) if covers_l4(one, match)), "")
            if by:
                taken.append((where, by))
            own.append((where, match))
        if taken and len(taken) == len(places):
            by = ", ".join(dict.fromkeys(by for _, by in taken))
            yield "EG0201", path, f"{by} takes all that it matches"
        else:
            for where, by in taken:
                yield "EG0202", where, f"{by} takes all that it matches"
        earlier += places
        if not matches or any(match == L4MatchAttributes() for match in matches):
            takes_all = path


def covers_l4(wide: L4Match, narrow: L4Match) -> bool:
    """Whether every connection that `narrow` matches is matched by `wide`."""
    return (
        _names_cover(wide, narrow)
        and (not wide.port or wide.port == narrow.port)
        and _subnets_cover(wide.destination_subnets, narrow.destination_subnets)
        and _source_covers(wide, narrow)
        and wide.source_labels.items() <= narrow.source_labels.items()
        and wide.source_namespace in ("", narrow.source_namespace)
        and (
            not wide.gateways
            or (bool(narrow.gateways) and set(narrow.gateways) <= set(wide.gateways))
        )
    )


def _names_cover(wide: L4Match, narrow: L4Match) -> bool:
    if not isinstance(wide, TLSMatchAttributes) or not isinstance(narrow, TLSMatchAttributes):
        return True
    return all(
        any(host_is_subset(name, one) for one in wide.sni_hosts) for name in narrow.sni_hosts
    )


def _source_covers(wide: L4Match, narrow: L4Match) -> bool:
    if not isinstance(wide, L4MatchAttributes) or not isinstance(narrow, L4MatchAttributes):
        return True
    subnets = ((one,) if one else () for one in (wide.source_subnet, narrow.source_subnet))
    return _subnets_cover(*subnets)


def _subnets_cover(wide: tuple[str, ...], narrow: tuple[str, ...]) -> bool:
    """No subnet at all is every address."""
    if not wide:
        return True
    outer = [ipaddress.ip_network(one, strict=False) for one in wide]
    inner = [ipaddress.ip_network(one, strict=False) for one in narrow]
    return bool(inner) and all(any(_lies_in(one, net) for net in outer) for one in inner)


def _lies_in(
    inner: ipaddress.IPv4Network | ipaddress.IPv6Network,
    outer: ipaddress.IPv4Network | ipaddress.IPv6Network,
) -> bool:
    if isinstance(inner, ipaddress.IPv4Network):
        return isinstance(outer, ipaddress.IPv4Network) and inner.subnet_of(outer)
    return isinstance(outer, ipaddress.IPv6Network) and inner.subnet_of(outer)
