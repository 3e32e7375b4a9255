"""Golden decisions on names: who sees what, short names, which DestinationRule applies."""

# ruff: noqa: E501 - a row reads best on one line

from __future__ import annotations

from typing import NamedTuple


class SeenRow(NamedTuple):
    """`resources`: "kind ns/name host [exportTo]" divided by ";"; `decision`: what serves the name to a
    client of namespace `client`, as ns/name, or 502."""

    rule: str
    resources: str
    client: str
    host: str
    decision: str


SEEN: list[SeenRow] = [
    SeenRow("ServiceEntry without exportTo: everyone", "se a/s x.example", "b", "x.example", "a/s"),
    SeenRow('ServiceEntry exportTo "*"', "se a/s x.example *", "b", "x.example", "a/s"),
    SeenRow('ServiceEntry exportTo ".": its own namespace', "se a/s x.example .", "a", "x.example", "a/s"),
    SeenRow('ServiceEntry exportTo ".": no other', "se a/s x.example .", "b", "x.example", "502"),
    SeenRow("ServiceEntry exportTo a namespace", "se a/s x.example b", "b", "x.example", "a/s"),
    SeenRow("ServiceEntry exportTo a namespace: not a third", "se a/s x.example b", "c", "x.example", "502"),
    SeenRow("ServiceEntry exportTo another namespace leaves its own out (Istio)", "se a/s x.example b", "a", "x.example", "502"),
    SeenRow("ServiceEntry exportTo two namespaces", "se a/s x.example b,c", "c", "x.example", "a/s"),
    SeenRow('ServiceEntry exportTo "~": nobody', "se a/s x.example ~", "a", "x.example", "502"),
    SeenRow("one host in two namespaces: the client's own", "se a/s x.example;se b/s x.example", "b", "x.example", "b/s"),
    SeenRow("one host in two namespaces: another client gets the first", "se a/s x.example;se b/s x.example", "c", "x.example", "a/s"),
    SeenRow("an exact host that is not exported leaves the wildcard", "se a/s x.foo.example .;se a/w *.foo.example", "b", "x.foo.example", "a/w"),
    SeenRow("VirtualService without exportTo", "se a/s x.example;vs a/v x.example", "b", "x.example", "a/v"),
    SeenRow('VirtualService exportTo ".": own namespace', "se a/s x.example;vs a/v x.example .", "a", "x.example", "a/v"),
    SeenRow('VirtualService exportTo ".": elsewhere the implicit route', "se a/s x.example;vs a/v x.example .", "b", "x.example", "a/s"),
    SeenRow("VirtualService exportTo a namespace", "se a/s x.example;vs a/v x.example b", "b", "x.example", "a/v"),
    SeenRow("VirtualService exportTo another namespace leaves its own out (Istio)", "se a/s x.example;vs a/v x.example b", "a", "x.example", "a/s"),
    SeenRow("two private VirtualServices of one host: each to its own", "vs a/v x.example .;vs b/v x.example .", "b", "x.example", "b/v"),
    SeenRow("two private VirtualServices of one host: the other one", "vs a/v x.example .;vs b/v x.example .", "a", "x.example", "a/v"),
    SeenRow("a short VirtualService host is of its namespace", "se a/s web.a.svc.cluster.local;vs a/v web", "b", "web.a.svc.cluster.local", "a/v"),
    SeenRow("a short VirtualService host is no other namespace's service", "se b/s web.b.svc.cluster.local;vs a/v web", "b", "web.b.svc.cluster.local", "b/s"),
    SeenRow("a client may use the short name in its own namespace", "se a/s web.a.svc.cluster.local", "a", "web", "a/s"),
    SeenRow("a short name means the client's namespace", "se a/s web.a.svc.cluster.local", "b", "web", "502"),
    SeenRow("name.namespace from anywhere", "se a/s web.a.svc.cluster.local", "b", "web.a", "a/s"),
    SeenRow("name.namespace.svc from anywhere", "se a/s web.a.svc.cluster.local", "b", "web.a.svc", "a/s"),
    SeenRow("a name in full from anywhere", "se a/s web.a.svc.cluster.local", "b", "web.a.svc.cluster.local", "a/s"),
    SeenRow("a dotless service as written (VMs)", "se a/s web", "b", "web", "a/s"),
]  # fmt: skip


class RuleRow(NamedTuple):
    """`rules`: "ns/name host [exportTo=..] [when=k:v] [subsets=..] [policy=N] [at=YEAR]" divided by ";".
    The service is x.foo.example of namespace `svc`; the client has labels app=shop. `decision`: name of the
    rule, its subsets, its policy's maxConnections."""

    rule: str
    rules: str
    client: str
    decision: str


RULES: list[RuleRow] = [
    RuleRow("no rule", "", "cli", "-"),
    RuleRow("the service's namespace", "svc/r x.foo.example", "cli", "r"),
    RuleRow("the client's namespace before the service's", "svc/r x.foo.example;cli/q x.foo.example", "cli", "q"),
    RuleRow("the service's namespace before the root namespace", "svc/r x.foo.example;root/q x.foo.example", "cli", "r"),
    RuleRow("the client's namespace before the root namespace", "cli/r x.foo.example;root/q x.foo.example", "cli", "r"),
    RuleRow("the root namespace last", "root/q x.foo.example", "cli", "q"),
    RuleRow("a third namespace does not count (Istio)", "other/q x.foo.example", "cli", "-"),
    RuleRow("the most specific host within a namespace", "svc/w *.foo.example;svc/e x.foo.example", "cli", "e"),
    RuleRow("the longest wildcard within a namespace", "svc/s *.example;svc/l *.foo.example", "cli", "l"),
    RuleRow("namespace before specificity (Istio)", "cli/w *.example;svc/e x.foo.example", "cli", "w"),
    RuleRow('exportTo ".": not for others', "svc/r x.foo.example exportTo=.", "cli", "-"),
    RuleRow('exportTo ".": for its own', "svc/r x.foo.example exportTo=.", "svc", "r"),
    RuleRow("exportTo the client's namespace", "svc/r x.foo.example exportTo=cli", "cli", "r"),
    RuleRow("what is not exported leaves the root's rule", "svc/r x.foo.example exportTo=.;root/q *.example", "cli", "q"),
    RuleRow("a client of the root namespace: the service's rule before the root's defaults (Istio)", "root/q *.example;svc/r x.foo.example", "root", "r"),
    RuleRow("a client of the root namespace: a private rule there comes first (Istio)", "root/q *.example exportTo=.;svc/r x.foo.example", "root", "q"),
    RuleRow("workloadSelector that is this node wins", "cli/r x.foo.example;cli/q x.foo.example when=app:shop", "cli", "q"),
    RuleRow("workloadSelector that is not is skipped", "cli/r x.foo.example;cli/q x.foo.example when=app:other", "cli", "r"),
    RuleRow("workloadSelector that is not, alone", "cli/q x.foo.example when=app:other", "cli", "-"),
    RuleRow("workloadSelector: every label", "cli/q x.foo.example when=app:shop+tier:x", "cli", "-"),
    RuleRow("workloadSelector holds in the client's namespace only", "svc/q x.foo.example when=app:shop", "cli", "-"),
    RuleRow("workloadSelector hides nothing elsewhere", "cli/q x.foo.example when=app:other;svc/r x.foo.example", "cli", "r"),
    RuleRow("subsets of several rules are united", "svc/a x.foo.example subsets=v1;svc/b x.foo.example subsets=v2", "cli", "a v1,v2"),
    RuleRow("several rules: the first trafficPolicy", "svc/a x.foo.example policy=1;svc/b x.foo.example policy=2", "cli", "a 1"),
    RuleRow("several rules: a later policy where the first has none", "svc/a x.foo.example;svc/b x.foo.example policy=2", "cli", "a 2"),
    RuleRow("several rules: the older is the first", "svc/a x.foo.example policy=1 at=2026;svc/b x.foo.example policy=2 at=2025", "cli", "b 2"),
    RuleRow("several rules: without a timestamp last", "svc/a x.foo.example policy=1;svc/b x.foo.example policy=2 at=2025", "cli", "b 2"),
    RuleRow("several rules with one selector are united", "cli/a x.foo.example when=app:shop subsets=v1;cli/b x.foo.example when=app:shop subsets=v2", "cli", "a v1,v2"),
    RuleRow("a rule with a selector is not mixed with one without", "cli/a x.foo.example subsets=v1;cli/b x.foo.example when=app:shop subsets=v2", "cli", "b v2"),
    RuleRow("rules of two hosts are not mixed", "svc/a *.foo.example subsets=v1;svc/b x.foo.example subsets=v2", "cli", "b v2"),
    RuleRow("rules of two namespaces are not mixed", "svc/a x.foo.example subsets=v1;root/b x.foo.example subsets=v2", "cli", "a v1"),
]  # fmt: skip
