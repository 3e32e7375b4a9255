"""From the bootstrap to what resources are compared with."""

from __future__ import annotations

from egressd.node.bootstrap_model import Bootstrap, OutboundMode
from egressd.registry.profile import NodeProfile


def node_profile(bootstrap: Bootstrap) -> NodeProfile:
    """The bootstrap's say of who this node is."""
    node = bootstrap.node
    return NodeProfile(
        namespace=node.namespace,
        root_namespace=node.root_namespace,
        labels=node.labels,
        locality=node.locality_parts,
        allow_any=bootstrap.outbound_traffic_policy.mode is OutboundMode.ALLOW_ANY,
        always_eject_one=bootstrap.outlier.always_eject_one,
        credentials_dir=bootstrap.tls.credentials_dir,
        identity_dir=bootstrap.tls.identity_dir,
    )
