"""Policies and a request, and the verdict. Each row names the rule that it comes from.

Policies are "name: spec" in YAML flow style; "root/name" is of the root namespace, "other/name" of one
that is not the node's. A request is "METHOD authority/path" or "TCP port", then facts. A verdict is
"allow", or "deny" and what decided: "name[index]", or "none" for an ALLOW policy that did not match.
"""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    rule: str
    policies: str
    request: str
    verdict: str


DENY = "action: DENY, rules: "
ALLOW = "rules: "
SLEEP = "principal=spiffe://cluster.local/ns/dev/sa/sleep"


def _pairs(
    rule: str, condition: str, hits: list[str], misses: list[str], action: str = DENY
) -> list[Row]:
    """The same rule must deny the hits and let the misses pass."""
    policy = f"p: {{{action}[{condition}]}}"
    rows = [Row(rule, policy, hit, "deny p[0]") for hit in hits]
    return rows + [Row(rule, policy, miss, "allow") for miss in misses]


def _p(action: str, *rules: str) -> str:
    return f"p: {{{action}[{', '.join(rules)}]}}"


def _from(source: str) -> str:
    return f"{{from: [{{source: {{{source}}}}}]}}"


def _to(operation: str) -> str:
    return f"{{to: [{{operation: {{{operation}}}}}]}}"


def _when(key: str, values: str) -> str:
    return f"{{when: [{{key: '{key}', {values}}}]}}"


G = "GET a.example/x"
TCP_81 = _to("methods: [GET], ports: ['81']")
ROWS: list[Row] = [
    Row("no policy allows", "", G, "allow"),
    Row("ALLOW without rules allows nothing", "p: {}", G, "deny none"),
    Row("ALLOW with an empty rule allows all", "p: {rules: [{}]}", G, "allow"),
    Row("DENY with an empty rule denies all", "p: {action: DENY, rules: [{}]}", G, "deny p[0]"),
    Row("AUDIT never denies", "p: {action: AUDIT, rules: [{}]}", G, "allow"),
    Row("AUDIT is no ALLOW policy", "p: {action: AUDIT, rules: [{to: [{operation: {methods: [PUT]}}]}]}",
        G, "allow"),
    Row("DENY comes before ALLOW", "a: {rules: [{}]}; d: {action: DENY, rules: [{}]}", G, "deny d[0]"),
    Row("a DENY that does not match leaves it to ALLOW",
        f"a: {{}}; d: {{{DENY}[{_to('methods: [PUT]')}]}}", G, "deny none"),
    Row("one of several ALLOW policies is enough", f"a: {{}}; b: {{{ALLOW}[{{}}]}}", G, "allow"),
    Row("rules are ORed", _p(DENY, _to("methods: [PUT]"), _to("methods: [GET]")),
        G, "deny p[1]"),
    Row("the root namespace's policies apply", "root/p: {action: DENY, rules: [{}]}", G, "deny p[0]"),
    Row("the root namespace's come first",
        "a: {action: DENY, rules: [{}]}; root/z: {action: DENY, rules: [{}]}", G, "deny z[0]"),
    Row("another namespace's do not apply", "other/p: {action: DENY, rules: [{}]}", G, "allow"),
    Row("the selector is compared with the node's labels",
        "p: {selector: {matchLabels: {app: gw}}, action: DENY, rules: [{}]}", G, "deny p[0]"),
    Row("every label of the selector must be there",
        "p: {selector: {matchLabels: {app: gw, v: '1'}}, action: DENY, rules: [{}]}", G, "allow"),
    Row("another label value", "p: {selector: {matchLabels: {app: x}}, action: DENY, rules: [{}]}",
        G, "allow"),
    Row("targetRef is not for a VM", "p: {targetRef: {kind: Service, name: a}}", G, "allow"),
    Row("CUSTOM with a provider that is not known denies",
        "p: {action: CUSTOM, provider: {name: x}, rules: [{}]}", G, "deny p[0]"),
    Row("CUSTOM acts on what it matches",
        f"p: {{action: CUSTOM, provider: {{name: x}}, rules: [{_to('paths: [/admin]')}]}}", G, "allow"),
    Row("CUSTOM comes before DENY", "a: {action: DENY, rules: [{}]}; "
        "c: {action: CUSTOM, provider: {name: x}, rules: [{}]}", G, "deny c[0]"),
    *_pairs("source.ipBlocks", _from("ipBlocks: [10.0.0.0/8, 192.0.2.7]"),
            [f"{G} ip=10.1.2.3", f"{G} ip=192.0.2.7", f"{G} ip=::ffff:10.0.0.1"],
            [f"{G} ip=11.0.0.1", f"{G} ip=2001:db8::1", G]),
    *_pairs("source.notIpBlocks", _from("notIpBlocks: [10.0.0.0/8]"),
            [f"{G} ip=11.0.0.1", G], [f"{G} ip=10.0.0.1"]),
    *_pairs("fields of a source are ANDed", _from("ipBlocks: [10.0.0.0/8], notIpBlocks: [10.9.9.9]"),
            [f"{G} ip=10.1.1.1"], [f"{G} ip=10.9.9.9", f"{G} ip=9.9.9.9"]),
    *_pairs("remoteIpBlocks: no X-Forwarded-For is trusted", _from("remoteIpBlocks: [10.0.0.0/8]"),
            [f"{G} ip=10.0.0.1"], [f"{G} ip=11.0.0.1 h:x-forwarded-for=10.0.0.1"]),
    *_pairs("principals exact", _from("principals: [cluster.local/ns/dev/sa/sleep]"),
            [f"{G} {SLEEP}"], [G, f"{G} {SLEEP}y", f"{G} principal=spiffe://x/ns/dev/sa/sleep"]),
    *_pairs("principals suffix", _from("principals: ['*/sa/sleep']"), [f"{G} {SLEEP}"], [G]),
    *_pairs("principals prefix", _from("principals: ['cluster.local/*']"), [f"{G} {SLEEP}"],
            [G, f"{G} principal=spiffe://x/ns/dev/sa/sleep"]),
    *_pairs("principals presence", _from("principals: ['*']"), [f"{G} {SLEEP}"], [G]),
    *_pairs("a name that is no SPIFFE identity is compared whole", _from("principals: [client.example]"),
            [f"{G} principal=client.example"], [f"{G} principal=a.client.example"]),
    *_pairs("principals: any name of the certificate", _from("principals: ['*/sa/sleep']"),
            [f"{G} principal=spiffe://x/ns/a/sa/b {SLEEP}"], [f"{G} principal=spiffe://x/ns/a/sa/b"]),
    *_pairs("namespaces: any name of the certificate", _from("namespaces: [dev]"),
            [f"{G} principal=spiffe://x/ns/a/sa/b {SLEEP}"], [f"{G} principal=spiffe://x/ns/a/sa/b"]),
    *_pairs("notPrincipals: no name of the certificate", _from("notPrincipals: ['*/sa/sleep']"),
            [f"{G} principal=a principal=b"], [f"{G} principal=a {SLEEP}"]),
    *_pairs("a certificate without names has its subject", _from("principals: ['CN=robot*']"),
            [f"{G} principal=CN=robot,O=shop"], [f"{G} principal=CN=human,O=shop"]),
    *_pairs("notPrincipals", _from("notPrincipals: [cluster.local/ns/dev/sa/sleep]"),
            [G, f"{G} principal=x"], [f"{G} {SLEEP}"]),
    *_pairs("namespaces", _from("namespaces: [dev, 'p*d']"),
            [f"{G} {SLEEP}", f"{G} principal=spiffe://a/ns/prod/sa/x"],
            [G, f"{G} principal=spiffe://a/ns/dev2/sa/x", f"{G} principal=dev"]),
    *_pairs("notNamespaces", _from("notNamespaces: [dev]"), [G], [f"{G} {SLEEP}"]),
    *_pairs("serviceAccounts of the policy's namespace", _from("serviceAccounts: [sleep]"),
            [f"{G} principal=spiffe://a/ns/shop/sa/sleep"], [f"{G} {SLEEP}", G]),
    *_pairs("serviceAccounts with a namespace", _from("serviceAccounts: [dev/sleep]"),
            [f"{G} {SLEEP}", f"{G} {SLEEP}/x"], [f"{G} {SLEEP}y"]),
    *_pairs("trustDomains", _from("trustDomains: [cluster.local, '*.x']"),
            [f"{G} {SLEEP}", f"{G} principal=spiffe://a.x/ns/a/sa/b"],
            [G, f"{G} principal=spiffe://b/ns/a.x/sa/b", f"{G} principal=cluster.local/ns/a/sa/b",
             f"{G} principal=spiffe://cluster.local.evil/ns/a/sa/b"]),
    *_pairs("notTrustDomains", _from("notTrustDomains: ['cluster.*']"),
            [G, f"{G} principal=spiffe://x/ns/cluster.local/sa/b"], [f"{G} {SLEEP}"]),
    *_pairs("a trust domain that is any", _from("trustDomains: ['*']"), [f"{G} {SLEEP}"], [G]),
    *_pairs("requestPrincipals match nothing without JWT", _from("requestPrincipals: ['*']"), [], [G]),
    *_pairs("notRequestPrincipals match everything", _from("notRequestPrincipals: ['*']"), [G], []),
    *_pairs("sources are ORed", "{from: [{source: {namespaces: [dev]}}, {source: {ipBlocks: ['::1']}}]}",
            [f"{G} {SLEEP}", f"{G} ip=::1"], [f"{G} ip=10.0.0.1"]),
    *_pairs("hosts without case", _to("hosts: [A.example]"),
            [G, "GET A.EXAMPLE/", "GET a.example./"], ["GET b.example/", "GET xa.example/"]),
    *_pairs("who denies a host means every port", _to("hosts: [a.example, '[0:0::1]']"),
            ["GET a.example:80/", "GET a.example.:81/", "GET a.example:/", "CONNECT a.example:443",
             "GET [::1]:8080/", "GET [::0:1]/"], ["GET b.example:80/"]),
    *_pairs("a host with a port is that port's", _to("hosts: ['A.example.:80']"),
            ["GET a.example:80/", "GET a.example.:80/"], [G, "GET a.example:81/"]),
    *_pairs("any port, written out", _to("hosts: ['a.example:*']"),
            ["GET a.example:80/", "GET a.example.:80/"], [G]),
    *_pairs("hosts suffix", _to("hosts: ['*.Example']"),
            [G, "GET x.A.example/", "GET a.example:80/"], ["GET example/"]),
    *_pairs("an address is one in every form", _to("hosts: ['::ffff:10.0.0.1', '[::FFFF:A00:2]']"),
            ["GET 10.0.0.2/", "GET [::ffff:10.0.0.2]:80/"], ["GET 10.0.0.3/"]),
    *_pairs("notHosts of a DENY: only what is written goes free", _to("notHosts: [a.example]"),
            ["GET b.example/", "GET a.example:81/"], [G]),
    Row("who allows a host means it as it is written", _p(ALLOW, _to("hosts: [a.example]")),
        "GET a.example:81/", "deny none"),
    Row("who allows all but a host means every port of it", _p(ALLOW, _to("notHosts: [a.example]")),
        "GET a.example:81/", "deny none"),
    Row("all but a host", _p(ALLOW, _to("notHosts: [a.example]")), "GET b.example:81/", "allow"),
    *_pairs("the authority as a header",
            "{when: [{key: 'request.headers[:authority]', values: [A.Example]}]}",
            [G, "GET a.example.:8080/"], ["GET b.example/"]),
    *_pairs("the path as a header, with its query",
            "{when: [{key: 'request.headers[:path]', values: ['/a%2fb?x=%2f', '/c*']}]}",
            ["GET a.example/a%2Fb?x=%2f", "GET a.example/y/../a%2fb?x=%2f", "GET a.example/./c?d"],
            ["GET a.example/a%2fb", "GET a.example/a%2fb?x=%2F"]),
    *_pairs("Host as a header", "{when: [{key: 'request.headers[host]', notValues: [a.example]}]}",
            ["GET b.example/", "GET a.example:80/"], [G]),
    *_pairs("methods", _to("methods: [GET, 'P*']"), [G, "PUT a.example/"], ["HEAD a.example/"]),
    *_pairs("notMethods", _to("notMethods: [GET]"), ["PUT a.example/"], [G]),
    *_pairs("CONNECT is a method", _to("methods: [CONNECT]"), ["CONNECT a.example:443"], [G]),
    *_pairs("paths exact, the query left out", _to("paths: [/x]"), [G, f"{G}?a=b"],
            ["GET a.example/x/", "GET a.example/X", "CONNECT a.example:443"]),
    *_pairs("paths prefix", _to("paths: [/x*]"), [G, "GET a.example/xy/z"], ["GET a.example/"]),
    *_pairs("paths suffix", _to("paths: ['*.ico']"), ["GET a.example/b.ico"], ["GET a.example/b.icon"]),
    *_pairs("paths presence", _to("paths: ['*']"), ["GET a.example/"], ["CONNECT a.example:443"]),
    *_pairs("notPaths", _to("notPaths: [/x]"), ["GET a.example/y"], [G]),
    *_pairs("paths in other spellings", _to("paths: ['/admin*']"),
            ["GET a.example/x/../admin", "GET a.example/%61dmin/y", "GET a.example/./admin",
             "GET a.example/x/%2e%2e/admin", "GET a.example/x\\..\\admin"],
            ["GET a.example/admin/../x", "GET a.example/x%2fadmin"]),
    *_pairs("template of one segment", _to("paths: ['/a/{*}/c']"), ["GET a.example/a/b/c"],
            ["GET a.example/a//c", "GET a.example/a/b/b/c", "GET a.example/a/c"]),
    *_pairs("template of many segments", _to("paths: ['/a/{*}/{**}']"),
            ["GET a.example/a/b/", "GET a.example/a/b/c/d"], ["GET a.example/a/b", "GET a.example/a/"]),
    *_pairs("template of many segments, then more", _to("paths: ['/a/{**}/b']"),
            ["GET a.example/a/x/b", "GET a.example/a/x/y/b", "GET a.example/a//b"],
            ["GET a.example/a/b", "GET a.example/a/x/c"]),
    *_pairs("template of many segments and a slash", _to("paths: ['/a/{**}/']"),
            ["GET a.example/a/x/", "GET a.example/a//"], ["GET a.example/a/x"]),
    *_pairs("template with a suffix", _to("paths: ['/a/{**}.mpd']"),
            ["GET a.example/a/x/y.mpd"], ["GET a.example/a/x/y.mp4"]),
    *_pairs("template characters stand for themselves", _to("paths: ['/a.b/{*}']"),
            ["GET a.example/a.b/c"], ["GET a.example/aXb/c"]),
    *_pairs("ports", _to("ports: ['80']"), [f"{G} port=80", "TCP 80"], [f"{G} port=81", "TCP 443"]),
    *_pairs("notPorts", _to("notPorts: ['80']"), ["TCP 443"], ["TCP 80"]),
    *_pairs("fields of an operation are ANDed", _to("methods: [GET], paths: [/x]"), [G],
            ["PUT a.example/x", "GET a.example/y"]),
    *_pairs("from and to are ANDed",
            "{from: [{source: {ipBlocks: ['::1']}}], to: [{operation: {methods: [GET]}}]}",
            [f"{G} ip=::1"], [G, "PUT a.example/x ip=::1"]),
    *_pairs("when request.headers", _when("request.headers[X-Team]", "values: [red, 'b*']"),
            [f"{G} h:x-team=red", f"{G} h:x-team=blue", f"{G} h:x-team=a h:x-team=red"],
            [G, f"{G} h:x-team=Red", f"{G} h:x-team=a,red"]),
    *_pairs("when request.headers is there", _when("request.headers[x-team]", "values: ['*']"),
            [f"{G} h:x-team=", f"{G} h:x-team=a"], [G]),
    *_pairs("when request.headers is not", _when("request.headers[x-team]", "notValues: ['*']"),
            [G], [f"{G} h:x-team=a"]),
    *_pairs("when the method as a header", _when("request.headers[:method]", "values: [GET]"),
            [G], ["PUT a.example/x"]),
    *_pairs("when the authority as a header", _when("request.headers[:authority]", "values: ['a.*']"),
            [G], ["GET b.example/x"]),
    *_pairs("when Host: the authority", _when("request.headers[Host]", "values: [a.example]"),
            [G], ["GET b.example/x"]),
    *_pairs("when the target as a header", _when("request.headers[:path]", "values: ['/x?y=*']"),
            [f"{G}?y=1"], [G]),
    *_pairs("when the scheme as a header", _when("request.headers[:scheme]", "values: [http]"),
            [G], []),
    *_pairs("when not the scheme", _when("request.headers[:scheme]", "notValues: [http]"), [], [G]),
    *_pairs("when source.ip", _when("source.ip", "values: [10.0.0.0/8]"), [f"{G} ip=10.0.0.1"], [G]),
    *_pairs("when remote.ip", _when("remote.ip", "notValues: ['::1']"), [G], [f"{G} ip=::1"]),
    *_pairs("when source.namespace", _when("source.namespace", "values: [dev]"), [f"{G} {SLEEP}"], [G]),
    *_pairs("when source.principal", _when("source.principal", "values: ['*/sleep']"),
            [f"{G} {SLEEP}"], [G]),
    *_pairs("when destination.ip", _when("destination.ip", "values: [192.0.2.0/24]"),
            [f"{G} to=192.0.2.1", "TCP 80 to=192.0.2.1"], [G, f"{G} to=192.0.3.1"]),
    *_pairs("when destination.port", _when("destination.port", "values: ['443']"),
            ["TCP 443", "CONNECT a.example:443 port=443"], ["TCP 80"]),
    *_pairs("when connection.sni", _when("connection.sni", "values: ['*.example']"),
            ["TCP 443 sni=a.example", f"{G} sni=a.example"], ["TCP 443", "TCP 443 sni=a.test"]),
    *_pairs("when a claim: no JWT", _when("request.auth.claims[iss]", "values: ['*']"), [], [G]),
    *_pairs("when Envoy's metadata: there is none", _when("experimental.envoy.filters.a[b]",
            "values: [a]"), [], [G, "TCP 80"]),
    *_pairs("conditions are ANDed", "{when: [{key: source.ip, values: ['::1']}, "
            "{key: destination.port, values: ['80']}]}",
            ["TCP 80 ip=::1"], ["TCP 80 ip=::2", "TCP 81 ip=::1"]),
    Row("TCP: a DENY rule leaves HTTP fields out",
        _p(DENY, _to("methods: [GET]")), "TCP 80", "deny p[0]"),
    Row("TCP: what else the DENY rule says still counts",
        _p(DENY, _to("methods: [GET], ports: ['443']")), "TCP 80", "allow"),
    Row("TCP: an ALLOW rule with HTTP fields never matches",
        _p(ALLOW, _to("methods: [GET]")), "TCP 80", "deny none"),
    Row("TCP: an ALLOW rule without them does",
        _p(ALLOW, _to("methods: [GET]"), _to("ports: ['80']")), "TCP 80", "allow"),
    Row("TCP: one HTTP field anywhere spoils an ALLOW rule",
        f"p: {{{ALLOW}[{{to: [{{operation: {{ports: ['80']}}}}], "
        "when: [{key: 'request.headers[a]', values: [b]}]}]}", "TCP 80", "deny none"),
    Row("TCP: a CUSTOM rule leaves HTTP fields out, too",
        f"p: {{action: CUSTOM, provider: {{name: x}}, rules: [{_to('methods: [GET]')}]}}",
        "TCP 80", "deny p[0]"),
    Row("TCP: what else the CUSTOM rule says still counts",
        f"p: {{action: CUSTOM, provider: {{name: x}}, rules: [{TCP_81}]}}",
        "TCP 80", "allow"),
    Row("ALLOW by source", _p(ALLOW, _from("ipBlocks: ['::1']")), f"{G} ip=::1", "allow"),
    Row("ALLOW by source, another one", _p(ALLOW, _from("ipBlocks: ['::1']")), G,
        "deny none"),
    Row("ALLOW by path is not widened by dots", _p(ALLOW, _to("paths: ['/public/*']")),
        "GET a.example/public/../admin", "deny none"),
]  # fmt: skip
