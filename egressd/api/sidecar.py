"""Istio `networking.istio.io` Sidecar: the messages as immutable types, one class a message."""

from __future__ import annotations

import enum
from typing import ClassVar

from egressd.api.destination_rule import ConnectionPoolSettings
from egressd.api.gateway import ServerTLSSettings
from egressd.api.message import Message, UInt32, WorkloadSelector
from egressd.api.virtual_service import Destination


class CaptureMode(enum.StrEnum):
    """Istio `CaptureMode`."""

    DEFAULT = "DEFAULT"
    IPTABLES = "IPTABLES"
    NONE = "NONE"


class OutboundTrafficPolicyMode(enum.StrEnum):
    """Istio `OutboundTrafficPolicy.Mode`."""

    REGISTRY_ONLY = "REGISTRY_ONLY"
    ALLOW_ANY = "ALLOW_ANY"


class Sidecar(Message, frozen=True):
    """Istio `Sidecar`."""

    workload_selector: WorkloadSelector | None = None
    ingress: tuple[IstioIngressListener, ...] = ()
    egress: tuple[IstioEgressListener, ...] = ()
    inbound_connection_pool: ConnectionPoolSettings | None = None
    outbound_traffic_policy: OutboundTrafficPolicy | None = None


class IstioIngressListener(Message, frozen=True):
    """Istio `IstioIngressListener`."""

    port: SidecarPort
    bind: str = ""
    capture_mode: CaptureMode = CaptureMode.DEFAULT
    default_endpoint: str = ""
    tls: ServerTLSSettings | None = None
    connection_pool: ConnectionPoolSettings | None = None


class IstioEgressListener(Message, frozen=True):
    """Istio `IstioEgressListener`. `hosts` are "namespace/dnsName"."""

    hosts: tuple[str, ...]
    port: SidecarPort | None = None
    bind: str = ""
    capture_mode: CaptureMode = CaptureMode.DEFAULT


class OutboundTrafficPolicy(Message, frozen=True):
    """Istio `OutboundTrafficPolicy`."""

    mode: OutboundTrafficPolicyMode = OutboundTrafficPolicyMode.REGISTRY_ONLY
    egress_proxy: Destination | None = None


class SidecarPort(Message, frozen=True):
    """Istio `SidecarPort`. Number 0 stands for a Unix socket in `bind`."""

    DEPRECATED: ClassVar[frozenset[str]] = frozenset({"targetPort"})
    number: UInt32 = 0
    protocol: str = ""
    name: str = ""
    target_port: UInt32 = 0
