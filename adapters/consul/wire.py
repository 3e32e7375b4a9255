"""Consul's JSON as types: the fields that are used of `/v1/health/*` and `/v1/catalog/*` answers.

Consul writes null for an empty list or map in some answers, hence the `| None`.
"""

from __future__ import annotations

import msgspec

PASSING = "passing"
WARNING = "warning"
MAINTENANCE_CHECKS = ("_node_maintenance", "_service_maintenance")
"""Check ids (the second one followed by ":SERVICE_ID") of `consul maint`."""


class Check(msgspec.Struct, frozen=True, rename="pascal"):
    """One health check. Without a service id it is a check of the whole node."""

    node: str = ""
    check_id: str = msgspec.field(name="CheckID", default="")
    status: str = ""
    service_id: str = msgspec.field(name="ServiceID", default="")
    service_name: str = ""

    @property
    def is_maintenance(self) -> bool:
        return self.check_id.partition(":")[0] in MAINTENANCE_CHECKS


class Weights(msgspec.Struct, frozen=True, rename="pascal"):
    """How much traffic an instance wants in each state, Consul `ServiceWeights`."""

    passing: int = 1
    warning: int = 1


class TaggedAddress(msgspec.Struct, frozen=True, rename="pascal"):
    """Another address of a service, for clients elsewhere. Port 0 = that of the service."""

    address: str = ""
    port: int = 0


class Connect(msgspec.Struct, frozen=True, rename="pascal"):
    """Consul's own mesh: a native service speaks its mTLS without a sidecar."""

    native: bool = False


class Service(msgspec.Struct, frozen=True, rename="pascal"):
    """One instance of a service as its agent registered it. `kind` is "" except for proxies."""

    id: str = msgspec.field(name="ID", default="")
    tags: tuple[str, ...] | None = None
    address: str = ""
    meta: dict[str, str] | None = None
    port: int = 0
    weights: Weights | None = None
    kind: str = ""
    tagged_addresses: dict[str, TaggedAddress] | None = None
    connect: Connect | None = None


class Node(msgspec.Struct, frozen=True, rename="pascal"):
    """The machine that an instance runs on."""

    node: str = ""
    address: str = ""
    datacenter: str = ""
    meta: dict[str, str] | None = None
    tagged_addresses: dict[str, str] | None = None


class Instance(msgspec.Struct, frozen=True, rename="pascal"):
    """One item of `/v1/health/service/NAME`: an instance, its node, the checks of both."""

    node: Node
    service: Service
    checks: tuple[Check, ...] | None = None


class QueryResult(msgspec.Struct, frozen=True, rename="pascal"):
    """The answer of `/v1/query/NAME/execute`."""

    nodes: tuple[Instance, ...] | None = None
