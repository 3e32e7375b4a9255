"""Istio's rules for Sidecar and AuthorizationPolicy."""

from __future__ import annotations

from tests.api.invalid.bases import AUTHORIZATION_POLICY, CUSTOM_POLICY, SIDECAR, TARGET_POLICY
from tests.api.invalid.mutate import ABSENT, InvalidCase, case

_RULE = "spec.rules[0]"
_SOURCE = f"{_RULE}.from[0].source"
_OPERATION = f"{_RULE}.to[0].operation"
_IN = "spec.ingress[0]"
_OUT = "spec.egress"
_POLICY = "spec.outboundTrafficPolicy"
NAMES = ("principals", "requestPrincipals", "namespaces")
BLOCKS = ("ipBlocks", "notIpBlocks", "remoteIpBlocks", "notRemoteIpBlocks")


def _side(name: str, changes: dict[str, object], fragment: str, field: str = "") -> InvalidCase:
    return case(name, SIDECAR, dict(changes), fragment, field)


def _auth(name: str, changes: dict[str, object], fragment: str, field: str = "") -> InvalidCase:
    return case(name, AUTHORIZATION_POLICY, dict(changes), fragment, field)


def _not(name: str) -> str:
    return f"not{name[0].upper()}{name[1:]}"


SIDECARS = [
    _side("says nothing", {"spec": {"workloadSelector": {"labels": {"a": "b"}}}}, "at least one"),
    _side("wildcard selector", {"spec.workloadSelector.labels.app": "*"}, "without wildcard"),
    *(
        _side(f"host {host!r}", {f"{_OUT}[2].hosts": [host]}, "namespace/host", f"{_OUT}[2].hosts[0]")
        for host in ("a.b", "/a.b", "./", "a_b/c.d", "a b/*", "./a_b", "./*.*", "./a.*", "a.b/*",
                     "./-a", "./*a.b", "x/y/z", "./a.b:80", "./https://a.b")
    ),
    _side("no hosts", {f"{_OUT}[2].hosts": []}, "at least one host"),
    _side("hosts absent", {f"{_OUT}[2].hosts": ABSENT}, "required field"),
    _side("a listener without port before others", {f"{_OUT}[0].port": ABSENT}, "only the last"),
    _side("egress port", {f"{_OUT}[0].port.number": 65536}, "1 to 65535"),
    _side("egress port twice", {f"{_OUT}[1].port.number": 3306, f"{_OUT}[1].bind": "::1"},
          "each number once"),
    _side("egress protocol", {f"{_OUT}[0].port.protocol": "MYSQLX"}, "one of HTTP"),
    _side("no egress protocol", {f"{_OUT}[0].port.protocol": ""}, "one of HTTP"),
    _side("egress port name", {f"{_OUT}[0].port.name": "a_b"}, "a port name"),
    _side("egress targetPort", {f"{_OUT}[0].port.targetPort": 1}, "means nothing"),
    *(
        _side(f"egress bind {bind!r}", {f"{_OUT}[0].bind": bind}, "an IP address")
        for bind in ("a.b", "127.0.0.1:80", "unix:///a", "127.0.0.0/8")
    ),
    *(
        _side(f"socket {bind!r}", {f"{_OUT}[1].bind": bind}, fragment)
        for bind, fragment in (("", "unix:///path"), ("127.0.0.1", "unix:///path"),
                               ("unix://a", "an absolute path"), ("unix:///a/", "an absolute path"))
    ),
    _side("socket twice", {f"{_OUT}[0].port.number": 0, f"{_OUT}[0].bind": "unix:///run/http.sock",
                           f"{_OUT}[0].captureMode": "NONE"},
          "each socket once", f"{_OUT}[1].bind"),
    _side("socket captured", {f"{_OUT}[1].captureMode": "IPTABLES"}, "DEFAULT or NONE"),
    _side("capture mode", {f"{_OUT}[0].captureMode": "TPROXY"}, "one of DEFAULT"),
    _side("ingress port", {f"{_IN}.port.number": 0}, "1 to 65535"),
    _side("ingress port twice", {"spec.ingress[1].port.number": 9080}, "each number once"),
    _side("ingress protocol", {f"{_IN}.port.protocol": "x"}, "one of HTTP"),
    _side("ingress name", {f"{_IN}.port.name": "a.b"}, "a port name"),
    _side("ingress targetPort", {f"{_IN}.port.targetPort": 80}, "means nothing"),
    _side("ingress bind", {f"{_IN}.bind": "unix:///a"}, "an IP address"),
    *(
        _side(f"endpoint {text!r}", {f"{_IN}.defaultEndpoint": text}, "127.0.0.1:port")
        for text in ("127.0.0.1", "10.0.0.1:80", "127.0.0.1:0", "127.0.0.1:x", "::1:80", "unix://a",
                     "localhost:80", "127.0.0.1:65536", "[::2]:80")
    ),
    _side("ingress names", {f"{_IN}.tls.subjectAltNames": ["a"]}, "no subjectAltNames"),
    _side("ingress redirect", {f"{_IN}.tls.httpsRedirect": True}, "no httpsRedirect"),
    _side("ingress secret", {f"{_IN}.tls.credentialName": "a"}, "no credentialName"),
    *(
        _side(f"ingress mode {mode}", {f"{_IN}.tls": {"mode": mode}}, "another mode",
              f"{_IN}.tls.mode")
        for mode in ("ISTIO_MUTUAL", "AUTO_PASSTHROUGH")
    ),
    _side("ingress certificate", {f"{_IN}.tls.serverCertificate": ABSENT}, "mode SIMPLE needs it"),
    _side("ingress pool", {f"{_IN}.connectionPool.http.http1MaxPendingRequests": -1}, "or more"),
    _side("inbound pool", {"spec.inboundConnectionPool.tcp.maxConnections": -1}, "or more"),
    _side("proxy of a closed mesh", {f"{_POLICY}.mode": "REGISTRY_ONLY"}, "mode ALLOW_ANY",
          f"{_POLICY}.egressProxy"),
    _side("policy mode", {f"{_POLICY}.mode": "DENY"}, "one of REGISTRY_ONLY"),
    _side("proxy without port", {f"{_POLICY}.egressProxy.port": ABSENT}, "the port of the proxy"),
    _side("proxy port", {f"{_POLICY}.egressProxy.port.number": 0}, "1 to 65535"),
    *(
        _side(f"proxy host {host!r}", {f"{_POLICY}.egressProxy.host": host}, "a DNS name")
        for host in ("", "*.a.b", "a_b", "a.b:80")
    ),
    _side("proxy subset", {f"{_POLICY}.egressProxy.subset": "a_b"}, "a subset name"),
]  # fmt: skip

POLICIES = [
    _auth("other group", {"apiVersion": "networking.istio.io/v1"}, "security.istio.io/v1"),
    _auth("other version", {"apiVersion": "security.istio.io/v1alpha3"}, "security.istio.io/v1"),
    _auth("dry run", {'metadata.annotations["istio.io/dry-run"]': "yes"}, '"true" or "false"'),
    _auth("selector wildcard", {"spec.selector.matchLabels.app": "a*"}, "without wildcard"),
    _auth("selector key", {'spec.selector.matchLabels["a*"]': "a"}, "without wildcard"),
    _auth("empty selector key", {'spec.selector.matchLabels[""]': "a"}, "a label key"),
    _auth("selector and target", {"spec.targetRefs": [{"kind": "Service", "name": "a"}]},
          "only one of the two"),
    _auth("selector by the other group's name", {"spec.selector": {"labels": {"a": "b"}}},
          "matchLabels", "spec.selector.labels"),
    _auth("DENY without rules", {"spec.rules": []}, "at least one rule"),
    _auth("DENY without the field", {"spec.rules": ABSENT}, "at least one rule"),
    _auth("provider without CUSTOM", {"spec.provider": {"name": "a"}}, "it goes with CUSTOM"),
    _auth("action", {"spec.action": "LOG"}, "one of ALLOW"),
    _auth("no source", {f"{_RULE}.from[0]": {}}, "a source", _SOURCE),
    _auth("empty source", {_SOURCE: {}}, "at least one field"),
    _auth("no operation", {f"{_RULE}.to[0]": {}}, "an operation", _OPERATION),
    _auth("empty operation", {_OPERATION: {}}, "at least one field"),
    *(
        _auth(f"empty {name}", {f"{_SOURCE}.{name}": ["a", ""]}, "not empty", f"{_SOURCE}.{name}[1]")
        for plain in NAMES for name in (plain, _not(plain))
    ),
    *(
        _auth(f"{name} {block!r}", {f"{_SOURCE}.{name}": [block]}, "a CIDR block",
              f"{_SOURCE}.{name}[0]")
        for name in BLOCKS for block in ("", "10.0.0.0/33", "a.b")
    ),
    *(
        _auth(f"empty {name}", {f"{_OPERATION}.{name}": [""]}, "not empty", f"{_OPERATION}.{name}[0]")
        for plain in ("hosts", "methods", "paths") for name in (plain, _not(plain))
    ),
    *(
        _auth(f"{name} {port!r}", {f"{_OPERATION}.{name}": [port]}, "a port",
              f"{_OPERATION}.{name}[0]")
        for name in ("ports", "notPorts") for port in ("", "65536", "-1", "http", "80-90")
    ),
    _auth("ports unquoted", {f"{_OPERATION}.ports": [80]}, "quote it", f"{_OPERATION}.ports[0]"),
    *(
        _auth(f"template {path!r}", {f"{_OPERATION}.paths": [path]}, fragment,
              f"{_OPERATION}.paths[0]")
        for path, fragment in (
            ("/{*}/{name}", "no named variables"), ("/{name=*}/{**}", "no named variables"),
            ("/{*}/*", "no * outside braces"), ("/{}/{*}", "no named variables"),
            ("{*}/a", "starts with /"), ("/a{*}", "a whole segment"),
            ("/{**}/{*}/a", "the last operator"), ("/{**}/{**}", "the last operator"),
            ("/a{**}", "a whole segment"), ("/a/{**}b/c", "a whole segment"),
        )
    ),
    _auth("template of what not", {f"{_OPERATION}.notPaths": ["/{*}/{a}"]}, "no named variables",
          f"{_OPERATION}.notPaths[0]"),
    *(
        _auth(f"accounts {text!r}", {f"{_RULE}.from[1].source.serviceAccounts": [text]},
              "a service account", f"{_RULE}.from[1].source.serviceAccounts[0]")
        for text in ("a/b/c", "/a", "a/", "a*")
    ),
    *(
        _auth(f"accounts beside {name}", {f"{_RULE}.from[1].source.{name}": ["a"]}, "one of the two",
              f"{_RULE}.from[1].source.serviceAccounts")
        for name in ("principals", "namespaces", "notPrincipals", "notNamespaces")
    ),
    _auth("empty key", {f"{_RULE}.when[0].key": ""}, "an attribute"),
    _auth("no values", {f"{_RULE}.when[1].values": []}, "values or notValues"),
    *(
        _auth(f"key {key!r}", {f"{_RULE}.when[0].key": key}, fragment)
        for key, fragment in (
            ("request.header[a]", "one of"), ("request.headers", "in brackets"),
            ("request.headers[:status]", "one of :authority"),
            ("request.headers[]", "in brackets"), ("request.headers[a", "in brackets"),
            ("request.auth.claims", "in brackets"), ("destination.labels[a]", "spec.selector"),
            ("source.labels[app]", "spec.selector"), ("destination.namespace", "own namespace"),
            ("destination.name", "one of"), ("destination.user", "one of"), ("Source.ip", "one of"),
        )
    ),
    _auth("address condition", {f"{_RULE}.when[1].values": ["a"]}, "a CIDR block",
          f"{_RULE}.when[1].values[0]"),
    _auth("port condition", {f"{_RULE}.when[2].notValues": ["x"]}, "a port",
          f"{_RULE}.when[2].notValues[0]"),
    _auth("empty condition value", {f"{_RULE}.when[3].values": [""]}, "not empty",
          f"{_RULE}.when[3].values[0]"),
]  # fmt: skip


def _custom(name: str, changes: dict[str, object], fragment: str, field: str = "") -> InvalidCase:
    return case(name, CUSTOM_POLICY, dict(changes), fragment, field)


def _target(name: str, changes: dict[str, object], fragment: str) -> InvalidCase:
    return case(name, TARGET_POLICY, dict(changes), fragment)


CUSTOM = [
    _custom("CUSTOM without rules", {"spec.rules": ABSENT}, "at least one rule"),
    _custom("CUSTOM without provider", {"spec.provider": ABSENT}, "the name of a provider",
            "spec.provider.name"),
    _custom("CUSTOM with a nameless one", {"spec.provider.name": ""}, "the name of a provider"),
    *(
        _custom(f"CUSTOM by {name}", {f"{_SOURCE}.{name}": ["a"]}, "with CUSTOM")
        for plain in NAMES for name in (plain, _not(plain))
    ),
    *(
        _custom(f"CUSTOM when {key}", {f"{_RULE}.when[0]": {"key": key, "values": ["a"]}},
                "with CUSTOM", f"{_RULE}.when[0].key")
        for key in ("source.namespace", "source.principal", "request.auth.claims[a]")
    ),
    _custom("target group", {"spec.targetRefs[0].group": "networking.istio.io"},
            "gateway.networking.k8s.io/Gateway", "spec.targetRefs[0].kind"),
    _target("target kind", {"spec.targetRef.kind": "Pod"}, "core/Service"),
    _target("target name", {"spec.targetRef.name": ""}, "a name"),
    _target("target without name", {"spec.targetRef.name": ABSENT}, "required field"),
    _target("target namespace", {"spec.targetRef.namespace": "a"}, "the policy's own"),
]  # fmt: skip

CASES = [*SIDECARS, *POLICIES, *CUSTOM]
