"""Routes for this node and for others, hosts claimed several times, names below a wildcard: on a real
node, while its resources change."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import pytest
import trustme

from integration.node import Node, eventually
from integration.origins import Origin, service_entry
from integration.test_node_gateway import gateway, get, server, to
from integration.test_node_l4 import free_port

API = "networking.istio.io/v1"


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    labels = {"id": "node-under-test", "labels": {"app": "edge"}}
    gateways = {"address": "127.0.0.1"}
    directory = tmp_path_factory.mktemp("clients")
    with Node(directory, workers=1, node=labels, gateways=gateways) as running:
        yield running


@pytest.fixture
def node(shared: Node) -> Iterator[Node]:
    """The node, without the resources of the test before."""
    yield shared
    for path in shared.resources.iterdir():
        path.unlink()


def virtual(name: str, body: str, created: str = "") -> str:
    stamp = f", creationTimestamp: '{created}'" if created else ""
    return (
        f"---\napiVersion: {API}\nkind: VirtualService\nmetadata: {{name: {name}{stamp}}}\n"
        f"spec: {{{body}}}\n"
    )


def origin_of(node: Node, host: str, path: str = "/") -> str:
    """The origin that answered, or the status of the node's own answer."""
    status, _, body = node.get(host, path)
    return body.decode() if status == 200 else str(status)


def test_what_is_not_for_this_node_leaves_the_service_alone(node: Node) -> None:
    other = "{sourceLabels: {app: other}}"
    with Origin("a") as a, Origin("b") as b:
        services = service_entry("a", a.port) + "---\n" + service_entry("b", b.port)
        node.write("services.yaml", services)
        tls = "tls: [{match: [{sniHosts: [b.example]}], route: [{destination: {host: a.example}}]}]"
        rest = f"http: [{{match: [{other}], route: [{{destination: {{host: b.example}}}}]}}]"
        node.write(
            "routes.yaml",
            virtual("b", f"hosts: [b.example], {tls}")
            + virtual("first", f"hosts: [a.example, c.example], {rest}", "2021-01-01T00:00:00Z")
            + virtual("second", f"hosts: [c.example], {to('a.example')}", "2022-01-01T00:00:00Z")
            + virtual("third", "hosts: [d.example], http: [{match: [{uri: {prefix: /x}}], "
                      "route: [{destination: {host: a.example}}]}]"),
        )  # fmt: skip
        assert eventually(lambda: origin_of(node, "c.example") == "a")
        assert origin_of(node, "b.example") == "b"  # only tls routes
        assert origin_of(node, "a.example") == "a"  # other source labels
        assert origin_of(node, "d.example", "/y") == "404"  # a path that fails
        explained = " ".join(node.cli("explain", "GET", "http://a.example/").stdout.split())
        assert "sourceLabels: wants app=other, found app=edge" in explained


def test_several_virtual_services_share_a_host_on_a_gateway_alone(node: Node) -> None:
    port = free_port()
    one = "hosts: [g.example], gateways: [mesh, edge], "
    with Origin("a") as a, Origin("b") as b:
        services = service_entry("a", a.port) + "---\n" + service_entry("b", b.port)
        node.write("services.yaml", services)
        path = "http: [{match: [{uri: {prefix: /y}}], route: [{destination: {host: b.example}}]}]"
        node.write(
            "routes.yaml",
            gateway("edge", server(port, "HTTP"))
            + virtual("g1", one + to("a.example"), "2021-01-01T00:00:00Z")
            + virtual("g2", one + path, "2022-01-01T00:00:00Z"),
        )
        eventually(lambda: b"x-origin: b" in get_or_nothing(port, "g.example", "/y"))
        assert b"x-origin: a" in get(port, "g.example", "/z")
        assert origin_of(node, "g.example", "/y") == "a"  # on the mesh the older one has it


def get_or_nothing(port: int, host: str, path: str) -> bytes:
    try:
        return get(port, host, path)
    except OSError:
        return b""


def test_a_sidecar_excludes_and_the_older_of_two_foreign_services_serves(node: Node) -> None:
    with Origin("old") as old, Origin("new") as new:
        stated = {"zzz": (old, "2021"), "aaa": (new, "2022")}
        services = "---\n".join(
            service_entry("two", origin.port).replace(
                "{name: two}",
                f"{{name: two, namespace: {space}, creationTimestamp: '{year}-01-01T00:00:00Z'}}",
            )
            for space, (origin, year) in stated.items()
        )
        node.write("services.yaml", services)
        assert eventually(lambda: origin_of(node, "two.example") == "old")
        node.write(
            "sidecar.yaml",
            f"apiVersion: {API}\nkind: Sidecar\nmetadata: {{name: s}}\n"
            "spec: {egress: [{hosts: ['*/*', '~zzz/*']}]}\n",
        )
        assert eventually(lambda: origin_of(node, "two.example") == "new")
        node.write(
            "sidecar.yaml",
            f"apiVersion: {API}\nkind: Sidecar\nmetadata: {{name: s}}\n"
            "spec: {egress: [{hosts: ['*/*', '~/two.example']}]}\n",
        )
        assert eventually(lambda: origin_of(node, "two.example") == "502")


def test_a_destination_without_port_of_several_is_no_cluster(node: Node) -> None:
    with Origin("a") as a:
        text = service_entry("many", a.port, port=8080).replace(
            "protocol: HTTP}", "protocol: HTTP}, {number: 9090, name: more, protocol: HTTP}"
        )
        node.write("services.yaml", text)
        node.write("routes.yaml", virtual("v", f"hosts: [v.example], {to('many.example')}"))
        eventually(lambda: origin_of(node, "many.example:8080") == "a")
        status, _, body = node.get("v.example")
        assert status == 503 and b"no port 80, it has 8080, 9090" in body
        assert eventually(lambda: [e for e in node.access_log() if e["response_flags"] == "NC"])


def test_tls_for_one_name_below_a_wildcard_is_originated(node: Node) -> None:
    """The request would leave in clear text without a word."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("api.wild.example").configure_cert(context)
    roots = node.directory / "roots.pem"
    authority.cert_pem.write_to_path(str(roots))
    with Origin("tls", tls=context) as origin:
        node.write(
            "wild.yaml",
            f"apiVersion: {API}\nkind: ServiceEntry\nmetadata: {{name: wild}}\n"
            "spec: {hosts: ['*.wild.example'], resolution: STATIC,\n"
            "  ports: [{number: 80, name: http, protocol: HTTP}],\n"
            f"  endpoints: [{{address: 127.0.0.1, ports: {{http: {origin.port}}}}}]}}\n"
            f"---\napiVersion: {API}\nkind: DestinationRule\nmetadata: {{name: api}}\n"
            "spec: {host: api.wild.example, trafficPolicy: {tls: {mode: SIMPLE, "
            f"caCertificates: {roots}}}}}}}\n",
        )
        assert eventually(lambda: origin_of(node, "api.wild.example") == "tls")
        name = "outbound|80||api.wild.example"
        eventually(lambda: any(e["upstream_cluster"] == name for e in node.access_log()))
