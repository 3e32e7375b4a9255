"""Which Sidecar is the node's, and what it leaves of the mesh."""

from __future__ import annotations

import pytest

from egressd.api.parse import parse_text
from egressd.api.resource import Kind
from egressd.registry.claims import MESH
from egressd.registry.lookup import find_service, find_virtual_services
from egressd.registry.memory import MemoryView
from egressd.registry.profile import NodeProfile
from egressd.registry.records import Record
from egressd.registry.sidecar import (
    EgressHost,
    EgressListener,
    choose_sidecar,
    mesh_scope,
    sidecar_listeners,
)
from egressd.registry.view import RegistryView
from egressd.routing.virtual_host import compile_routes

PROFILE = NodeProfile(namespace="shop", labels={"app": "gw"}, allow_any=True)


def resource(kind: str, name: str, namespace: str, spec: str, created: str = "''") -> str:
    return (
        f"apiVersion: networking.istio.io/v1\nkind: {kind}\n"
        f"metadata: {{name: {name}, namespace: {namespace}, creationTimestamp: {created}}}\n"
        f"spec: {spec}\n"
    )


def service(host: str, namespace: str) -> str:
    name = f"s-{host.replace('*', 'w').replace('.', '-')}"
    ports = "[{number: 80, name: http, protocol: HTTP}]"
    return resource("ServiceEntry", name, namespace, f"{{hosts: ['{host}'], ports: {ports}}}")


def routes(host: str, namespace: str, to: str) -> str:
    spec = f"{{hosts: ['{host}'], http: [{{route: [{{destination: {{host: {to}}}}}]}}]}}"
    return resource("VirtualService", "v", namespace, spec)


def sidecar(hosts: str, name: str = "s", namespace: str = "shop", more: str = "") -> str:
    return resource("Sidecar", name, namespace, f"{{egress: [{{hosts: [{hosts}]}}]{more}}}")


def view(*texts: str) -> RegistryView:
    parsed = parse_text("---\n".join(texts), "a.yaml")
    assert parsed.errors == (), parsed.errors
    return MemoryView([Record(resource=r, source="test") for r in parsed.resources])


SERVICES = (
    service("a.example", "shop"),
    service("b.example", "shop"),
    service("x.other.example", "prod"),
    service("*.wild.example", "prod"),
)
NAMES = ("a.example", "b.example", "x.other.example", "n.wild.example")


@pytest.mark.parametrize(
    ("hosts", "seen"),
    [
        ("'*/*'", "a b x n"),
        ("'./*'", "a b"),
        ("shop/*", "a b"),
        ("prod/*", "x n"),
        ("./A.example.", "a"),
        ("prod/a.example", ""),
        ("'*/*.example'", "a b x n"),
        ("'*/*.other.example'", "x"),
        ("'prod/*.wild.example'", "n"),
        ("prod/n.wild.example", ""),
        ("'./a.example', prod/x.other.example", "a x"),
        ("'~/*'", ""),
        ("'~/*', ./b.example", "b"),
        ("'*/*', '~shop/*'", "x n"),
        ("'*/*', '~shop/a.example'", "b x n"),
        ("'*/*', '~prod/a.example'", "a b x n"),  # of another namespace
        ("'*/*', '~/a.example'", "b x n"),
        ("'*/*', '~/*.example'", ""),
        ("'*/*', '~/*.other.example'", "a b n"),
        ("'*/*', '~/n.wild.example'", "a b x n"),  # a part of *.wild.example is not taken out
        ("'*/*', '~/*.wild.example'", "a b x"),
        ("'*/*', '~./*'", "x n"),
        ("'~shop/*', '*/*'", "x n"),  # in any order
        ("'~shop/*'", ""),
        ("shop/*, '~shop/A.example.'", "b"),
        ("shop/a.example, '~shop/*'", ""),
    ],
)
def test_hosts_decide_which_services_are_seen(hosts: str, seen: str) -> None:
    mesh = mesh_scope(view(*SERVICES, sidecar(hosts)), PROFILE)
    found = [name[0] for name in NAMES if find_service(mesh.view, name) is not None]
    assert found == seen.split()


def test_without_a_sidecar_everything_is_as_the_node_says() -> None:
    bare = view(*SERVICES)
    mesh = mesh_scope(bare, PROFILE)
    assert (mesh.view, mesh.allow_any, mesh.sidecar) == (bare, True, "")


def test_a_virtual_service_is_seen_by_its_own_namespace_and_leads_anywhere() -> None:
    """Istio imports the clusters of its destinations, not their names."""
    texts = (*SERVICES, routes("new.example", "shop", "x.other.example"), sidecar("./new.example"))
    mesh = mesh_scope(view(*texts), PROFILE)
    table = compile_routes(mesh.view, "new.example", 80, profile=PROFILE)
    assert table is not None
    assert str(table.routes[0].destinations[0].key) == "outbound|80||x.other.example"
    assert find_service(mesh.view, "x.other.example") is None
    assert find_service(mesh.view, "a.example") is None
    hidden = mesh_scope(view(*texts[:-1], sidecar("prod/new.example")), PROFILE)
    assert not list(find_virtual_services(hidden.view, "new.example", MESH, "shop"))


def test_a_short_host_of_a_virtual_service_is_seen_by_its_full_name() -> None:
    full = "new.shop.svc.cluster.local"
    mesh = mesh_scope(view(routes("new", "shop", "a.example"), sidecar(f"./{full}")), PROFILE)
    assert list(find_virtual_services(mesh.view, full, MESH, "shop"))


def test_other_kinds_are_seen_whole() -> None:
    rule = resource("DestinationRule", "r", "prod", "{host: x.other.example}")
    mesh = mesh_scope(view(rule, *SERVICES, sidecar("./a.example")), PROFILE)
    assert mesh.view.claims(Kind.DESTINATION_RULE, "x.other.example")
    assert len(mesh.view.records(Kind.SERVICE_ENTRY)) == 1


POLICY = ", outboundTrafficPolicy: "


@pytest.mark.parametrize(
    ("policy", "allow_any"),
    [
        ("", True),
        (f"{POLICY}{{}}", False),
        (f"{POLICY}{{mode: REGISTRY_ONLY}}", False),
        (f"{POLICY}{{mode: ALLOW_ANY}}", True),
    ],
)
def test_the_outbound_traffic_policy_replaces_the_nodes(policy: str, allow_any: bool) -> None:
    assert mesh_scope(view(sidecar("'*/*'", more=policy)), PROFILE).allow_any is allow_any


def test_the_egress_proxy_is_where_unknown_names_go() -> None:
    proxy = "{mode: ALLOW_ANY, egressProxy: {host: p.example, port: {number: 3128}}}"
    found = mesh_scope(view(sidecar("'*/*'", more=f"{POLICY}{proxy}")), PROFILE).egress_proxy
    assert found is not None
    assert found.host == "p.example"


def chosen(*texts: str) -> str:
    found = choose_sidecar(view(*texts), PROFILE)
    return found.metadata.name if found is not None else ""


def selecting(name: str, labels: str, namespace: str = "shop") -> str:
    return sidecar("'*/*'", name, namespace, f", workloadSelector: {{labels: {labels}}}")


def test_the_sidecar_of_the_labels_comes_before_that_of_the_namespace_and_that_of_the_root() -> (
    None
):
    root, space = sidecar("'*/*'", "root", "istio-system"), sidecar("'*/*'", "space")
    assert chosen(root, space, selecting("mine", "{app: gw}")) == "mine"
    assert chosen(root, space, selecting("theirs", "{app: x}")) == "space"
    assert chosen(root, selecting("theirs", "{app: x}")) == "root"
    assert chosen(selecting("elsewhere", "{app: gw}", "prod")) == ""
    assert chosen(selecting("root", "{app: gw}", "istio-system")) == ""
    assert chosen(sidecar("'*/*'", "other", "prod")) == ""


def test_of_several_sidecars_the_oldest_is_the_nodes() -> None:
    def made(name: str, created: str) -> str:
        return resource("Sidecar", name, "shop", "{egress: [{hosts: ['*/*']}]}", created)

    new, old = made("a", "2024-06-01T00:00:00Z"), made("b", "2023-06-01T00:00:00Z")
    assert chosen(new, old) == "b"
    assert chosen(made("d", "''"), made("c", "''")) == "c"


def test_the_root_namespaces_dot_is_the_nodes_namespace() -> None:
    mesh = mesh_scope(view(*SERVICES, sidecar("'./*'", "root", "istio-system")), PROFILE)
    assert find_service(mesh.view, "a.example") is not None


def test_a_listener_with_a_port_has_hosts_of_its_own() -> None:
    spec = (
        "{egress: [{port: {number: 3306, protocol: mysql}, bind: 127.0.0.1, hosts: [./a.example]}, "
        "{hosts: ['prod/*']}]}"
    )
    found = view(*SERVICES, resource("Sidecar", "s", "shop", spec))
    assert sidecar_listeners(found, PROFILE) == (
        EgressListener("127.0.0.1", 3306, "MYSQL", (EgressHost("shop", "a.example"),)),
    )
    assert sidecar_listeners(view(), PROFILE) == ()
    mesh = mesh_scope(found, PROFILE)
    assert find_service(mesh.view, "a.example") is None
    assert find_service(mesh.view, "x.other.example") is not None


def test_without_a_listener_for_all_other_ports_everything_named_is_seen() -> None:
    spec = "{egress: [{port: {number: 3306, protocol: mysql}, hosts: [./a.example]}]}"
    mesh = mesh_scope(view(*SERVICES, resource("Sidecar", "s", "shop", spec)), PROFILE)
    assert find_service(mesh.view, "a.example") is not None
    assert find_service(mesh.view, "b.example") is None
