"""The golden tables of visibility and DestinationRule choice, and what holds for every name."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egressd.api.crosscheck import host_conflicts
from egressd.api.destination_rule import DestinationRule
from egressd.api.resource import Kind
from egressd.registry.merge import Merger
from egressd.registry.profile import NodeProfile
from egressd.registry.records import Snapshot
from egressd.registry.rules import find_destination_rules
from egressd.registry.visibility import VisibleView
from egressd.routing.match import match_route, rewrite_path
from egressd.routing.virtual_host import compile_routes
from egressd.upstream.policy import effective_policy
from tests.routing.decisions import TO_A
from tests.routing.decisions_names import RULES, SEEN, RuleRow, SeenRow
from tests.routing.test_decisions import API, decide, entry, request_of, view_of, virtual


def _document(kind: str, name: str, spec: str, more: str = "") -> str:
    namespace, _, short = name.partition("/")
    return (
        f"apiVersion: {API}\nkind: {kind}\n"
        f"metadata: {{name: {short}, namespace: {namespace}{more}}}\nspec: {{{spec}}}\n"
    )


def resource_text(text: str) -> str:
    """A resource of a `SeenRow` as YAML."""
    kind, name, host, *rest = text.split()
    spec = f"hosts: ['{host}']"
    if rest:
        spec += f", exportTo: {rest[0].split(',')}"
    if kind == "vs":
        return _document("VirtualService", name, f"{spec}, http: [{{{TO_A}}}]")
    resolution = "NONE" if "*" in host else "STATIC, endpoints: [{address: 10.0.0.1}]"
    ports = "ports: [{number: 80, name: http, protocol: HTTP}]"
    return _document("ServiceEntry", name, f"{spec}, {ports}, resolution: {resolution}")


@pytest.mark.parametrize("row", SEEN, ids=lambda row: row.rule)
def test_what_a_client_sees(row: SeenRow) -> None:
    view = view_of(*map(resource_text, row.resources.split(";")))
    table = compile_routes(view, row.host, None, profile=NodeProfile(namespace=row.client))
    found = "502" if table is None else table.resource.partition("/")[2]
    assert found == row.decision


def _rule(text: str) -> str:
    name, host, *words = text.split()
    given = dict(word.split("=") for word in words)
    spec = f"host: '{host}'"
    if "exportTo" in given:
        spec += f", exportTo: ['{given['exportTo']}']"
    if "when" in given:
        labels = ", ".join(pair.replace(":", ": ") for pair in given["when"].split("+"))
        spec += f", workloadSelector: {{matchLabels: {{{labels}}}}}"
    if "subsets" in given:
        spec += f", subsets: [{{name: {given['subsets']}, labels: {{v: x}}}}]"
    if "policy" in given:
        pool = f"{{tcp: {{maxConnections: {given['policy']}}}}}"
        spec += f", trafficPolicy: {{connectionPool: {pool}}}"
    at = f", creationTimestamp: '{given['at']}-01-01T00:00:00Z'" if "at" in given else ""
    return _document("DestinationRule", name, spec, at)


@pytest.mark.parametrize("row", RULES, ids=lambda row: row.rule)
def test_which_destination_rule_applies(row: RuleRow) -> None:
    profile = NodeProfile(namespace=row.client, labels={"app": "shop"}, root_namespace="root")
    documents = [_rule(text) for text in row.rules.split(";") if text]
    view = VisibleView(view_of(*documents, entry("z.example")), row.client)
    records = find_destination_rules(view, "x.foo.example", profile, "svc").rules
    words = ["-"]
    if records:
        words = [records[0].resource.metadata.name]
        specs = [r.resource.spec for r in records if isinstance(r.resource.spec, DestinationRule)]
        if subsets := {subset.name for spec in specs for subset in spec.subsets}:
            words.append(",".join(sorted(subsets)))
        pool = effective_policy(records, "", 80).connection_pool.value
        if pool is not None and pool.tcp is not None:
            words.append(str(pool.tcp.max_connections))
    assert " ".join(words) == row.decision


# --- delegates across namespaces -----------------------------------------------------------------


def _delegated(
    root: str, leaf: str, export: str, destination: str = "a.example", more: str = ""
) -> str:
    root_spec = (
        f"hosts: [vs.example], http: [{{{more}delegate: {{name: leaf, namespace: {leaf}}}}}]"
    )
    route = f"[{{route: [{{destination: {{host: {destination}}}}}]}}]"
    return "---\n".join(
        (
            _document("VirtualService", f"{root}/vs", root_spec),
            _document("VirtualService", f"{leaf}/leaf", f"http: {route}{export}"),
        )
    )


@pytest.mark.parametrize(
    ("export", "client", "found"),
    [
        ("", "cli", True),
        (", exportTo: [root]", "cli", True),  # the root's namespace counts, not the client's
        (", exportTo: [cli]", "cli", False),
        (", exportTo: ['.']", "cli", False),
        (", exportTo: ['*']", "cli", True),
    ],
)
def test_a_delegate_is_exported_to_the_namespace_of_its_root(
    export: str, client: str, found: bool
) -> None:
    view = view_of(_delegated("root", "leaf", export))
    table = compile_routes(view, "vs.example", None, profile=NodeProfile(namespace=client))
    assert (table is not None) is found


def test_names_are_relative_to_the_resource_that_says_them() -> None:
    mirror = "mirror: {host: shadow}, "
    services = [
        resource_text(f"se {ns}/{name}-{ns} {name}.{ns}.svc.cluster.local")
        for ns in ("root", "leaf")
        for name in ("web", "shadow")
    ]
    view = view_of(*services, _delegated("root", "leaf", "", "web", mirror))
    table = compile_routes(view, "vs.example", None)
    assert table is not None
    (route,) = table.routes
    assert route.destinations[0].key.host == "web.leaf.svc.cluster.local"
    assert route.mirrors[0].key.host == "shadow.root.svc.cluster.local"


# --- conflicts -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "conflict"),
    [
        ("a/v x.example", "b/v x.example", True),
        ("a/v x.example .", "b/v x.example .", False),
        ("a/v x.example .", "b/v x.example", False),  # Istio: the private one comes first
        ("a/v x.example c", "b/v x.example c,d", True),
        ("a/v x.example c", "b/v x.example d", False),
        ("a/v x.example c", "b/v x.example", False),  # by name before for all
        ("a/v x.example b", "b/v x.example .", False),  # private before by name
        ("a/v web", "b/v web", False),  # short for two services
        ("a/v web", "b/v web.a.svc.cluster.local", True),
        ("a/v X.example", "b/v x.example", True),
    ],
)
def test_two_virtual_services_conflict_where_a_namespace_sees_both(
    one: str, other: str, conflict: bool
) -> None:
    merger = Merger(["files"])
    view = view_of(resource_text(f"vs {one}"), resource_text(f"vs {other}"))
    records = view.records(Kind.VIRTUAL_SERVICE)
    named = tuple(msgspec.structs.replace(record, source="files") for record in records)
    merger.apply("files", Snapshot(records=named))
    merger.changes()
    assert bool(host_conflicts(record.resource for record in records)) is conflict
    assert bool(merger.conflicts) is conflict


# --- properties ----------------------------------------------------------------------------------

HOSTS = ("x.b.foo.example", "*.b.foo.example", "*.foo.example", "*.example", "*")


@given(st.permutations(HOSTS[:4]), st.integers(1, 4))
@settings(max_examples=60, deadline=None)
def test_the_most_specific_host_wins_in_any_order(order: list[str], count: int) -> None:
    claimed = order[:count]
    view = view_of(*[virtual(f"v{n}", [host], f"[{{{TO_A}}}]") for n, host in enumerate(claimed)])
    table = compile_routes(view, "x.b.foo.example", None)
    assert table is not None
    assert table.claim == min(claimed, key=HOSTS.index)


PATHS = st.text("abc/%2.-_~", max_size=12)


@given(PATHS, st.text("abc=&%20/?", max_size=12), st.sampled_from(["/", "/n", "/n/m/"]))
@settings(max_examples=150, deadline=None)
def test_a_prefix_rewrite_keeps_the_rest_and_the_query(rest: str, query: str, to: str) -> None:
    spec = f"[{{match: [{{uri: {{prefix: /api}}}}], rewrite: {{uri: {to}}}, {TO_A}}}]"
    table = compile_routes(view_of(virtual("vs", ["vs.example"], spec)), "vs.example", None)
    request, _ = request_of("GET /")
    request.path, request.query = f"/api{rest}".encode(), query.encode()
    assert table is not None
    found = match_route(table, request)
    assert found is not None
    assert rewrite_path(*found, request.path) == f"{to}{rest}".encode()


@given(st.lists(st.sampled_from(["/a", "/b", "/c"]), min_size=1, max_size=4, unique=True))
@settings(max_examples=30, deadline=None)
def test_a_delegate_serves_nothing_outside_its_root(prefixes: list[str]) -> None:
    matches = ", ".join(f"{{uri: {{prefix: {prefix}}}}}" for prefix in prefixes)
    root = "[{match: [{uri: {prefix: /a}}], delegate: {name: leaf}}]"
    leaf = f"[{{match: [{matches}], {TO_A}}}]"
    view = view_of(virtual("vs", ["vs.example"], root), virtual("leaf", [], leaf))
    for path in ("/b", "/c"):
        request, port = request_of(f"GET {path}")
        assert decide(compile_routes(view, "vs.example", port), request) in ("404", "502")
