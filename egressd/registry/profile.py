"""What resources are compared with: who this node is, and where it keeps its secrets."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from egressd.api.destination_rule import RetryBudget


class NodeProfile(msgspec.Struct, frozen=True, kw_only=True):
    """The client side of every rule. Istio reads the same of a proxy (its workload and mesh)."""

    namespace: str = "default"
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    locality: tuple[str, str, str] = ("", "", "")  # region, zone, subZone; "" = not known
    network: str = ""
    root_namespace: str = "istio-system"  # Istio MeshConfig.rootNamespace
    allow_any: bool = False  # outboundTrafficPolicy ALLOW_ANY
    normalizes_paths: bool = True  # pathNormalization is not NONE
    always_eject_one: bool = True  # node option outlier.alwaysEjectOne
    retry_budget: RetryBudget | None = None  # node option retryBudget: where rules limit no retries
    credentials_dir: str = ""  # where `credentialName` is looked up; "" = nowhere
    identity_dir: str = ""  # PEM files of the node's mesh identity; "" = it has none


DEFAULT_PROFILE = NodeProfile()
