"""Explain says what the compiled tables decide: the golden tables through both."""

from __future__ import annotations

import pytest

from egressd.api.resource import Resource
from egressd.explain.model import Explanation
from egressd.explain.policies import authorization
from egressd.explain.question import Node
from egressd.explain.text import render_text
from egressd.explain.walk import explain
from egressd.registry.memory import MemoryView
from egressd.registry.profile import NodeProfile
from egressd.registry.records import Record
from egressd.registry.view import RegistryView
from egressd.routing.authority import parse_authority
from egressd.routing.authorization import compile_authorizer
from egressd.routing.table import RouteTable
from egressd.routing.virtual_host import compile_routes
from tests.explain.questions import request, step
from tests.routing import authorization_rows
from tests.routing.decisions import NAMES, ROWS, NameRow, Row
from tests.routing.decisions_actions import ACTION_ROWS
from tests.routing.decisions_delegate import DELEGATES, DelegateRow
from tests.routing.decisions_match import MATCH_ROWS
from tests.routing.decisions_names import SEEN, SeenRow
from tests.routing.test_authorization import PROFILE, facts, policies
from tests.routing.test_decisions import ANY_METHOD, decide, entry, request_of, view_of, virtual
from tests.routing.test_names import resource_text

SHOP = NodeProfile(labels={"app": "shop"})
SERVICES = (entry("a.example", "80 8080"), entry("b.example"), entry("vs.example", "80 8080"))


def outcome(found: Explanation) -> str:
    """In the words of the golden tables."""
    if found.destinations:
        line = found.destinations[0]
        assert line.sent is not None
        shares = sum(one.share for one in found.destinations)
        assert shares == pytest.approx(100.0, abs=0.1)
        return f"{line.cluster} {line.sent.target}"
    location = dict(found.outcome.headers).get("location")
    if location is not None:
        return f"{found.outcome.status} {location}"
    is_direct = any(one.name == "answer" for one in found.steps)
    return f"={found.outcome.status}" if is_direct else str(found.outcome.status)


def agree(view: RegistryView, text: str) -> None:
    """The compiled table's decision and explain's outcome on one request."""
    wanted, port = request_of(text)
    decision = decide(compile_routes(view, wanted.host, port, profile=SHOP), wanted)
    found = explain(Node(view, SHOP, methods=ANY_METHOD), request(text))
    clusters = {line.cluster for line in found.destinations}
    said = outcome(found)
    if clusters:
        cluster, _, target = decision.partition(" ")
        assert cluster in clusters
        assert said.partition(" ")[2] == target
    else:
        assert said == decision
    rendered = render_text(found)
    for one in (c for s in found.steps for c in s.considered):
        assert one.chosen or one.why, one
    assert rendered.startswith(text.rstrip())


@pytest.mark.parametrize(
    "row", [*ROWS, *MATCH_ROWS, *ACTION_ROWS], ids=lambda r: f"{r.rule}: {r.request}"
)
def test_on_routes(row: Row) -> None:
    agree(view_of(*SERVICES, virtual("vs", ["vs.example"], row.spec)), row.request)


@pytest.mark.parametrize("row", DELEGATES, ids=lambda row: row.rule)
def test_on_delegates(row: DelegateRow) -> None:
    root = f"[{{{row.root}{row.root and ', '}delegate: {{name: leaf}}}}]"
    leaf = virtual("leaf", [], f"[{{{row.leaf}}}]")
    agree(view_of(*SERVICES, virtual("vs", ["vs.example"], root), leaf), row.request)


def _same_claim(table: RouteTable | None, found: Explanation) -> None:
    name = step(found, "name")
    if table is None:
        assert (name.by, found.outcome.status) == (None, 502)
        return
    assert name.by is not None
    assert name.by.ref == table.resource
    assert name.says.partition(":")[0] == table.claim


@pytest.mark.parametrize("row", NAMES, ids=lambda row: row.rule)
def test_on_names(row: NameRow) -> None:
    documents = [entry(host) for host in row.services.split()]
    for word in row.virtual.split():
        name, _, hosts = word.partition("=")
        route = "[{route: [{destination: {host: x.example}}]}]"
        documents.append(virtual(name, hosts.split(","), route))
    view = view_of(*documents)
    host, port, _ = parse_authority(row.host.encode())
    _same_claim(compile_routes(view, host, port), explain(Node(view), request("GET /", row.host)))


@pytest.mark.parametrize("row", SEEN, ids=lambda row: row.rule)
def test_on_what_is_seen(row: SeenRow) -> None:
    view = view_of(*(resource_text(text) for text in row.resources.split(";")))
    profile = NodeProfile(namespace=row.client)
    table = compile_routes(view, row.host, None, profile=profile)
    _same_claim(table, explain(Node(view, profile), request("GET /", row.host)))


def _view(resources: list[Resource]) -> MemoryView:
    return MemoryView([Record(resource=resource, source="test") for resource in resources])


@pytest.mark.parametrize(
    "row", authorization_rows.ROWS, ids=lambda row: f"{row.rule}: {row.request}"[:90]
)
def test_on_policies(row: authorization_rows.Row) -> None:
    view = _view(policies(row.policies))
    authorizer = compile_authorizer(view, PROFILE)
    asked = facts(row.request)
    said, verdict = authorization(Node(view, PROFILE), authorizer, asked)
    decided = None if authorizer is None else authorizer.decide(asked)
    assert verdict.allowed is (row.verdict == "allow")
    assert decided is None or verdict == decided
    chosen = [one for one in said.considered if one.chosen]
    if verdict.rule not in ("", "none"):
        assert [one.why for one in chosen] == [("it matches",)]
        assert said.by is not None and said.by.field in chosen[0].what
    else:
        assert not chosen
    for one in said.considered:
        assert one.why and all(one.why), one
    if verdict.allowed and verdict.rule == "":
        denying = [one for one in said.considered if "(DENY)" in one.what]
        assert not any(one.why[0].startswith("it matches") for one in denying)


def _comes_in(row: authorization_rows.Row) -> bool:
    """Whether a request of the node's own HTTP listener can have the facts of a row."""
    method, _, *rest = row.request.split(" ")
    names = {fact.partition("=")[0] for fact in rest}
    return method not in ("TCP", "CONNECT") and not {"sni", "to", "port"} & names


@pytest.mark.parametrize(
    "row",
    [row for row in authorization_rows.ROWS if _comes_in(row)],
    ids=lambda row: f"{row.rule}: {row.request}"[:90],
)
def test_on_policies_from_the_listener_on(row: authorization_rows.Row) -> None:
    method, target, *rest = row.request.split(" ")
    known = dict(fact.partition("=")[::2] for fact in rest)
    fields = [f"{name[2:]}: {value}" for name, value in known.items() if name.startswith("h:")]
    authority, slash, path = target.partition("/")
    found = explain(
        Node(_view(policies(row.policies)), PROFILE),
        request(
            " ".join((f"{method} {slash or '/'}{path}", *fields)),
            authority,
            source=known.get("ip", ""),
            principal=known.get("principal", ""),
        ),
    )
    assert found.outcome.status == (502 if row.verdict == "allow" else 403)
