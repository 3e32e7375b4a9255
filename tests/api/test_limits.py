"""What Istio's Kubernetes definitions bound, and its rules of what stands beside what."""

from __future__ import annotations

from typing import Any

import pytest

from egressd.api.message import fields_of
from egressd.api.parse import parse_text
from egressd.api.rules.limits import LIMITS
from tests.api.invalid.bases import (
    AUTHORIZATION_POLICY,
    DESTINATION_RULE,
    DNS_ENTRY,
    GATEWAY,
    SELECTING_ENTRY,
    SERVICE_ENTRY,
    TARGET_POLICY,
    WORKLOAD_ENTRY,
)
from tests.api.invalid.mutate import as_text, changed, get

TLS = "spec.servers[0].tls"
LB = "spec.trafficPolicy.loadBalancer"
SELECTED = "spec.workloadSelector.labels"
SOURCE = "spec.rules[0].from[0].source"
PAIR = {"serverCertificate": "/c", "privateKey": "/k"}
REF = {"group": "gateway.networking.k8s.io", "kind": "Gateway", "name": "g"}
HTTPS = changed(
    GATEWAY,
    {
        "spec.servers": [
            {
                "port": {"number": 443, "name": "s", "protocol": "HTTPS"},
                "hosts": ["a.example"],
                "tls": {"mode": "SIMPLE"},
            }
        ]
    },
)


def ports(count: int) -> list[dict[str, Any]]:
    return [{"number": n + 1, "name": f"p{n}", "protocol": "HTTP"} for n in range(count)]


def hosts(count: int) -> list[str]:
    return [f"h{n}.example" for n in range(count)]


def tls(**settings: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return HTTPS, {TLS: {"mode": "SIMPLE", **settings}}


def balancer(**settings: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return DESTINATION_RULE, {LB: settings}


def source(**settings: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    return AUTHORIZATION_POLICY, {"spec.rules": [{"from": [{"source": settings}]}]}


def errors(base: dict[str, Any], changes: dict[str, Any]) -> list[str]:
    return [one.field for one in parse_text(as_text(changed(base, changes)), "a.yaml").errors]


VALID = [
    (DNS_ENTRY, {"spec.hosts": hosts(256), "spec.ports": ports(1), "spec.endpoints": []}),
    (DNS_ENTRY, {"spec.hosts": ["a.example"], "spec.ports": ports(256), "spec.endpoints": []}),
    (WORKLOAD_ENTRY, {"spec.locality": "r" * 2048, "spec.network": "n" * 2048}),
    tls(credentialName="a"),
    tls(credentialNames=["a", "b"]),
    tls(tlsCertificates=[PAIR, PAIR]),
    tls(**PAIR),
    tls(credentialName="a", serverCertificate="/c"),
    tls(credentialName="a", privateKey="/k"),
    tls(credentialName="a", ecdhCurves=["X25519", "P-256"]),
    balancer(backendUtilization={}),
    balancer(backendUtilization={"blackoutPeriod": "10s", "errorUtilizationPenalty": 1.5}),
    balancer(zoneAwareLbSetting={"enabled": True, "minClusterSize": 1}),
    (TARGET_POLICY, {"spec.targetRef": None, "spec.targetRefs": [REF] * 16}),
    source(trustDomains=["cluster.local"], notTrustDomains=["*.evil"]),
    source(serviceAccounts=["a"] * 16),
    source(serviceAccounts=["a" * 320]),
]
INVALID = [
    (DNS_ENTRY, {"spec.hosts": hosts(257), "spec.ports": ports(1)}, "spec.hosts"),
    (DNS_ENTRY, {"spec.hosts": ["a.example"], "spec.ports": ports(257)}, "spec.ports"),
    (SERVICE_ENTRY, {"spec.addresses": ["10.0.0.1"] * 257}, "spec.addresses"),
    (
        SELECTING_ENTRY,
        {SELECTED: {f"l{n}": "" for n in range(257)}},
        SELECTED,
    ),
    (
        SELECTING_ENTRY,
        {"spec.workloadSelector.labels": {"a": "b" * 64}},
        "spec.workloadSelector.labels.a",
    ),
    (WORKLOAD_ENTRY, {"spec.locality": "r" * 2049}, "spec.locality"),
    (WORKLOAD_ENTRY, {"spec.network": "n" * 2049}, "spec.network"),
    (WORKLOAD_ENTRY, {"spec.serviceAccount": "s" * 254}, "spec.serviceAccount"),
    (WORKLOAD_ENTRY, {"spec.ports": {f"p{n}": 1 for n in range(129)}}, "spec.ports"),
    (*tls(credentialName="a", credentialNames=["b"]), f"{TLS}.credentialNames"),
    (*tls(credentialName="a", tlsCertificates=[PAIR]), f"{TLS}.tlsCertificates"),
    (*tls(credentialNames=["a"], tlsCertificates=[PAIR]), f"{TLS}.tlsCertificates"),
    (*tls(credentialName="a", **PAIR), f"{TLS}.credentialName"),
    (*tls(credentialNames=["a"], **PAIR), f"{TLS}.credentialNames"),
    (*tls(tlsCertificates=[PAIR], **PAIR), f"{TLS}.tlsCertificates"),
    (*tls(mode="PASSTHROUGH", credentialName="a", credentialNames=["b"]), f"{TLS}.credentialNames"),
    (*tls(credentialNames=["a", "b", "c"]), f"{TLS}.credentialNames"),
    (*balancer(simple="RANDOM", backendUtilization={}), f"{LB}.backendUtilization"),
    (
        *balancer(backendUtilization={"errorUtilizationPenalty": -1}),
        f"{LB}.backendUtilization.errorUtilizationPenalty",
    ),
    (
        *balancer(zoneAwareLbSetting={"enabled": True, "minClusterSize": 0}),
        f"{LB}.zoneAwareLbSetting.minClusterSize",
    ),
    (TARGET_POLICY, {"spec.targetRef": None, "spec.targetRefs": [REF] * 17}, "spec.targetRefs"),
    (*source(serviceAccounts=["a"] * 17), f"{SOURCE}.serviceAccounts"),
    (*source(notServiceAccounts=["a" * 321]), f"{SOURCE}.notServiceAccounts[0]"),
    (*source(trustDomains=[""]), f"{SOURCE}.trustDomains[0]"),
]


@pytest.mark.parametrize(("base", "changes"), VALID)
def test_up_to_the_limit_it_is_taken(base: dict[str, Any], changes: dict[str, Any]) -> None:
    assert errors(base, changes) == []


@pytest.mark.parametrize(("base", "changes", "field"), INVALID)
def test_past_the_limit_the_field_is_named(
    base: dict[str, Any], changes: dict[str, Any], field: str
) -> None:
    assert field in errors(base, changes)


def test_the_limits_are_of_real_fields() -> None:
    for cls, name in LIMITS:
        assert name in {info.encode_name for info in fields_of(cls)}


def test_the_bases_are_what_the_cases_say() -> None:
    assert get(HTTPS, TLS) == {"mode": "SIMPLE"}
