"""Compiled routes as text."""

from __future__ import annotations

from egressd.routing.virtual_host import compile_routes
from egressd.routing.words import render_table
from tests.routing.test_decisions import view_of, virtual


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
