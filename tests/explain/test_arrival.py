"""The listener: Gateways and their servers, ports of the Sidecar, the node's own."""

from __future__ import annotations

import pytest

from egressd.explain.model import Explanation
from egressd.explain.question import BadQuestion, Node, NodeListener, Question
from egressd.explain.walk import explain
from egressd.registry.profile import NodeProfile
from egressd.routing.gateway import Speech
from tests.explain.questions import considered, request, step, why
from tests.routing.test_decisions import API, entry
from tests.routing.test_gateway import EDGE, gateway, http, https, view_of, virtual

TO_A = "[{route: [{destination: {host: a.example}}]}]"


def ask(*documents: str, question: Question, profile: NodeProfile = EDGE) -> Explanation:
    return explain(Node(view_of(entry("a.example"), *documents), profile), question)


def edge(text: str, **more: object) -> Question:
    return request(text, gateway="edge", **more)


def test_a_gateway_of_other_nodes_is_told_by_its_selector() -> None:
    found = ask(
        gateway("edge", f"[{http(80)}]", "{app: web}"), question=edge("GET http://a.example/")
    )
    assert (found.outcome.kind, found.outcome.says) == ("closed", "connection refused")
    assert "its selector is app=web" in step(found, "listener").says


def test_a_gateway_that_is_not_there_is_a_wrong_question() -> None:
    with pytest.raises(BadQuestion, match="no such Gateway; there are default/other"):
        ask(gateway("other", f"[{http(80)}]"), question=edge("GET http://a.example/"))


def test_a_server_that_lost_its_port_says_so() -> None:
    one = gateway("first", f"[{http(443)}]", more=", creationTimestamp: '2020-01-01T00:00:00Z'")
    two = gateway("edge", f"[{https('[a.example]')}]")
    found = ask(one, two, question=edge("GET https://a.example/"))
    assert "one protocol a port" in step(found, "listener").says


def test_the_server_is_chosen_by_its_name_and_the_others_say_why() -> None:
    hosts = ("[a.example]", "['*.example']", "[b.test]")
    servers = ", ".join(https(one, name=f"https-{n}") for n, one in enumerate(hosts))
    found = ask(
        gateway("edge", f"[{servers}]"),
        virtual("v", "[a.example]", "[edge]", TO_A),
        question=edge("GET https://a.example/"),
    )
    said = step(found, "listener")
    assert considered(said, "servers[0]").chosen
    assert why(said, "servers[1]") == (
        "Gateway/default/edge spec.servers[0] has the narrower host",
    )
    assert why(said, "servers[2]") == ("its hosts do not cover a.example",)
    assert found.outcome.kind == "forwarded"


@pytest.mark.parametrize("host", ["[a.example]", "['*.example']"])
def test_of_two_gateways_with_one_tls_host_the_older_has_it_and_the_other_says_why(
    host: str,
) -> None:
    old = gateway("z", f"[{https(host)}]", more=", creationTimestamp: '2020-01-01T00:00:00Z'")
    found = ask(
        gateway("edge", f"[{https(host)}]"),
        old,
        virtual("v", "[a.example]", "[edge]", TO_A),
        question=edge("GET https://a.example/"),
    )
    said = step(found, "listener")
    assert considered(said, "Gateway/default/z").chosen
    (reason,) = why(said, "Gateway/default/edge")
    assert "narrower" not in reason
    assert f"has {host.strip(chr(34) + chr(39) + '[]')} as well and comes first" in reason
    assert found.outcome.flag == "NR"


def test_a_name_that_no_server_has_is_closed() -> None:
    found = ask(
        gateway("edge", f"[{https('[a.example]')}]"), question=edge("GET https://no.example/")
    )
    assert (found.outcome.kind, found.outcome.flag) == ("closed", "NR")
    assert found.outcome.says == "no server of port 443 has no.example"


def test_https_redirect_answers_301() -> None:
    server = http(80, "[a.example]", ", tls: {httpsRedirect: true}")
    found = ask(
        gateway("edge", f"[{server}, {https('[a.example]')}]"),
        virtual("v", "[a.example]", "[edge]", TO_A),
        question=edge("GET http://a.example/x"),
    )
    assert found.outcome.status == 301
    assert found.outcome.headers == (("location", "https://a.example/x"),)
    assert step(found, "name").says == "a.example: redirect to https"


@pytest.mark.parametrize(
    ("hosts", "bound", "exported", "reason"),
    [
        ("[a.example]", "[other]", "['*']", "it is bound to default/other, not to default/edge"),
        ("[a.example]", "[edge]", "[far/*]",
         "no server of the port exports hosts to its namespace default"),
        ("[a.example]", "[edge]", "[b.example]",
         "the servers of the port export b.example, not a.example"),
    ],
)  # fmt: skip
def test_a_virtual_service_that_is_not_bound_says_why(
    hosts: str, bound: str, exported: str, reason: str
) -> None:
    found = ask(
        gateway("edge", f"[{http(80, exported)}]"),
        gateway("other", f"[{http(81)}]"),
        virtual("v", hosts, bound, TO_A),
        question=edge("GET http://a.example/"),
    )
    assert found.outcome.status == 404
    assert why(step(found, "name"), "VirtualService") == (reason,)


def test_tcp_and_passthrough_of_a_gateway_go_by_its_routes() -> None:
    tcp = "{port: {number: 9000, name: tcp, protocol: TCP}, hosts: ['*']}"
    tls = (
        "{port: {number: 9443, name: tls, protocol: TLS}, hosts: [a.example], "
        "tls: {mode: PASSTHROUGH}}"
    )
    routes = virtual("v", "[a.example]", "[edge]", "[]").replace(
        "http: []",
        "tcp: [{match: [{port: 9000}], route: [{destination: {host: a.example}}]}], "
        "tls: [{match: [{sniHosts: [a.example]}], route: [{destination: {host: a.example}}]}]",
    )
    documents = (gateway("edge", f"[{tcp}, {tls}]"), routes)
    by_port = ask(*documents, question=Question("tcp", gateway="default/edge"))
    assert considered(step(by_port, "route"), "spec.tcp[0]").chosen
    by_name = ask(*documents, question=Question("tls", gateway="edge", sni="a.example"))
    assert considered(step(by_name, "route"), "spec.tls[0]").chosen
    with pytest.raises(BadQuestion, match="leave METHOD and URL out"):
        ask(*documents, question=edge("GET http://a.example/", listener=9000))


def test_several_ports_of_one_protocol_have_to_be_told_apart() -> None:
    documents = (
        gateway("edge", f"[{http(80)}, {http(81)}]"),
        virtual("v", "[a.example]", "[edge]", TO_A),
    )
    with pytest.raises(BadQuestion, match=r"80 \(HTTP\), 81 \(HTTP\)"):
        ask(*documents, question=edge("GET http://a.example/"))
    found = ask(*documents, question=edge("GET http://a.example/", listener=81))
    assert found.outcome.kind == "forwarded"


def test_a_port_of_the_sidecar_shows_its_own_hosts() -> None:
    far = entry("far.example").replace("name: far-example", "name: far, namespace: far")
    sidecar = (
        f"apiVersion: {API}\nkind: Sidecar\nmetadata: {{name: node}}\n"
        "spec: {egress: [{port: {number: 8081, name: http, protocol: HTTP}, hosts: ['far/*']}, "
        "{hosts: ['./*']}]}\n"
    )
    own = ask(far, sidecar, question=request("GET http://far.example/"))
    assert own.outcome.status == 502
    port = ask(far, sidecar, question=request("GET http://far.example/", listener=8081))
    assert port.outcome.kind == "forwarded"
    assert step(port, "listener").says == "127.0.0.1:8081 of the node's Sidecar, HTTP"


def test_a_listener_that_the_node_lacks_is_told() -> None:
    found = ask(question=Question("tcp", address="10.0.0.1", port=5432))
    assert "has no listener of protocol TCP" in step(found, "listener").notes[0]
    with pytest.raises(BadQuestion, match="the node's own are 15001"):
        ask(question=request("GET http://a.example/", listener=1))


def test_plain_http_listeners_take_no_tls() -> None:
    with pytest.raises(BadQuestion, match="speak plain HTTP"):
        ask(question=request("GET https://a.example/"))


def test_a_tcp_listener_looks_for_a_server_name_only_where_it_must() -> None:
    tls = (
        f"apiVersion: {API}\nkind: ServiceEntry\nmetadata: {{name: t}}\n"
        "spec: {hosts: [t.example], ports: [{number: 443, name: tls, protocol: TLS}], "
        "resolution: STATIC, endpoints: [{address: 10.0.0.1}]}\n"
    )
    node = Node(view_of(tls), listeners=(NodeListener("t", "127.0.0.1", 1, Speech.TCP),))
    found = explain(node, Question("x", sni="t.example", port=443))
    assert found.destinations[0].cluster == "outbound|443||t.example"
    silent = explain(node, Question("x", port=443))
    assert "would wait for a ClientHello" in step(silent, "listener").notes[1]
    other = explain(node, Question("x", sni="t.example", port=25))
    assert "the server name is not looked at" in step(other, "listener").notes[1]
