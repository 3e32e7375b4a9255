"""Istio's rules for ServiceEntry and WorkloadEntry."""

from __future__ import annotations

from tests.api.invalid.bases import DNS_ENTRY, SELECTING_ENTRY, SERVICE_ENTRY, WORKLOAD_ENTRY
from tests.api.invalid.mutate import ABSENT, case

BAD_HOSTS = (
    "",
    "a b.example.com",
    "a_b.example.com",
    "-a.example.com",
    "a-.example.com",
    "a..example.com",
    ".example.com",
    "https://example.com",
    "example.com:80",
    "example.com/path",
    "*.*.example.com",
    "a.*.example.com",
    "foo*.example.com",
    "10.0.0.1",
    "2001:db8::1",
    "[2001:db8::1]",
    "example.123",
    "é.example.com",
    "a" * 64 + ".com",
    ".".join(["abcdefgh"] * 30),
    "**",
    "*.",
)
BAD_PORTS = (0, 65536, 100000)
BAD_NAMES = ("", "a_b", "a.b", "-a", "a-", "a b", "a" * 64)
BAD_ADDRESSES = ("", "10.0.0", "10.0.0.256", "10.0.0.1:80", "a.example.com", "::g", "10.0.0.1 ")

HOSTS = [
    case("no host", SERVICE_ENTRY, {"spec.hosts": []}, "at least one host"),
    case("host *", SERVICE_ENTRY, {"spec.hosts[0]": "*"}, "a host less wide"),
    *(
        case(f"host {host!r}", SERVICE_ENTRY, {"spec.hosts[0]": host}, "a DNS name")
        for host in BAD_HOSTS
    ),
    case(
        "a wildcard host to look up",
        DNS_ENTRY,
        {"spec.hosts[0]": "*.example.com", "spec.endpoints": ABSENT},
        "resolution DNS without endpoints looks it up",
    ),
    case(
        "a second host",
        SERVICE_ENTRY,
        {"spec.ports[0].protocol": "TCP", "spec.hosts[1]": "b.example.com"},
        "do not tell several hosts apart",
    ),
    case(
        "several hosts, no protocol",
        SERVICE_ENTRY,
        {"spec.ports[1].protocol": "", "spec.hosts[1]": "b.example.com"},
        "do not tell several hosts apart",
    ),
]

PORTS = [
    *(
        case(f"port {number}", SERVICE_ENTRY, {"spec.ports[0].number": number}, "1 to 65535")
        for number in BAD_PORTS
    ),
    *(
        case(f"target port {n}", SERVICE_ENTRY, {"spec.ports[0].targetPort": n}, "1 to 65535")
        for n in BAD_PORTS[1:]
    ),
    *(
        case(f"port name {name!r}", DNS_ENTRY, {"spec.ports[0].name": name}, "a port name")
        for name in BAD_NAMES
    ),
    *(
        case(f"protocol {p!r}", SERVICE_ENTRY, {"spec.ports[0].protocol": p}, "one of HTTP")
        for p in ("SMTP", "HTTP/1.1", "HTTP3", "SSL", "tcp4")
    ),
    case("same number", SERVICE_ENTRY, {"spec.ports[1].number": 80}, "each number once"),
    case("same name", SERVICE_ENTRY, {"spec.ports[1].name": "http"}, "a name of its own"),
]

ADDRESSES = [
    *(
        case(f"address {a!r}", SERVICE_ENTRY, {"spec.addresses[0]": a}, "an IP address or a CIDR")
        for a in BAD_ADDRESSES
    ),
    *(
        case(f"block {a!r}", SERVICE_ENTRY, {"spec.addresses[1]": a}, "an IP address or a CIDR")
        for a in ("10.0.0.0/33", "10.0.0.0/", "10.0.0.0/255.0.0.0", "/8", "1::/129", "10.0/8")
    ),
    *(
        case(
            f"a block with resolution {resolution}",
            DNS_ENTRY,
            {"spec.addresses": ["10.0.0.0/8"], "spec.resolution": resolution},
            f"do not go with resolution {resolution}",
            "spec.addresses[0]",
        )
        for resolution in ("DNS", "DNS_ROUND_ROBIN")
    ),
]

_ENDPOINT = "spec.endpoints[0]"
ENDPOINTS = [
    case(
        "endpoints with resolution NONE",
        SERVICE_ENTRY,
        {"spec.resolution": "NONE"},
        "no endpoints with resolution NONE",
        "spec.endpoints",
    ),
    case(
        "endpoints with no resolution",
        SERVICE_ENTRY,
        {"spec.resolution": ABSENT},
        "no endpoints with resolution NONE",
        "spec.endpoints",
    ),
    *(
        case(
            f"static endpoint {address!r}",
            SERVICE_ENTRY,
            {f"{_ENDPOINT}.address": address},
            "an IP address or unix:///path",
        )
        for address in ("a.example.com", "10.0.0.0/8", "10.0.0.1:80", "localhost", "-")
    ),
    case(
        "static endpoint without address",
        SERVICE_ENTRY,
        {f"{_ENDPOINT}.address": ABSENT, f"{_ENDPOINT}.network": ABSENT},
        "an address",
    ),
    *(
        case(
            f"unix endpoint {address!r}",
            SERVICE_ENTRY,
            {
                f"{_ENDPOINT}.address": address,
                f"{_ENDPOINT}.ports": ABSENT,
                "spec.ports[1]": ABSENT,
            },
            "an absolute path of a file",
        )
        for address in ("unix://", "unix://run/a.sock", "unix:///run/")
    ),
    case(
        "unix endpoint with ports",
        SERVICE_ENTRY,
        {f"{_ENDPOINT}.address": "unix:///run/a.sock", "spec.ports[1]": ABSENT},
        "no ports beside a Unix socket",
        f"{_ENDPOINT}.ports",
    ),
    case(
        "unix endpoint for two ports",
        SERVICE_ENTRY,
        {f"{_ENDPOINT}.address": "unix:///run/a.sock", f"{_ENDPOINT}.ports": ABSENT},
        "exactly one service port",
    ),
    *(
        case(
            f"DNS endpoint {address!r}",
            DNS_ENTRY,
            {f"{_ENDPOINT}.address": address},
            "a DNS name or an IP address",
        )
        for address in ("", "*.example.com", "a_b.example.com", "unix:///a", "a.com:80", "10.0.0/8")
    ),
    case(
        "two endpoints with round robin",
        DNS_ENTRY,
        {
            "spec.resolution": "DNS_ROUND_ROBIN",
            "spec.endpoints[1]": {"address": "b.example.com"},
        },
        "at most one endpoint",
        "spec.endpoints",
    ),
    case("unknown port name", SERVICE_ENTRY, {f"{_ENDPOINT}.ports.grpc": 80}, "(http, https)"),
    case("a port name nobody has", DNS_ENTRY, {f"{_ENDPOINT}.ports.grpc": 80}, "(tls)"),
    case("port name", SERVICE_ENTRY, {f"{_ENDPOINT}.ports.a_b": 80}, "a port name"),
    *(
        case(f"port {n}", SERVICE_ENTRY, {f"{_ENDPOINT}.ports.http": n}, "1 to 65535")
        for n in BAD_PORTS
    ),
    case("port 0", DNS_ENTRY, {f"{_ENDPOINT}.ports.tls": 0}, "1 to 65535"),
    case("label value", SERVICE_ENTRY, {f"{_ENDPOINT}.labels.version": "a b"}, "a label value"),
    case("label key", SERVICE_ENTRY, {f'{_ENDPOINT}.labels["a b"]': "c"}, "a key of at most"),
    case("label value of a name", DNS_ENTRY, {f"{_ENDPOINT}.labels.version": "-"}, "a label value"),
]

SELECTORS = [
    case(
        "empty key in a selector",
        SELECTING_ENTRY,
        {"spec.workloadSelector.labels": {"": "a"}},
        "a label key",
        'spec.workloadSelector.labels[""]',
    ),
    case(
        "selector beside endpoints",
        SELECTING_ENTRY,
        {"spec.endpoints": [{"address": "192.0.2.1"}]},
        "only one of the two",
    ),
    case(
        "wildcard in a selector",
        SELECTING_ENTRY,
        {"spec.workloadSelector.labels.app": "a*"},
        "a label without wildcard",
    ),
    case(
        "wildcard in a selector's key",
        SELECTING_ENTRY,
        {'spec.workloadSelector.labels["a*"]': "b"},
        "a label without wildcard",
    ),
]

EXPORTS = [
    case("export to a bad name", SERVICE_ENTRY, {"spec.exportTo": ["a_b"]}, "or a namespace",
         "spec.exportTo[0]"),
    case("export twice", SERVICE_ENTRY, {"spec.exportTo": ["a", "a"]}, "each namespace once",
         "spec.exportTo[1]"),
    case("export twice to its own", SERVICE_ENTRY, {"spec.exportTo": [".", "shop"]},
         "each namespace once", "spec.exportTo[1]"),
    case("export to all and one", SERVICE_ENTRY, {"spec.exportTo": ["*", "a"]}, '"*" alone'),
    case("export to nobody and one", SERVICE_ENTRY, {"spec.exportTo": ["~", "a"]}, '"~" alone'),
]  # fmt: skip

WORKLOADS = [
    case(
        "no address",
        WORKLOAD_ENTRY,
        {"spec.address": ABSENT, "spec.network": ABSENT},
        "an address",
    ),
    *(
        case(f"address {a!r}", WORKLOAD_ENTRY, {"spec.address": a}, "an IP address, a DNS name")
        for a in ("a_b.example.com", "10.0.0.1:80", "*.example.com", "10.0.0.0/8", "10.0.0.300")
    ),
    case(
        "unix address",
        WORKLOAD_ENTRY,
        {"spec.address": "unix://a", "spec.ports": ABSENT},
        "an absolute path",
    ),
    case(
        "unix address with ports",
        WORKLOAD_ENTRY,
        {"spec.address": "unix:///a"},
        "no ports beside a Unix socket",
        "spec.ports",
    ),
    *(case(f"port {n}", WORKLOAD_ENTRY, {"spec.ports.http": n}, "1 to 65535") for n in BAD_PORTS),
    case("port name", WORKLOAD_ENTRY, {"spec.ports.a_b": 80}, "a port name"),
    case("label value", WORKLOAD_ENTRY, {"spec.labels.app": "a b"}, "a label value"),
]

CASES = [*HOSTS, *PORTS, *ADDRESSES, *ENDPOINTS, *SELECTORS, *EXPORTS, *WORKLOADS]
