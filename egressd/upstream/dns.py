"""The names that clusters stand on: addresses in force, and the endpoints that they make.

The resolver itself is `egressd.dns`. Addresses of both families alternate, IPv6 first (RFC 8305 4).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import chain, zip_longest

from egressd.api.names import is_ip
from egressd.api.service_entry import Resolution
from egressd.dns.answer import NO_DATA, NO_NAME
from egressd.dns.watch import Question, Watch
from egressd.upstream.spec import ClusterSpec, EndpointSpec

FAMILIES = {"ALL": ("A", "AAAA"), "V4_ONLY": ("A",), "V6_ONLY": ("AAAA",)}
"""Envoy `DnsLookupFamily` to types of record."""


_LACKS = {NO_NAME: "no such name (NXDOMAIN)", NO_DATA: "it has no addresses (NODATA)"}


class HostNames:
    """Names to addresses for a worker's clusters."""

    def __init__(self, watch: Watch, kinds: tuple[str, ...] = FAMILIES["ALL"]) -> None:
        self._watch = watch
        self._kinds = kinds

    def addresses(self, name: str) -> tuple[str, ...] | None:
        """The addresses in force; None before the first answer (() after a first one without any)."""
        held = self._watch.held(Question(name, self._kinds))
        return None if held is None or not held.is_asked else alternate(held.records)

    def trouble(self, name: str) -> str:
        """Why a watched name has no addresses, or why those of before stand; "" = all is well."""
        held = self._watch.held(Question(name, self._kinds))
        if held is None or not (held.error or held.is_asked):
            return ""
        if not held.error and held.records:
            return ""
        said = held.error or _LACKS.get(held.lacks, "no addresses")
        stands = "; its last addresses stand" if held.records else ""
        return f"{name} does not resolve: {said}{stands}"

    def watch(self, name: str, on_change: Callable[[], None]) -> None:
        """Keep a name resolved; `on_change` is called after each change."""
        self._watch.watch(Question(name, self._kinds), on_change)

    def unwatch(self, name: str, on_change: Callable[[], None]) -> None:
        """Stop telling; a name that nobody watches is forgotten."""
        self._watch.unwatch(Question(name, self._kinds), on_change)

    async def first(self, name: str) -> None:
        """Wait until a watched name has been asked for once, well or not."""
        await self._watch.first(Question(name, self._kinds))


def alternate(addresses: Sequence[str]) -> tuple[str, ...]:
    """Addresses with the families taking turns, IPv6 first, each family in its own order."""
    six = [address for address in addresses if ":" in address]
    four = [address for address in addresses if ":" not in address]
    return tuple(one for one in chain.from_iterable(zip_longest(six, four)) if one is not None)


def host_names(spec: ClusterSpec) -> tuple[str, ...]:
    """The names among the addresses of a cluster's endpoints."""
    addresses = dict.fromkeys(endpoint.address for endpoint in spec.endpoints)
    return tuple(address for address in addresses if not _is_literal(address))


def _is_literal(address: str) -> bool:
    return address.startswith("/") or is_ip(address)


def resolved_endpoints(
    spec: ClusterSpec, addresses_of: Callable[[str], Sequence[str] | None]
) -> list[EndpointSpec]:
    """What the configured endpoints of a DNS cluster are now.

    Resolution DNS: an endpoint an address (Envoy STRICT_DNS), each with one of the other family to
    fall back on while connecting. DNS_ROUND_ROBIN: one endpoint a name, that new connections reach at
    its first address that answers (Envoy LOGICAL_DNS).
    """
    endpoints: list[EndpointSpec] = []
    for endpoint in spec.endpoints:
        if _is_literal(endpoint.address):
            endpoints.append(endpoint)
            continue
        addresses = addresses_of(endpoint.address) or ()
        named = replace(endpoint, hostname=endpoint.address)
        if spec.resolution is not Resolution.DNS_ROUND_ROBIN:
            endpoints += _each_address(named, addresses)
        elif addresses:
            first, *others = addresses
            endpoints.append(
                replace(named, address=first, alternates=tuple(others), is_logical=True)
            )
    return endpoints


def without_denied(endpoints: Sequence[EndpointSpec]) -> list[EndpointSpec]:
    """What address policies leave of endpoints: one whose first address is denied has its next one.
    What is left out here would be refused when it is dialled, too."""
    left = []
    for one in endpoints:
        policy = one.policy
        if policy is None:
            left.append(one)
            continue
        good = [other for other in (one.address, *one.alternates) if not policy.denies(other)]
        if good and (one.is_logical or good[0] == one.address):
            left.append(replace(one, address=good[0], alternates=tuple(good[1:])))
    return left


def _each_address(endpoint: EndpointSpec, addresses: Sequence[str]) -> list[EndpointSpec]:
    """Sorted, so that a server that rotates its answers changes nothing."""
    six = sorted(address for address in addresses if ":" in address)
    four = sorted(address for address in addresses if ":" not in address)
    found = []
    for own, other in ((four, six), (six, four)):
        for at, address in enumerate(own):
            fall_back = (other[at % len(other)],) if other else ()
            found.append(replace(endpoint, address=address, alternates=fall_back))
    return found
