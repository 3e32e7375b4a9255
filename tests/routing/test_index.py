"""The index finds what a scan finds, whatever the table and the request."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from egressd.api.message import StringMatch
from egressd.api.virtual_service import HTTPMatchRequest
from egressd.routing.conditions import compile_match
from egressd.routing.index import RouteIndex
from egressd.routing.match import match_route
from egressd.routing.request import Request
from egressd.routing.table import Route, RouteTable

PATHS = ["/", "/a", "/A", "/a/b", "/a.b", "/ab", "/a(b", "/a\nb", "/b", "/é", "//"]
TEXT = st.sampled_from(PATHS)
URI = st.one_of(
    st.none(), st.builds(StringMatch, exact=TEXT), st.builds(StringMatch, prefix=TEXT),
    st.builds(StringMatch, regex=st.sampled_from(["/a.*", "/[ab]", "x"])),
)  # fmt: skip
BLOCK = st.builds(
    HTTPMatchRequest,
    uri=URI,
    ignore_uri_case=st.booleans(),
    method=st.none() | st.builds(StringMatch, exact=st.sampled_from(["GET", "PUT"])),
)
ROUTES = st.lists(st.lists(BLOCK, max_size=3), min_size=1, max_size=8)


@settings(max_examples=400, deadline=None)
@given(ROUTES, st.lists(st.tuples(st.sampled_from(["GET", "PUT"]), TEXT), min_size=1, max_size=6))
def test_the_index_finds_what_a_scan_finds(
    routes: list[list[HTTPMatchRequest]], asked: list[tuple[str, str]]
) -> None:
    compiled = tuple(
        Route(str(n), "", tuple(compile_match(block, m) for m, block in enumerate(blocks)))
        for n, blocks in enumerate(routes)
    )
    table = RouteTable("a", "", 80, compiled, frozenset())
    index = RouteIndex(table)
    for _ in range(2):
        for method, path in asked:
            request = Request(method.encode(), path.encode(), b"", b"a", "a", 80)
            assert index.match(request) == match_route(table, request)
