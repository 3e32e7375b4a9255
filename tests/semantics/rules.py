"""Statements on DestinationRules, subsets and localities. Source: Istio DestinationRule, pilot
`destination_rule.go`, `push_context.go`, `loadbalancer.go`."""

# ruff: noqa: E501 - a statement reads best on one line

from __future__ import annotations

from tests.semantics.lines import dr, limit, se
from tests.semantics.world import Statement as S

A = (
    "se a: hosts: [a.example], ports: [{number: 80, name: http, protocol: HTTP}, {number: 81, name: more, protocol: HTTP}], resolution: STATIC, endpoints: ["
    "{address: 10.0.0.1, labels: {v: v1}}, {address: 10.0.0.2, labels: {v: v2}}, {address: 10.0.0.3, labels: {v: v2, x: y1}}]\n"
)
K = "cluster outbound|80||a.example"
V1, V2 = "subsets: [{name: v1, labels: {v: v1}}]", "subsets: [{name: v2, labels: {v: v2}}]"
SELECT = "workloadSelector: {matchLabels: {app: x}}"


def sub(policy: str, rest: str = "") -> str:
    return f"subsets: [{{name: v1, labels: {{v: v1}}, trafficPolicy: {{{policy}}}}}]{rest and f', {rest}'}"


def pool(number: int) -> str:
    return f"connectionPool: {{tcp: {{maxConnections: {number}}}}}"


def port(number: int, policy: str) -> str:
    return f"portLevelSettings: [{{port: {{number: {number}}}, {policy}}}]"


PLACES = (
    "se a: hosts: [a.example], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, endpoints: ["
    "{address: 10.0.0.1, locality: r1/z1/s1}, {address: 10.0.0.2, locality: r1/z1/s2}, {address: 10.0.0.3, locality: r1/z2/s1}, "
    "{address: 10.0.0.4, locality: r2/z1/s1}, {address: 10.0.0.5, locality: r3}]\n"
)
OUTLIERS = "outlierDetection: {consecutive5xxErrors: 3}"


def place(setting: str, outliers: bool = True) -> str:
    detection = f"{OUTLIERS}, " if outliers else ""
    return (
        PLACES
        + f"dr r: host: a.example, trafficPolicy: {{{detection}loadBalancer: {{localityLbSetting: {{{setting}}}}}}}\n"
    )


LABELLED = (
    "se a: hosts: [a.example], ports: [{number: 80, name: http, protocol: HTTP}], resolution: STATIC, endpoints: ["
    "{address: 10.0.0.1, labels: {k: a, m: a}}, {address: 10.0.0.2, labels: {k: a, m: b}}, {address: 10.0.0.3, labels: {k: b, m: a}}, {address: 10.0.0.4}]\n"
)


def prefer(labels: str) -> str:
    return (
        LABELLED
        + f"dr r: host: a.example, trafficPolicy: {{{OUTLIERS}, loadBalancer: {{localityLbSetting: {{failoverPriority: [{labels}]}}}}}}\n"
    )


STATEMENTS: list[S] = [
    # -- which rule
    S("no rule", A, f"{K} rule", "none"),
    S("a rule of the host", A + dr("r", "a.example", limit(1)), f"{K} connections", "1"),
    S("a rule's host compares without case", A + dr("r", "A.Example", limit(1)), f"{K} connections", "1"),
    S("a wildcard rule", A + dr("r", "*.example", limit(1)), f"{K} connections", "1"),
    S("an exact rule before a wildcard one", A + dr("r", "*.example", limit(1)) + dr("q", "a.example", limit(2)), f"{K} connections", "2"),
    S("an exact rule is not merged with a wildcard one", A + dr("r", "*.example", limit(1)) + dr("q", "a.example", V1), f"{K} connections", "None"),
    S("a short rule host is of its namespace", se("w", "web.default.svc.cluster.local") + dr("r", "web", limit(1)), "cluster outbound|80||web.default.svc.cluster.local connections", "1"),
    S("a rule of the client's namespace before the service's", se("far/a", "a.example") + dr("r", "a.example", limit(1)) + dr("far/q", "a.example", limit(2)), f"{K} connections", "1"),
    S("a rule of the service's namespace", se("far/a", "a.example") + dr("far/q", "a.example", limit(2)), f"{K} connections", "2"),
    S("a rule of a third namespace does not count", se("far/a", "a.example") + dr("other/q", "a.example", limit(2)), f"{K} rule", "none"),
    S("a rule of the root namespace is last", se("far/a", "a.example") + dr("far/q", "*.example", limit(2)) + dr("root/p", "a.example", limit(3)), f"{K} connections", "2"),
    S("a rule of the root namespace where there is no other", A + dr("root/p", "a.example", limit(3)), f"{K} connections", "3"),
    S("exportTo of a rule: its own namespace", se("far/a", "a.example") + dr("far/q", "a.example", limit(2) + ", exportTo: ['.']"), f"{K} rule", "none"),
    S("exportTo of a rule: this namespace", se("far/a", "a.example") + dr("far/q", "a.example", limit(2) + ", exportTo: [default]"), f"{K} connections", "2"),
    S("workloadSelector that is this node", A + dr("r", "a.example", limit(1)) + dr("q", "a.example", limit(2) + f", {SELECT}"), f"app=x {K} connections", "2"),
    S("workloadSelector that is another node", A + dr("r", "a.example", limit(1)) + dr("q", "a.example", limit(2) + f", {SELECT}"), f"{K} connections", "1"),
    S("a rule with a workloadSelector is not exported", se("far/a", "a.example") + dr("far/q", "a.example", limit(2) + f", {SELECT}"), f"app=x {K} rule", "none"),
    # -- merging
    S("subsets of two rules are united", A + dr("r", "a.example", V1) + dr("q", "a.example", V2), "cluster outbound|80|v2|a.example endpoints", "10.0.0.2:80,10.0.0.3:80"),
    S("of one subset name the older counts", A + dr("r", "a.example", V1, "2021") + dr("q", "a.example", "subsets: [{name: v1, labels: {v: v2}}]", "2020"), "cluster outbound|80|v1|a.example endpoints", "10.0.0.2:80,10.0.0.3:80"),
    S("the trafficPolicy of the older counts", A + dr("r", "a.example", limit(1), "2021") + dr("q", "a.example", limit(2), "2020"), f"{K} connections", "2"),
    S("the trafficPolicy of the younger where the older has none", A + dr("r", "a.example", limit(1), "2021") + dr("q", "a.example", V2, "2020"), f"{K} connections", "1"),
    S("the trafficPolicy is taken as a whole", A + dr("r", "a.example", "trafficPolicy: {loadBalancer: {simple: RANDOM}}", "2021") + dr("q", "a.example", limit(2), "2020"), f"{K} balancer", "LEAST_REQUEST"),
    S("rules with one workloadSelector are merged", A + dr("r", "a.example", f"{V1}, {SELECT}") + dr("q", "a.example", f"{V2}, {SELECT}"), "app=x cluster outbound|80|v1|a.example endpoints", "10.0.0.1:80"),
    S("a rule with and one without workloadSelector are not", A + dr("r", "a.example", V1) + dr("q", "a.example", f"{V2}, {SELECT}"), "app=x cluster outbound|80|v1|a.example endpoints", "NC"),
    S("rules that are exported apart are not merged: the last counts", se("far/a", "a.example") + dr("far/r", "a.example", V1, "2020") + dr("far/q", "a.example", V2 + ", exportTo: [default]", "2021"), "cluster outbound|80|v1|a.example endpoints", "NC"),
    S("a rule is merged into one that is exported to fewer", A + dr("r", "a.example", V1 + ", exportTo: ['.']", "2020") + dr("q", "a.example", V2 + ", exportTo: ['.', far]", "2021"), "cluster outbound|80|v1|a.example endpoints", "10.0.0.1:80"),
    S("rules of two namespaces are not merged", se("far/a", "a.example") + dr("r", "a.example", limit(1)) + dr("far/q", "a.example", V2), "cluster outbound|80|v2|a.example endpoints", "NC"),
    # -- subsets and ports
    S("a subset's labels choose its endpoints", A + dr("r", "a.example", V2), "cluster outbound|80|v2|a.example endpoints", "10.0.0.2:80,10.0.0.3:80"),
    S("every label of a subset is asked", A + dr("r", "a.example", "subsets: [{name: s, labels: {v: v2, x: y1}}]"), "cluster outbound|80|s|a.example endpoints", "10.0.0.3:80"),
    S("a subset without labels has all endpoints", A + dr("r", "a.example", "subsets: [{name: s}]"), "cluster outbound|80|s|a.example endpoints", "10.0.0.1:80,10.0.0.2:80,10.0.0.3:80"),
    S("a subset of nobody has none", A + dr("r", "a.example", "subsets: [{name: s, labels: {v: v9}}]"), "cluster outbound|80|s|a.example endpoints", ""),
    S("an unknown subset is no cluster", A + dr("r", "a.example", V1), "cluster outbound|80|v9|a.example endpoints", "NC"),
    S("a subset without any rule is no cluster", A, "cluster outbound|80|v1|a.example endpoints", "NC"),
    S("a port that the service lacks is no cluster", A, "cluster outbound|99||a.example endpoints", "NC"),
    S("a service that is not there is no cluster", A, "cluster outbound|80||b.example endpoints", "NC"),
    S("a subset inherits the rule's policy", A + dr("r", "a.example", f"{V1}, {limit(1)}"), "cluster outbound|80|v1|a.example connections", "1"),
    S("a subset's section overrides the rule's", A + dr("r", "a.example", sub(pool(2), limit(1))), "cluster outbound|80|v1|a.example connections", "2"),
    S("a subset's other sections stay the rule's", A + dr("r", "a.example", sub("loadBalancer: {simple: RANDOM}", limit(1))), "cluster outbound|80|v1|a.example connections", "1"),
    S("a section is overridden as a whole", A + dr("r", "a.example", sub("connectionPool: {http: {maxRetries: 1}}", limit(1))), "cluster outbound|80|v1|a.example connections", "None"),
    S("a subset's policy is not the service's", A + dr("r", "a.example", sub(pool(2), limit(1))), f"{K} connections", "1"),
    S("port settings override the rule's", A + dr("r", "a.example", f"trafficPolicy: {{{pool(1)}, {port(80, pool(2))}}}"), f"{K} connections", "2"),
    S("port settings of another port do not", A + dr("r", "a.example", f"trafficPolicy: {{{pool(1)}, {port(81, pool(2))}}}"), f"{K} connections", "1"),
    S("what port settings leave out has its default", A + dr("r", "a.example", f"trafficPolicy: {{{pool(1)}, {port(80, 'loadBalancer: {simple: RANDOM}')}}}"), f"{K} connections", "None"),
    S("a subset's section overrides the rule's port settings", A + dr("r", "a.example", sub(pool(3), f"trafficPolicy: {{{pool(1)}, {port(80, pool(2))}}}")), "cluster outbound|80|v1|a.example connections", "3"),
    S("a subset's port settings override everything", A + dr("r", "a.example", sub(f"{pool(3)}, {port(80, pool(4))}", f"trafficPolicy: {{{pool(1)}, {port(80, pool(2))}}}")), "cluster outbound|80|v1|a.example connections", "4"),
    S("a subset inherits the rule's port settings", A + dr("r", "a.example", f"{V1}, trafficPolicy: {{{pool(1)}, {port(80, pool(2))}}}"), "cluster outbound|80|v1|a.example connections", "2"),
    S("LEAST_REQUEST is the default", A, f"{K} balancer", "LEAST_REQUEST"),
    S("LEAST_CONN is LEAST_REQUEST", A + dr("r", "a.example", "trafficPolicy: {loadBalancer: {simple: LEAST_CONN}}"), f"{K} balancer", "LEAST_REQUEST"),
    S("PASSTHROUGH goes where the client asked", A + dr("r", "a.example", "trafficPolicy: {loadBalancer: {simple: PASSTHROUGH}}"), f"{K} resolution", "NONE"),
    S("without outlierDetection nothing is ejected", A, f"{K} ejects", "never"),
    S("an empty outlierDetection has Envoy's defaults", A + dr("r", "a.example", "trafficPolicy: {outlierDetection: {}}"), f"{K} ejects", "5"),
    S("SIMPLE has the host as server name", A + dr("r", "a.example", "trafficPolicy: {tls: {mode: SIMPLE}}"), f"{K} tls", "SIMPLE a.example"),
    S("sni overrides the host", A + dr("r", "a.example", "trafficPolicy: {tls: {mode: SIMPLE, sni: b.example}}"), f"{K} tls", "SIMPLE b.example"),
    S("DISABLE of a port below SIMPLE of the rule", A + dr("r", "a.example", f"trafficPolicy: {{tls: {{mode: SIMPLE}}, {port(80, 'tls: {mode: DISABLE}')}}}"), f"{K} tls", "plain"),
    S("port settings without tls below SIMPLE of the rule are plain", A + dr("r", "a.example", f"trafficPolicy: {{tls: {{mode: SIMPLE}}, {port(80, pool(1))}}}"), f"{K} tls", "plain"),
    # -- locality
    S("by sub-zone, zone, region, then others", place("enabled: true"), f"at=r1.z1.s1 {K} levels", "1 > 2 > 3 > 4,5"),
    S("locality priorities are on by default with outlier detection", PLACES + dr("r", "a.example", f"trafficPolicy: {{{OUTLIERS}}}"), f"at=r1.z1.s1 {K} levels", "1 > 2 > 3 > 4,5"),
    S("without outlier detection there are no priorities", place("enabled: true", False), f"at=r1.z1.s1 {K} levels", "flat"),
    S("enabled: false turns them off", place("enabled: false"), f"at=r1.z1.s1 {K} levels", "flat"),
    S("a node that does not know its locality has none", place("enabled: true"), f"{K} levels", "flat"),
    S("failover: the named region before the others", place("failover: [{from: r1, to: r3}]"), f"at=r1.z1.s1 {K} levels", "1 > 2 > 3 > 5 > 4"),
    S("failover from another region does not count", place("failover: [{from: r2, to: r3}]"), f"at=r1.z1.s1 {K} levels", "1 > 2 > 3 > 4,5"),
    S("a node in a region of its own", place("enabled: true"), f"at=r9.z1.s1 {K} levels", "1,2,3,4,5"),
    S("levels without endpoints are left out", place("enabled: true"), f"at=r1.z2.s9 {K} levels", "3 > 1,2 > 4,5"),
    S("distribute by region", place("distribute: [{from: r1/*, to: {r1/*: 80, r2/*: 20}}]"), f"at=r1.z1.s1 {K} levels", "80:1,2,3 20:4"),
    S("distribute: places that nobody names get nothing", place("distribute: [{from: r1/*, to: {r1/z1/*: 100}}]"), f"at=r1.z1.s1 {K} levels", "100:1,2"),
    S("distribute needs no outlier detection", place("distribute: [{from: r1/*, to: {r2/*: 100}}]", False), f"at=r1.z1.s1 {K} levels", "100:4"),
    S("distribute from elsewhere does not count", place("distribute: [{from: r2/*, to: {r2/*: 100}}]"), f"at=r1.z1.s1 {K} levels", "1 > 2 > 3 > 4,5"),
    S("failoverPriority: the more labels match from the first on", prefer("k, m"), f"k=a m=a {K} levels", "1 > 2 > 3,4"),
    S("failoverPriority: a later label does not count where the first differs", prefer("m, k"), f"k=a m=a {K} levels", "1 > 3 > 2,4"),
    S("failoverPriority: key=value asks for that value", prefer("'k=b'"), f"k=a m=a {K} levels", "3 > 1,2,4"),
    S("failoverPriority: a label that both lack matches (pilot)", prefer("zz, k"), f"k=a m=a {K} levels", "1,2 > 3,4"),
    S("failoverPriority: a label that the node alone has", prefer("zz, k"), f"zz=1 k=a {K} levels", "1,2,3,4"),
    S("failoverPriority by topology labels", place("failoverPriority: ['topology.kubernetes.io/region', 'topology.kubernetes.io/zone']"), f"at=r1.z1.s1 {K} levels", "1,2 > 3 > 4,5"),
]  # fmt: skip
