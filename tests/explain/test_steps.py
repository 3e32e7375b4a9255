"""Each step: what it says, which resource decided, why the others did not."""

from __future__ import annotations

import msgspec
import pytest

from egressd.api.resource import Kind, Metadata, Place
from egressd.explain.model import Explanation
from egressd.explain.question import Node, NodeListener, Question
from egressd.explain.text import render_text
from egressd.explain.walk import explain
from egressd.registry.memory import MemoryView
from egressd.registry.profile import NodeProfile
from egressd.registry.records import Record
from egressd.routing.gateway import Speech
from tests.explain.questions import considered, request, section, step, why
from tests.routing.test_decisions import API, entry, view_of, virtual

SIDECAR = (
    f"apiVersion: {API}\nkind: Sidecar\nmetadata: {{name: node}}\n"
    "spec: {egress: [{hosts: ['./*']}], outboundTrafficPolicy: {mode: MODE}}\n"
)
FOREIGN = entry("far.example").replace("name: far-example", "name: far, namespace: far")
TO_A = "route: [{destination: {host: a.example}}]"


def policy(name: str, spec: str, more: str = "") -> str:
    return (
        "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\n"
        f"metadata: {{name: {name}{more}}}\nspec: {spec}\n"
    )


def rule(spec: str, name: str = "a", more: str = "") -> str:
    return (
        f"apiVersion: {API}\nkind: DestinationRule\nmetadata: {{name: {name}{more}}}\n"
        f"spec: {{host: a.example, {spec}}}\n"
    )


def ask(*documents: str, text: str = "GET http://a.example/", **profile: object) -> Explanation:
    """One request of the node's own clients."""
    node = Node(view_of(*documents), NodeProfile(**profile))  # type: ignore[arg-type]
    return explain(node, request(text))


def routed(fields: str, text: str = "GET /", *more: str) -> Explanation:
    """The same on one route, which has these fields."""
    view = view_of(
        entry("a.example"),
        entry("b.example"),
        virtual("vs", ["vs.example"], f"[{{{fields}}}]"),
        *more,
    )
    return explain(Node(view), request(text))


# -- visibility ----------------------------------------------------------------------------------


def test_a_name_that_the_sidecar_hides_is_told_with_the_sidecar() -> None:
    documents = (entry("a.example"), FOREIGN, SIDECAR.replace("MODE", "REGISTRY_ONLY"))
    found = ask(*documents, text="GET http://far.example/")
    seen = step(found, "visibility")
    assert seen.by is not None and (seen.by.ref, seen.by.line) == ("Sidecar/default/node", 11)
    assert why(seen, "ServiceEntry/far/far") == ("hidden by Sidecar/default/node",)
    assert (found.outcome.status, found.outcome.flag) == (502, "NR")


def test_a_hidden_name_is_passed_through_where_the_sidecar_says_so() -> None:
    documents = (entry("a.example"), FOREIGN, SIDECAR.replace("MODE", "ALLOW_ANY"))
    found = ask(*documents, text="GET http://far.example:8080/x")
    assert "passed through (ALLOW_ANY)" in step(found, "visibility").says
    (line,) = found.destinations
    assert line.cluster == "outbound|8080||PassthroughCluster@far.example"
    assert found.outcome.kind == "forwarded"


def test_a_hidden_name_goes_to_the_egress_proxy() -> None:
    to = "{mode: ALLOW_ANY, egressProxy: {host: a.example, port: {number: 80}}}"
    sidecar = SIDECAR.replace("{mode: MODE}", to)
    found = ask(entry("a.example"), FOREIGN, sidecar, text="GET http://far.example/")
    assert [line.cluster for line in found.destinations] == ["outbound|80||a.example"]


def test_what_is_not_exported_to_the_node_is_told() -> None:
    document = FOREIGN.replace("spec: {", "spec: {exportTo: [other], ")
    seen = step(ask(document, text="GET http://far.example/"), "visibility")
    (reason,) = why(seen, "ServiceEntry/far/far")
    assert reason == "exported to other, not to namespace default (exportTo)"


# -- authorization -------------------------------------------------------------------------------


def test_a_denial_names_policy_rule_and_place() -> None:
    found = ask(
        entry("a.example"),
        policy("closed", "{action: DENY, rules: [{to: [{operation: {methods: [PUT, GET]}}]}]}"),
    )
    said = step(found, "authorization")
    assert said.by is not None
    assert (said.by.ref, said.by.field) == ("AuthorizationPolicy/default/closed", "spec.rules[0]")
    assert (found.outcome.status, found.outcome.flag) == (403, "UAEX")
    assert found.outcome.details == (
        "rbac_access_denied_matched_policy[ns[default]-policy[closed]-rule[0]]"
    )
    assert [one.name for one in found.steps][-1] == "authorization"


def test_a_rule_that_does_not_match_says_which_part() -> None:
    rules = (
        "{from: [{source: {ipBlocks: [10.0.0.0/8]}}, {source: {principals: [a]}}], "
        "when: [{key: 'request.headers[x-a]', values: ['1']}]}"
    )
    found = ask(entry("a.example"), policy("some", f"{{rules: [{rules}]}}"))
    assert why(step(found, "authorization"), "rules[0]") == (
        "from[0].ipBlocks: wants 10.0.0.0/8, found 127.0.0.1",
        "from[1].principals: wants a, found no client certificate (--principal)",
        "when request.headers[x-a]: wants 1, found no such header",
    )
    assert found.outcome.details.endswith("[none]")


def test_a_policy_for_others_says_why() -> None:
    found = ask(
        entry("a.example"),
        policy("other", "{action: DENY, rules: [{}], selector: {matchLabels: {app: web}}}"),
        policy("far", "{action: DENY, rules: [{}]}", ", namespace: far"),
        labels={"app": "shop"},
    )
    said = step(found, "authorization")
    assert found.outcome.kind == "forwarded"
    assert why(said, "/other") == ("its selector app=web is not among the node's labels",)
    assert "its namespace is neither the node's (default) nor" in why(said, "/far")[0]


def test_a_dry_run_is_told_and_changes_nothing() -> None:
    note = ", annotations: {istio.io/dry-run: 'true'}"
    found = ask(entry("a.example"), policy("try", "{action: DENY, rules: [{}]}", note))
    said = step(found, "authorization")
    assert found.outcome.kind == "forwarded"
    assert why(said, "DENY, dry run") == ("it matches, and changes nothing: dry run",)
    assert "would deny it with 403" in said.notes[0]


def test_a_grpc_client_gets_the_denial_as_grpc() -> None:
    found = ask(
        entry("a.example"),
        policy("closed", "{action: DENY, rules: [{}]}"),
        text="POST http://a.example/x content-type: application/grpc",
    )
    assert found.outcome.status == 200
    assert dict(found.outcome.headers)["grpc-status"] == "7"


# -- name and route ------------------------------------------------------------------------------


def test_the_claims_that_did_not_win_say_why() -> None:
    edge = virtual("edge", ["a.example"], f"[{{{TO_A}}}]")
    found = ask(
        entry("a.example"),
        edge.replace("spec: {", "spec: {gateways: [edge], "),
        virtual("own", ["a.example"], f"[{{{TO_A}}}]"),
        virtual("wide", ["*.example"], f"[{{{TO_A}}}]"),
    )
    said = step(found, "name")
    assert said.by is not None and said.by.ref == "VirtualService/default/own"
    assert why(said, "/edge") == ("it is bound to default/edge, not to mesh",)
    assert why(said, "/wide") == ("VirtualService/default/own has a.example, which comes first",)
    assert "gives way to VirtualService/default/own" in why(said, "ServiceEntry")[0]
    assert said.notes[0] == "looked for: a.example > *.example > *"


@pytest.mark.parametrize(
    ("ports", "host", "reason"),
    [
        ("80 8080", "a.example:8080", "port 8080: named by the client"),
        ("80 8080", "a.example", "port 80: the client names none, the default"),
        ("80", "a.example:9", "port 80: 9 is not a port of the service, the default"),
        ("8080", "a.example",
         "port 8080: the client names none, its first that speaks HTTP, or its first"),
    ],
)  # fmt: skip
def test_the_port_has_its_reason(ports: str, host: str, reason: str) -> None:
    found = ask(entry("a.example", ports), text=f"GET http://{host}/")
    assert step(found, "name").notes[-1] == reason


def test_sources_of_one_name_say_who_counts_and_who_joins() -> None:
    (resource,) = (
        record.resource for record in view_of(entry("a.example")).records(Kind.SERVICE_ENTRY)
    )
    other = msgspec.structs.replace(resource, metadata=Metadata(name="other"), place=Place())
    stated = [
        Record(resource=resource, source="files"),
        Record(resource=other, source="consul", origin="a", is_merged=True),
        Record(resource=resource, source="etcd"),
    ]
    found = explain(Node(MemoryView(stated)), request("GET http://a.example/"))
    said = [
        (one.chosen, one.why, one.by and one.by.source) for one in step(found, "name").considered
    ]
    assert said == [
        (True, (), "files"),
        (True, ("its endpoints join those of files",), "consul"),
        (False, ("the service of another source, namespace or wildcard comes first",), "etcd"),
    ]
    assert [one.source for one in found.destinations[0].service_entries] == ["files", "consul"]
    assert "ServiceEntry/default/other (a.example) (consul: a)" in render_text(found)


def test_a_virtual_address_and_a_short_name_mean_a_service() -> None:
    document = entry("a.example").replace("spec: {", "spec: {addresses: [10.9.9.9], ")
    by_address = ask(document, text="GET http://10.9.9.9/")
    assert step(by_address, "name").notes[0] == "10.9.9.9 means a.example"
    short = ask(entry("web.default.svc.cluster.local"), text="GET http://web/")
    assert step(short, "name").notes[0] == "web means web.default.svc.cluster.local"


def test_a_route_that_does_not_match_says_condition_and_value() -> None:
    spec = f"match: [{{headers: {{x-user: {{exact: jason}}}}}}, {{method: {{exact: PUT}}}}], {TO_A}"
    found = routed(spec, "GET / x-user: bob")
    assert why(step(found, "route"), "spec.http[0]") == (
        'match[0].headers[x-user]: wants exact "jason", found "bob"',
        'match[1].method: wants exact "PUT", found GET',
    )
    assert (found.outcome.status, found.outcome.details) == (404, "route_not_found")


def test_a_delegate_is_followed_by_name_and_says_what_it_leaves_out() -> None:
    leaf = virtual(
        "leaf", [], f"[{{match: [{{uri: {{prefix: /b}}}}], {TO_A}}}, {{timeout: 2s, {TO_A}}}]"
    )
    root = (
        "match: [{uri: {prefix: /a}}], delegate: {name: leaf}}, {delegate: {name: nobody, "
        "namespace: far}"
    )
    found = routed(root, "GET /a", leaf)
    said = step(found, "route")
    assert said.by is not None
    assert (said.by.ref, said.by.field) == ("VirtualService/default/leaf", "spec.http[1]")
    assert said.notes == (
        "spec.http[0] delegates to default/leaf: its spec.http[0] is left out: a match of it is not "
        "within the root's",
        "spec.http[1] delegates to far/nobody: there is no VirtualService of this name without hosts; "
        "no route",
    )
    assert section(found, "timeout").by == said.by.__class__(
        "VirtualService/default/leaf", "spec.http[1].timeout", "test.yaml", said.by.line, "test"
    )


def test_a_delegate_that_is_not_exported_is_told() -> None:
    leaf = virtual("leaf", [], f"[{{{TO_A}}}]").replace("spec: {", "spec: {exportTo: [far], ")
    found = routed("delegate: {name: leaf}", "GET /", leaf)
    told = "spec.http[0] delegates to default/leaf: it is not exported to default; no route"
    assert told in step(found, "name").notes
    assert (found.outcome.status, found.outcome.flag) == (502, "NR")  # and no service has the name


def test_what_no_codec_would_take_is_400() -> None:
    found = explain(Node(view_of(entry("a.example"))), request("GET / content-length: x"))
    assert (found.outcome.status, found.outcome.flag) == (400, "DPE")


# -- filters -------------------------------------------------------------------------------------


def test_a_fault_for_all_ends_it_and_one_for_some_does_not() -> None:
    abort = "fault: {abort: {httpStatus: 418, percentage: {value: VALUE}}}"
    all_of_them = routed(f"{abort.replace('VALUE', '100')}, {TO_A}")
    assert (all_of_them.outcome.status, all_of_them.outcome.flag) == (418, "FI")
    some = routed(f"{abort.replace('VALUE', '10')}, {TO_A}")
    assert some.outcome.kind == "forwarded"
    assert step(some, "fault").says == "abort with 418 for 10 %"
    assert some.outcome.says.endswith("; fault: abort with 418 for 10 %")


def test_a_preflight_is_answered_here() -> None:
    cors = "corsPolicy: {allowOrigins: [{exact: 'https://o'}], allowMethods: [GET]}"
    text = "OPTIONS / origin: https://o access-control-request-method: GET"
    found = routed(f"{cors}, {TO_A}", text)
    assert found.outcome.status == 200
    assert dict(found.outcome.headers)["access-control-allow-methods"] == "GET"
    plain = routed(f"{cors}, {TO_A}", "GET / origin: https://o")
    assert step(plain, "cors").notes == ("response: set access-control-allow-origin: https://o",)
    other = routed(f"{cors}, {TO_A}", "GET / origin: https://x")
    assert step(other, "cors").says == "no Origin that the policy allows: nothing is added"


def test_the_head_that_goes_on_is_shown_with_what_changed_it() -> None:
    found = routed(
        "match: [{uri: {prefix: /a}}], rewrite: {uri: /b, authority: new.example}, "
        "headers: {request: {set: {x-set: '1'}, add: {x-add: '2'}, remove: [x-gone]}, "
        "response: {set: {x-back: '3'}}}, "
        "route: [{destination: {host: a.example}, headers: {request: {set: {x-set: '9'}}}}]",
        "GET /a/x?q=1 x-gone: y x-kept: z",
    )
    sent = found.destinations[0].sent
    assert sent is not None
    assert (sent.method, sent.target, sent.authority) == ("GET", "/b/x?q=1", "new.example")
    assert dict(sent.headers) == {
        "Host": "new.example", "x-kept": "z", "x-set": "9", "x-add": "2", "x-request-id": "(a new one)",
    }  # fmt: skip
    notes = step(found, "send").notes
    assert notes[:2] == ("path was /a/x?q=1 (rewrite)", "Host was vs.example (rewrite)")
    assert "response: set x-back: 3" in notes


def test_response_operations_are_for_the_nodes_own_answers_too() -> None:
    found = routed("directResponse: {status: 204}, headers: {response: {set: {x-back: '3'}}}")
    assert found.outcome.headers == (("x-back", "3"),)


def test_mirrors_are_told_with_their_shadow_authority() -> None:
    found = routed(
        f"mirrors: [{{destination: {{host: b.example}}, percentage: {{value: 5}}}}, "
        f"{{destination: {{host: no.example}}}}], {TO_A}",
        "GET http://vs.example:80/",
    )
    first, second = found.mirrors
    assert (first.cluster, first.percent, first.authority, first.problem) == (
        "outbound|80||b.example", 5.0, "vs.example-shadow:80", "",
    )  # fmt: skip
    assert second.problem == "dropped: destination no.example: no ServiceEntry has this host"


# -- connections ---------------------------------------------------------------------------------

DB = (
    f"apiVersion: {API}\nkind: ServiceEntry\nmetadata: {{name: db}}\nspec:\n"
    "  hosts: [db.example]\n  addresses: [10.9.0.0/24]\n"
    "  ports: [{number: 5432, name: tcp, protocol: TCP}, {number: 443, name: tls, protocol: TLS}]\n"
    "  resolution: STATIC\n  endpoints: [{address: 10.0.0.1}]\n"
)
L4 = (NodeListener("tcp", "127.0.0.1", 1, Speech.TCP), NodeListener("tls", "::1", 2, Speech.TLS))


def connect(question: Question, *documents: str, **more: object) -> Explanation:
    return explain(Node(view_of(DB, *documents), listeners=L4, **more), question)  # type: ignore[arg-type]


def l4_routes(kind: str, match: str) -> str:
    route = f"[{{match: [{match}], route: [{{destination: {{host: db.example}}}}]}}]"
    return virtual("v", ["db.example"], "[]").replace("http: []", f"{kind}: {route}")


def test_a_virtual_address_leads_to_its_service() -> None:
    found = connect(Question("tcp", address="10.9.0.7", port=5432))
    assert [line.cluster for line in found.destinations] == ["outbound|5432||db.example"]
    assert step(found, "route").notes == ("10.9.0.7 is an address of db.example",)
    unknown = connect(Question("tcp", address="10.8.0.7", port=5432))
    assert (unknown.outcome.kind, unknown.outcome.flag) == ("closed", "NR")


def test_a_tcp_route_is_told_with_those_that_do_not_match() -> None:
    found = connect(
        Question("tcp", address="10.9.0.7", port=5432),
        l4_routes("tcp", "{port: 5433}, {port: 5432}"),
    )
    assert considered(step(found, "route"), "spec.tcp[0]").chosen
    missed = connect(
        Question("tcp", address="10.9.0.7", port=5432), l4_routes("tcp", "{port: 5433}")
    )
    assert why(step(missed, "route"), "tcp[0]") == ("match[0].port: wants 5433, found 5432",)
    assert missed.destinations[0].cluster == "outbound|5432||db.example"  # nothing of it is left
    closed = connect(
        Question("tcp", address="10.9.0.7", port=5432),
        l4_routes("tcp", "{sourceSubnet: 10.8.0.0/16}"),
    )
    assert closed.outcome.kind == "closed"


def test_tls_goes_by_its_server_name() -> None:
    found = connect(
        Question("tls", sni="db.example", port=443), l4_routes("tls", "{sniHosts: [db.example]}")
    )
    assert step(found, "listener").says.startswith("::1:2 'tls'")
    assert considered(step(found, "route"), "spec.tls[0]").chosen
    assert found.destinations[0].cluster == "outbound|443||db.example"


def test_connect_is_explained_by_the_same_routes() -> None:
    node = Node(view_of(DB))
    assert explain(node, request("CONNECT db.example:443", "db.example:443")).outcome.kind == (
        "forwarded"
    )
    refused = explain(node, request("CONNECT db.example:80", "db.example:80"))
    assert (refused.outcome.status, refused.outcome.says) == (
        502, "db.example: its ServiceEntry has no port 80",
    )  # fmt: skip
    free = Node(view_of(DB), NodeProfile(allow_any=True))
    port = explain(free, request("CONNECT x.example:25", "x.example:25"))
    assert (port.outcome.status, port.outcome.says) == (
        403, "CONNECT to port 25 is not in limits.connectPorts",
    )  # fmt: skip


def test_a_policy_on_a_connection_closes_it() -> None:
    closed = policy("p", "{rules: [{to: [{operation: {methods: [GET]}}]}]}")
    found = connect(Question("tcp", address="10.9.0.7", port=5432), closed)
    assert (found.outcome.kind, found.outcome.flag) == ("closed", "UAEX")
    assert why(step(found, "authorization"), "rules[0]") == (
        "it needs what HTTP says: it never matches a plain connection",
    )
