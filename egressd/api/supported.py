"""The one table of fields that are valid and not yet acted on, each with what happens instead.

`report_unsupported` turns them into warnings, so that a resource never silently does less than it
says. The documentation's list is held to this table by a test.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from egressd.api.authorization_policy import AuthorizationPolicy, Source
from egressd.api.decode import join
from egressd.api.destination_rule import (
    HTTPSettings,
    LoadBalancerSettings,
    ZoneAwareLoadBalancerSetting,
)
from egressd.api.gateway import Server
from egressd.api.message import Message, fields_of
from egressd.api.report import Report
from egressd.api.resource import Resource
from egressd.api.sidecar import (
    IstioEgressListener,
    Sidecar,
)
from egressd.api.workload_entry import WorkloadEntry

NOT_YET_FIELDS: Final[Mapping[tuple[type[Message], str], str]] = {
    (WorkloadEntry, "network"): "failoverPriority reads it; every endpoint is called directly, as "
    "there are no network gateways on VMs",
    (ZoneAwareLoadBalancerSetting, "minClusterSize"): "a node cannot know how many clients each "
    "zone has, so zones are priorities, as with localityLbSetting",
    (
        LoadBalancerSettings,
        "backendUtilization",
    ): "endpoints' reports of their load (ORCA) are not read; the balancer is LEAST_REQUEST",
    (Server, "defaultEndpoint"): "Istio does not act on it either; VirtualServices say where "
    "traffic goes",
    (Sidecar, "ingress"): "the node is no workload's sidecar: nothing comes in for one",
    (Sidecar, "inboundConnectionPool"): "the node is no workload's sidecar: nothing comes in",
    (IstioEgressListener, "captureMode"): "how traffic gets to the node is not for it to say",
    (AuthorizationPolicy, "targetRef"): "it names a Kubernetes object: the policy applies nowhere",
    (AuthorizationPolicy, "targetRefs"): "it names Kubernetes objects: the policy applies nowhere",
    (AuthorizationPolicy, "provider"): "no provider is known; what the rules match is denied",
    (Source, "requestPrincipals"): "no JWT is validated: no request has a principal",
    (Source, "notRequestPrincipals"): "no JWT is validated: no request has a principal",
    (HTTPSettings, "h2UpgradePolicy"): "upstream connections speak HTTP/1.1 until HTTP/2 comes",
    (HTTPSettings, "useClientProtocol"): "upstream connections speak HTTP/1.1 until HTTP/2 comes",
    (
        HTTPSettings,
        "maxConcurrentStreams",
    ): "upstream connections speak HTTP/1.1 until HTTP/2 comes",
    (HTTPSettings, "http2KeepAlive"): "upstream connections speak HTTP/1.1 until HTTP/2 comes",
}


def report_unsupported(resource: Resource, report: Report) -> None:
    """Warns of everything in a valid resource that this release does not act on."""
    _walk(resource.spec, "spec", report)


def _walk(message: Message, path: str, report: Report) -> None:
    cls = type(message)
    for info in fields_of(cls):
        value = getattr(message, info.name)
        if value == info.default or value == () or value == {}:
            continue
        name = info.encode_name
        where = join(path, name)
        if reason := NOT_YET_FIELDS.get((cls, name)):
            shown = f"{name}: {value}" if isinstance(value, str) else name
            report.warn(where, f"{shown}, valid but not yet acted on: {reason}", "")
        else:
            _walk_value(value, where, report)


def _walk_value(value: object, path: str, report: Report) -> None:
    if isinstance(value, Message):
        _walk(value, path, report)
    elif isinstance(value, tuple):
        for index, item in enumerate(value):
            _walk_value(item, f"{path}[{index}]", report)
    elif isinstance(value, dict):
        for key, item in value.items():
            _walk_value(item, join(path, key), report)
