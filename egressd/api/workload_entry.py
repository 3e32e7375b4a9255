"""Istio `networking.istio.io` WorkloadEntry: the messages as immutable types, a class each."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from egressd.api.message import (
    Message,
    UInt32,
)


class WorkloadEntry(Message, frozen=True):
    """Istio `WorkloadEntry`."""

    address: str = ""
    ports: Mapping[str, UInt32] = msgspec.field(default_factory=dict)
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    network: str = ""
    locality: str = ""
    weight: UInt32 = 0
    service_account: str = ""
