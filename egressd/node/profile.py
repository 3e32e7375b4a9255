"""From the bootstrap to what resources and clients' wishes are compared with."""

from __future__ import annotations

from egressd.node.bootstrap_model import Bootstrap, Limits, OutboundMode
from egressd.registry.profile import NodeProfile
from egressd.routing.path import PathNormalization
from egressd.upstream.address_policy import ClientAddresses


def node_profile(bootstrap: Bootstrap) -> NodeProfile:
    """The bootstrap's say of who this node is."""
    node = bootstrap.node
    return NodeProfile(
        namespace=node.namespace,
        root_namespace=node.root_namespace,
        labels=node.labels,
        locality=node.locality_parts,
        allow_any=bootstrap.outbound_traffic_policy.mode is OutboundMode.ALLOW_ANY,
        normalizes_paths=bootstrap.path_normalization is not PathNormalization.NONE,
        always_eject_one=bootstrap.outlier.always_eject_one,
        retry_budget=bootstrap.retry_budget,
        credentials_dir=bootstrap.tls.credentials_dir,
        identity_dir=bootstrap.tls.identity_dir,
    )


def client_addresses(limits: Limits) -> ClientAddresses:
    """Where names that clients choose may lead."""
    return ClientAddresses(limits.denied_addresses, limits.allowed_addresses)
