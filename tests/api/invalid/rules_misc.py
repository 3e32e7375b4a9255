"""Istio's rules for DestinationRule and Gateway."""

from __future__ import annotations

from tests.api.invalid.bases import DESTINATION_RULE, GATEWAY, HASHING_RULE
from tests.api.invalid.mutate import ABSENT, InvalidCase, case
from tests.api.invalid.rules_services import BAD_HOSTS, BAD_PORTS

_POLICY = "spec.trafficPolicy"
_PORT_POLICY = f"{_POLICY}.portLevelSettings[0]"
_SUBSET = "spec.subsets[0]"


def _rule(name: str, changes: dict[str, object], fragment: str, field: str = "") -> InvalidCase:
    return case(name, DESTINATION_RULE, dict(changes), fragment, field)


def _gateway(name: str, changes: dict[str, object], fragment: str, field: str = "") -> InvalidCase:
    return case(name, GATEWAY, dict(changes), fragment, field)


RULES = [
    *(_rule(f"host {host!r}", {"spec.host": host}, "a DNS name") for host in BAD_HOSTS),
    *(
        _rule(f"subset {n!r}", {f"{_SUBSET}.name": n}, "a subset name")
        for n in ("", "a_b", "a.b", "-a", "a b", "a" * 64)
    ),
    _rule("two subsets of one name", {"spec.subsets[1].name": "v1"}, "a name of its own"),
    _rule("label value", {f"{_SUBSET}.labels.version": "a b"}, "a label value"),
    _rule("label key", {f'{_SUBSET}.labels["a b"]': "c"}, "a key of at most"),
    _rule("empty policy", {_POLICY: {}}, "at least one field"),
    _rule("empty policy of a subset", {f"{_SUBSET}.trafficPolicy": {}}, "at least one field"),
    _rule("policy of a port alone", {_PORT_POLICY: {"port": {"number": 80}}}, "beside port"),
    _rule("policy of no port", {f"{_PORT_POLICY}.port": ABSENT}, "the port that the policy is for"),
    *(
        _rule(f"policy of port {n}", {f"{_PORT_POLICY}.port.number": n}, "1 to 65535")
        for n in BAD_PORTS
    ),
    _rule("tunnel beside proxyProtocol",
          {f"{_POLICY}.tunnel": {"targetHost": "a.b", "targetPort": 1}}, "only one of the two",
          f"{_POLICY}.proxyProtocol"),
    *(
        _rule(f"tunnel {p!r}", {"spec.subsets[1].trafficPolicy.tunnel.protocol": p}, '"CONNECT"')
        for p in ("connect", "HTTP")
    ),
    *(
        _rule(f"tunnel to {h!r}", {"spec.subsets[1].trafficPolicy.tunnel.targetHost": h},
              "a DNS name or an IP address")
        for h in ("", "*.a.b", "a_b", "a.b:80")
    ),
    _rule("tunnel port", {"spec.subsets[1].trafficPolicy.tunnel.targetPort": 0}, "1 to 65535"),
    _rule("retry budget", {f"{_POLICY}.retryBudget.percent": 101}, "from 0 to 100"),
    _rule("negative budget", {f"{_POLICY}.retryBudget.percent": -1}, "from 0 to 100"),
    _rule("budget interval", {f"{_POLICY}.retryBudget.budgetInterval": "0s"}, "at least 1ms"),
    _rule("export beyond", {"spec.exportTo": ["*"]}, "where workloadSelector is set"),
    _rule("export twice", {"spec.exportTo": [".", "."]}, "each namespace once", "spec.exportTo[1]"),
    _rule("export to nobody", {"spec.exportTo": ["~"]}, "or a namespace", "spec.exportTo[0]"),
    _rule("wildcard selector", {"spec.workloadSelector.matchLabels.app": "*"}, "without wildcard"),
]  # fmt: skip

_TLS_FILES = ("clientCertificate", "privateKey", "caCertificates", "caCrl")
TLS = [
    *(
        _rule(f"MUTUAL without {name}", {f"{_POLICY}.tls.{name}": ABSENT}, "mode MUTUAL needs it")
        for name in ("clientCertificate", "privateKey")
    ),
    _rule("MUTUAL alone", {_PORT_POLICY + ".tls": {"mode": "MUTUAL"}}, "mode MUTUAL needs it",
          f"{_PORT_POLICY}.tls.clientCertificate"),
    _rule("MUTUAL alone in a subset", {f"{_SUBSET}.trafficPolicy": {"tls": {"mode": "MUTUAL"}}},
          "mode MUTUAL needs it", f"{_SUBSET}.trafficPolicy.tls.privateKey"),
    *(
        _rule(f"ISTIO_MUTUAL with {name}", {f"{_POLICY}.tls": {"mode": "ISTIO_MUTUAL", name: "/a"}},
              "no certificates with mode ISTIO_MUTUAL", f"{_POLICY}.tls.{name}")
        for name in (*_TLS_FILES, "credentialName")
    ),
    *(
        _rule(f"{mode} with credentialName and {name}",
              {f"{_POLICY}.tls": {"mode": mode, "credentialName": "a", name: "/a"}},
              f"{name} beside credentialName", f"{_POLICY}.tls.{name}")
        for mode in ("SIMPLE", "MUTUAL")
        for name in _TLS_FILES
    ),
    *(
        _rule(f"SIMPLE unverified with {name}",
              {f"{_POLICY}.tls": {"mode": "SIMPLE", "insecureSkipVerify": True, name: value}},
              f"{name} beside insecureSkipVerify", f"{_POLICY}.tls.{name}")
        for name, value in (("caCertificates", "/a"), ("credentialName", "a"),
                            ("subjectAltNames", ["a"]))
    ),
    *(
        _rule(f"MUTUAL unverified with {name}", {f"{_POLICY}.tls.insecureSkipVerify": True},
              f"{name} beside insecureSkipVerify", f"{_POLICY}.tls.{name}")
        for name in ("caCertificates", "subjectAltNames")
    ),
]  # fmt: skip

_OUTLIER = f"{_POLICY}.outlierDetection"
_POOL = f"{_POLICY}.connectionPool"
LIMITS = [
    *(
        _rule(f"{field} {value}", {f"{_OUTLIER}.{field}": value}, "a percentage from 0 to 100")
        for field in ("maxEjectionPercent", "minHealthPercent")
        for value in (-1, 101)
    ),
    *(
        _rule(f"{field} {value}", {f"{_OUTLIER}.{field}": value}, "at least 1ms")
        for field in ("interval", "baseEjectionTime")
        for value in ("0s", "999us")
    ),
    _rule("interval of a port", {f"{_PORT_POLICY}.outlierDetection.interval": "0s"},
          "at least 1ms"),
    _rule("local errors not split", {f"{_OUTLIER}.splitExternalLocalOriginErrors": False},
          "splitExternalLocalOriginErrors: true", f"{_OUTLIER}.consecutiveLocalOriginFailures"),
    _rule("negative errors", {f"{_OUTLIER}.consecutiveErrors": -1}, "0 or more"),
    *(
        _rule(f"status {s}", {f"{_OUTLIER}.outlierDetectionHttpErrorCodes[0]": s}, "an HTTP status")
        for s in (0, 99, 600)
    ),
    _rule("empty pool", {_POOL: {}}, "tcp, http or both"),
    *(
        _rule(f"negative {field}", {f"{_POOL}.{field}": -1}, "0 (no limit set) or more")
        for field in ("tcp.maxConnections", "http.http1MaxPendingRequests",
                      "http.http2MaxRequests", "http.maxRequestsPerConnection", "http.maxRetries",
                      "http.maxConcurrentStreams")
    ),
    *(
        _rule(f"{field} 0", {f"{_POOL}.{field}": "0s"}, "at least 1ms")
        for field in ("tcp.connectTimeout", "tcp.maxConnectionDuration", "tcp.tcpKeepalive.time",
                      "tcp.tcpKeepalive.interval", "http.idleTimeout",
                      "http.http2KeepAlive.interval", "http.http2KeepAlive.timeout")
    ),
    _rule("TCP idle timeout too short", {f"{_POOL}.tcp.idleTimeout": "1us"}, "at least 1ms"),
    _rule("client protocol beside upgrade",
          {f"{_POOL}.http.useClientProtocol": True, f"{_POOL}.http.h2UpgradePolicy": "UPGRADE"},
          "only one of the two"),
]  # fmt: skip

_LB = f"{_POLICY}.loadBalancer"
_HASH = f"{_LB}.consistentHash"
_LOCAL = f"{_LB}.localityLbSetting"
_DIST = f"{_LOCAL}.distribute"


def _hash(name: str, changes: dict[str, object], fragment: str, field: str = "") -> InvalidCase:
    return case(name, HASHING_RULE, dict(changes), fragment, field)


BALANCERS = [
    _hash("simple beside consistentHash", {f"{_LB}.simple": "RANDOM"}, "simple beside consistent"),
    *(
        _hash(f"cookie beside {name}", {f"{_HASH}.{name}": value}, f"{name} beside httpCookie")
        for name, value in (("httpHeaderName", "a"), ("useSourceIp", True),
                            ("httpQueryParameterName", "a"))
    ),
    _hash("cookie without name", {f"{_HASH}.httpCookie.name": ""}, "the name of a cookie"),
    _hash("two algorithms", {f"{_HASH}.maglev": {"tableSize": 5}}, "maglev beside ringHash"),
    _hash("ring too large", {f"{_HASH}.ringHash.minimumRingSize": 8388609}, "at most 8388608"),
    _hash("old ring size too", {f"{_HASH}.minimumRingSize": 5}, "only one of them"),
    *(
        _hash(f"maglev {size}", {f"{_HASH}.ringHash": ABSENT, f"{_HASH}.maglev.tableSize": size},
              "a prime number below 5000011", f"{_HASH}.maglev.tableSize")
        for size in (0, 4, 9, 65536, 5000011, 5000077)
    ),
    _hash("maglev without size", {f"{_HASH}.ringHash": ABSENT, f"{_HASH}.maglev": {}},
          "a prime number", f"{_HASH}.maglev.tableSize"),
    _hash("failover to itself", {f"{_LOCAL}.failover[0].to": "eu"}, "another region"),
    _hash("failover to a zone", {f"{_LOCAL}.failover[0].to": "us/a"}, "a region alone"),
    _hash("failover from a zone", {f"{_LOCAL}.failover[0].from": "eu/a"}, "a region alone"),
    _hash("failover to all", {f"{_LOCAL}.failover[0].to": "*"}, "without wildcard"),
    _hash("failover from all", {f"{_LOCAL}.failover[0].from": "*"}, "without wildcard"),
    _hash("failover beside distribute",
          {_DIST: [{"from": "a", "to": {"a": 100}}]}, "only one of the two", f"{_LOCAL}.failover"),
    _hash("topology label beside failover",
          {f"{_LOCAL}.failoverPriority[0]": "topology.kubernetes.io/region"}, "no topology label"),
    *(
        _rule(f"weights {weights}", {f"{_DIST}[0].to": weights}, fragment, f"{_DIST}[0].to{key}")
        for weights, fragment, key in (
            ({"a": 50, "b": 49}, "weights whose sum is 100", ""),
            ({}, "weights whose sum is 100", ""),
            ({"a": 101}, "a weight from 1 to 100", ".a"),
            ({"a": 100, "b": 0}, "a weight from 1 to 100", ".b"),
            ({"a//b": 100}, "without empty parts", '["a//b"]'),
            ({"*/a": 100}, "at the end", '["*/a"]'),
            ({"a/*": 50, "a/b": 50}, "do not overlap", '["a/b"]'),
        )
    ),
    _rule("localities that overlap",
          {f"{_DIST}[1]": {"from": "eu/a/1", "to": {"a": 100}}}, "do not overlap",
          f"{_DIST}[1].from"),
    _rule("two wildcards", {f"{_DIST}[0].from": "*/*"}, "at the end"),
    _rule("empty locality", {f"{_DIST}[0].from": ""}, "without empty parts"),
    _rule("zone failover to itself", {f"{_LB}.zoneAwareLbSetting.failover[0].to": "a"}, "another"),
    _rule("warmup 0", {f"{_LB}.warmup.duration": "0s"}, "at least 1ms"),
    _rule("old warmup 0", {f"{_LB}.warmup": ABSENT, f"{_LB}.warmupDurationSecs": "0s"},
          "at least 1ms", f"{_LB}.warmupDurationSecs"),
    _rule("two warmups", {f"{_LB}.warmupDurationSecs": "1s"}, "only one of the two",
          f"{_LB}.warmup"),
    _rule("warmup percent", {f"{_LB}.warmup.minimumPercent": 101}, "from 0 to 100"),
    _rule("warmup below 0", {f"{_LB}.warmup.minimumPercent": -1}, "from 0 to 100"),
    _rule("warmup aggression", {f"{_LB}.warmup.aggression": 0.5}, "1 or more"),
    _rule("warmup without duration", {f"{_LB}.warmup": {"aggression": 1}}, "this required field",
          f"{_LB}.warmup.duration"),
]  # fmt: skip

_SERVERS = "spec.servers"
_PAIR = (("serverCertificate", "privateKey"), ("privateKey", "serverCertificate"))
_PLAIN, _MUTUAL, _SECRET, _PASS = (f"{_SERVERS}[{i}]" for i in range(4))
GATEWAYS = [
    _gateway("no server", {_SERVERS: []}, "at least one server"),
    _gateway("no servers field", {_SERVERS: ABSENT}, "at least one server"),
    _gateway("no host", {f"{_PLAIN}.hosts": []}, "at least one host"),
    *(
        _gateway(f"host {host!r}", {f"{_PLAIN}.hosts[0]": host}, "a full DNS name")
        for host in (
            "", "localhost", "foo", "*foo.com", "a.*.com", "a_b.com", "http://a.com", "a.com:80",
            "/a.com", "a/b/c.com", "a_b/c.com", "ns/", "ns/short", "~/a.com", "**",
        )
    ),
    *(
        _gateway(f"port {n}", {f"{_PLAIN}.port.number": n}, "1 to 65535") for n in BAD_PORTS
    ),
    *(
        _gateway(f"protocol {p!r}", {f"{_PLAIN}.port.protocol": p}, "one of HTTP, HTTPS")
        for p in ("", "HTTP3", "SMTP", "SSL")
    ),
    _gateway("port without name", {f"{_PLAIN}.port.name": ""}, "a port name"),
    _gateway("port name twice", {f"{_MUTUAL}.port.name": "http"}, "a port name of its own"),
    _gateway("target port", {f"{_PLAIN}.port.targetPort": 8080}, "no targetPort"),
    *(
        _gateway(f"bind {b!r}", {f"{_PLAIN}.bind": b}, "an IP address or unix:///path")
        for b in ("a.com", "10.0.0.0/8", "10.0.0.1:80", "eth0")
    ),
    _gateway("bind to no path", {f"{_PLAIN}.bind": "unix://a", f"{_PLAIN}.port.number": 0},
             "an absolute path"),
    _gateway("bind to a path and a port", {f"{_PLAIN}.bind": "unix:///a"}, "expected 0",
             f"{_PLAIN}.port.number"),
    *(
        _gateway(f"{protocol} without TLS settings", {f"{where}.tls": ABSENT}, "TLS settings for")
        for protocol, where in (("HTTPS", _MUTUAL), ("TLS", _PASS))
    ),
    _gateway("TLS settings on a plain port", {f"{_PLAIN}.tls": {"mode": "SIMPLE",
             "credentialName": "a"}}, "plain text port"),
    _gateway("certificates on a plain port",
             {f"{_PLAIN}.tls": {"serverCertificate": "/a"}}, "plain text port"),
    _gateway("TLS settings on TCP", {f"{_PLAIN}.port.protocol": "TCP"}, "TLS settings for TCP",
             f"{_PLAIN}.tls"),
    *(
        _gateway(f"MUTUAL without {name}", {f"{_MUTUAL}.tls.{name}": ABSENT}, "mode MUTUAL")
        for name in ("serverCertificate", "privateKey", "caCertificates")
    ),
    *(
        _gateway(f"OPTIONAL_MUTUAL without {name}",
                 {f"{_MUTUAL}.tls.mode": "OPTIONAL_MUTUAL", f"{_MUTUAL}.tls.{name}": ABSENT},
                 "mode OPTIONAL_MUTUAL", f"{_MUTUAL}.tls.{name}")
        for name in ("serverCertificate", "privateKey", "caCertificates")
    ),
    *(
        _gateway(f"SIMPLE without {name}", {f"{_SECRET}.tls": {"mode": "SIMPLE", other: "/a"}},
                 "mode SIMPLE needs it", f"{_SECRET}.tls.{name}")
        for name, other in _PAIR
    ),
    _gateway("SIMPLE with a CRL", {f"{_SECRET}.tls": {"mode": "SIMPLE", "serverCertificate": "/a",
             "privateKey": "/b", "caCrl": "/c"}}, "no CRL with mode SIMPLE",
             f"{_SECRET}.tls.caCrl"),
    *(
        _gateway(f"ISTIO_MUTUAL with {name}",
                 {f"{_SECRET}.tls": {"mode": "ISTIO_MUTUAL", name: "a"}},
                 "no certificates with mode ISTIO_MUTUAL", f"{_SECRET}.tls.{name}")
        for name in ("serverCertificate", "privateKey", "caCertificates", "credentialName")
    ),
    *(
        _gateway(f"certificate without {name}",
                 {f"{_SECRET}.tls": {"mode": "SIMPLE", "tlsCertificates": [{other: "/a"}]}},
                 "expected a file", f"{_SECRET}.tls.tlsCertificates[0].{name}")
        for name, other in _PAIR
    ),
]  # fmt: skip

CASES = [*RULES, *TLS, *LIMITS, *BALANCERS, *GATEWAYS]
