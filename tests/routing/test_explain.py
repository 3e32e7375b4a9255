"""Explain says the same as the hot path, with the reasons."""

from __future__ import annotations

import pytest

from egressd.registry.lookup import candidates
from egressd.routing.compile import compile_routes
from egressd.routing.explain import explain, render_table, render_text
from tests.routing.decisions import ROWS, Row
from tests.routing.test_decisions import decide, entry, request_of, view_of, virtual


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.rule}: {row.request}")
def test_explanation_agrees_with_the_decision(row: Row) -> None:
    view = view_of(
        entry("a.example", "80 8080"), entry("b.example"), entry("vs.example", "80 8080"),
        virtual("vs", ["vs.example"], row.spec),
    )  # fmt: skip
    request, port = request_of(row.request)
    decision = decide(compile_routes(view, request.host, port), request)
    found = explain(view, request, port)
    if decision.startswith("outbound"):
        cluster, _, path = decision.partition(" ")
        assert cluster in [target.cluster for target in found.destinations]
        assert found.path == path
    else:
        assert str(found.status) == decision.removeprefix("=").partition(" ")[0]
        assert found.location == decision.partition(" ")[2]
    assert found.claims_tried == tuple(candidates("vs.example"))
    text = render_text(found)
    for step in found.tried:
        assert step.route in text
        assert step.matched or step.why


def test_the_reason_names_condition_and_value() -> None:
    spec = "[{match: [{headers: {x-user: {exact: jason}}}], route: [{destination: {host: a}}]}]"
    request, port = request_of("GET / x-user: bob")
    found = explain(view_of(virtual("vs", ["vs.example"], spec)), request, port)
    assert found.tried[0].why == ('match[0].headers[x-user]: wants exact "jason", found "bob"',)
    assert found.status == 404


def test_an_unknown_name_is_told_by_policy() -> None:
    request, port = request_of("GET /", "no.example")
    assert explain(view_of(entry("a.example")), request, port).status == 502
    allowed = explain(view_of(entry("a.example")), request, port, allow_any=True)
    assert "ALLOW_ANY" in allowed.result


def test_a_table_renders_to_text() -> None:
    spec = (
        "[{match: [{uri: {prefix: /x}}], timeout: 3s, route: [{destination: {host: a.example}}]}]"
    )
    table = compile_routes(view_of(virtual("vs", ["vs.example"], spec)), "vs.example", None)
    assert table is not None
    text = render_table(table)
    assert 'when uri prefix "/x"' in text
    assert "outbound|80||a.example weight 100" in text
    assert "timeout 3 s" in text
