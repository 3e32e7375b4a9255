"""Clusters of one name each: below a wildcard whose endpoints or certificates go by the requested name,
and of names that nothing claims (ALLOW_ANY). Pure."""

from __future__ import annotations

from dataclasses import replace

from egressd.api.service_entry import Resolution
from egressd.routing.table import ClusterKey
from egressd.upstream.address_policy import ClientAddresses
from egressd.upstream.spec import ClusterSpec, EndpointSpec

PASSED = "PassthroughCluster@"
"""What the host of a passed-through name's cluster begins with."""
_BY_NAME = (Resolution.NONE, Resolution.DYNAMIC_DNS)


def spec_by_name(
    host: str, port: int, base: ClusterSpec | None, addresses: ClientAddresses | None
) -> ClusterSpec:
    """The cluster of one name under a wildcard, or of "where the client asked" (resolution NONE, or
    ALLOW_ANY without a base). Address policy holds unless a ServiceEntry has this very name: then an
    operator chose it, not a client."""
    key = key_by_name(host, port, base)
    is_chosen = base is None or base.service_host != host or host[:1] == "*"
    policy = addresses.policy_of(host) if addresses is not None and is_chosen else None
    endpoint = EndpointSpec(address=host, port=port, hostname=host, policy=policy)
    if base is None:
        return ClusterSpec(key=key, resolution=Resolution.DNS, endpoints=(endpoint,))
    tls = base.tls
    if tls is not None and not tls.sni:
        tls = replace(tls, sni=host)
    if base.resolution in _BY_NAME:
        base = replace(base, resolution=Resolution.DNS, endpoints=(endpoint,))
    return replace(base, key=key, tls=tls)


def key_by_name(host: str, port: int, base: ClusterSpec | None) -> ClusterKey:
    """The name of such a cluster."""
    if base is None:
        return ClusterKey(f"{PASSED}{host}", "", port)
    return ClusterKey(f"{base.key.host}@{host}", base.key.subset, port)


def needs_name(spec: ClusterSpec) -> bool:
    """Whether the requested name takes part in connecting: as the address, or as the name that the
    server's certificate is verified against."""
    nameless_tls = spec.tls is not None and not spec.tls.sni
    return spec.resolution in _BY_NAME or nameless_tls
