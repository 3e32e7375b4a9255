"""Istio `networking.istio.io` ServiceEntry: the messages as immutable types, a class each."""

from __future__ import annotations

import enum

from egressd.api.message import Message, UInt32, WorkloadSelector
from egressd.api.workload_entry import WorkloadEntry


class Location(enum.StrEnum):
    """Istio `ServiceEntry.Location`."""

    MESH_EXTERNAL = "MESH_EXTERNAL"
    MESH_INTERNAL = "MESH_INTERNAL"


class Resolution(enum.StrEnum):
    """Istio `ServiceEntry.Resolution`."""

    NONE = "NONE"
    STATIC = "STATIC"
    DNS = "DNS"
    DNS_ROUND_ROBIN = "DNS_ROUND_ROBIN"
    DYNAMIC_DNS = "DYNAMIC_DNS"


class ServiceEntry(Message, frozen=True):
    """Istio `ServiceEntry`."""

    hosts: tuple[str, ...]
    addresses: tuple[str, ...] = ()
    ports: tuple[ServicePort, ...] = ()
    location: Location = Location.MESH_EXTERNAL
    resolution: Resolution = Resolution.NONE
    endpoints: tuple[WorkloadEntry, ...] = ()
    workload_selector: WorkloadSelector | None = None
    export_to: tuple[str, ...] = ()
    subject_alt_names: tuple[str, ...] = ()


class ServicePort(Message, frozen=True):
    """Istio `ServicePort`."""

    number: UInt32
    name: str
    protocol: str = ""
    target_port: UInt32 = 0
