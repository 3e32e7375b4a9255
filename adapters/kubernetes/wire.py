"""The Kubernetes API's JSON as types: the fields that are used of Services and EndpointSlices.

Go writes null for an empty list or map in some answers, hence the `| None`.
"""

from __future__ import annotations

from typing import Generic, Literal, TypeVar

import msgspec

SERVICE_NAME = "kubernetes.io/service-name"
"""The label of an EndpointSlice that names its Service."""
ZONE = "topology.kubernetes.io/zone"
HOSTNAME = "kubernetes.io/hostname"
HEADLESS = "None"
"""`clusterIP` of a Service whose name stands for its pods."""
Item = TypeVar("Item")
Change = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]


class Meta(msgspec.Struct, frozen=True, rename="camel"):
    """`ObjectMeta`."""

    name: str = ""
    namespace: str = ""
    uid: str = ""
    resource_version: str = ""
    labels: dict[str, str] | None = None
    annotations: dict[str, str] | None = None
    creation_timestamp: str | None = None

    @property
    def key(self) -> str:
        """namespace/name."""
        return f"{self.namespace}/{self.name}"


class ServicePort(msgspec.Struct, frozen=True, rename="camel"):
    """`ServicePort`. Where its pods listen is said by the slices: `targetPort` may be a name."""

    port: int
    name: str = ""
    protocol: str = "TCP"
    app_protocol: str | None = None


class ServiceSpec(msgspec.Struct, frozen=True, rename="camel"):
    """`ServiceSpec`."""

    type: str = "ClusterIP"
    cluster_ip: str = msgspec.field(name="clusterIP", default="")
    cluster_ips: tuple[str, ...] | None = msgspec.field(name="clusterIPs", default=None)
    ip_families: tuple[str, ...] | None = None
    external_name: str = ""
    ports: tuple[ServicePort, ...] | None = None
    publish_not_ready_addresses: bool = False
    session_affinity: str = ""


class Ingress(msgspec.Struct, frozen=True, rename="camel"):
    """`LoadBalancerIngress`: where a load balancer takes the traffic of a Service."""

    ip: str = ""
    hostname: str = ""


class LoadBalancer(msgspec.Struct, frozen=True, rename="camel"):
    """`LoadBalancerStatus`."""

    ingress: tuple[Ingress, ...] | None = None


class ServiceStatus(msgspec.Struct, frozen=True, rename="camel"):
    """`ServiceStatus`."""

    load_balancer: LoadBalancer = LoadBalancer()


class Service(msgspec.Struct, frozen=True, rename="camel"):
    """`Service` of v1."""

    metadata: Meta
    spec: ServiceSpec = ServiceSpec()
    status: ServiceStatus = ServiceStatus()


class Conditions(msgspec.Struct, frozen=True, rename="camel"):
    """`EndpointConditions`. Null is not known: ready then, serving as it is ready."""

    ready: bool | None = None
    serving: bool | None = None
    terminating: bool | None = None

    @property
    def is_ready(self) -> bool:
        return self.ready is not False

    @property
    def is_draining(self) -> bool:
        """On its way out and able to answer still."""
        serving = self.is_ready if self.serving is None else self.serving
        return serving and self.terminating is True


class Endpoint(msgspec.Struct, frozen=True, rename="camel"):
    """`Endpoint`. The first address counts, others have no meaning."""

    addresses: tuple[str, ...]
    conditions: Conditions = Conditions()
    hostname: str | None = None
    node_name: str | None = None
    zone: str | None = None
    topology: dict[str, str] | None = None  # v1beta1: node name and zone

    @property
    def place(self) -> tuple[str, str]:
        """Zone and name of its node; "" where not known."""
        topology = self.topology or {}
        zone = self.zone or topology.get(ZONE, "")
        return zone, self.node_name or topology.get(HOSTNAME, "")


class EndpointPort(msgspec.Struct, frozen=True, rename="camel"):
    """`EndpointPort`: where the endpoints of a slice serve the Service's port of that name."""

    name: str | None = None
    protocol: str | None = None
    port: int | None = None


class EndpointSlice(msgspec.Struct, frozen=True, rename="camel"):
    """`EndpointSlice` of discovery.k8s.io."""

    metadata: Meta
    address_type: str = "IPv4"
    endpoints: tuple[Endpoint, ...] | None = None
    ports: tuple[EndpointPort, ...] | None = None

    @property
    def service(self) -> str:
        """namespace/name of its Service; "" for none."""
        name = (self.metadata.labels or {}).get(SERVICE_NAME, "")
        return f"{self.metadata.namespace}/{name}" if name else ""


class Custom(msgspec.Struct, frozen=True, rename="camel"):
    """An object of any kind, its `spec` as it came."""

    metadata: Meta
    api_version: str = ""
    kind: str = ""
    spec: msgspec.Raw = msgspec.Raw(b"{}")


def is_same(
    before: Service | EndpointSlice | Custom | None, now: Service | EndpointSlice | Custom
) -> bool:
    """The very state that is known: no need to look at it."""
    return (
        before is not None
        and before.metadata.uid == now.metadata.uid
        and before.metadata.resource_version == now.metadata.resource_version
        and bool(now.metadata.resource_version)
    )


class ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    """`ListMeta`. `continue` names the next page; "" after the last."""

    resource_version: str = ""
    continue_: str = msgspec.field(name="continue", default="")
    remaining_item_count: int | None = None


class Page(msgspec.Struct, Generic[Item], frozen=True):
    """A page of a list."""

    metadata: ListMeta
    items: tuple[Item, ...] | None = None


class WatchEvent(msgspec.Struct, frozen=True):
    """A line of a watch."""

    type: Change | Literal["ERROR"]
    object: msgspec.Raw


class Versioned(msgspec.Struct, frozen=True):
    """What a BOOKMARK carries."""

    metadata: Meta


class Status(msgspec.Struct, frozen=True):
    """`Status`: why a request or a watch was refused."""

    message: str = ""
    reason: str = ""
    code: int = 0
