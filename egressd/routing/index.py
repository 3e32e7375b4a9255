"""Finding the first route of a table by its path in one step. Pure.

All path conditions of a table are one regular expression whose alternatives stand in the order of the
routes; the first that fits says where a scan would have stopped at the earliest. What is not a plain
prefix or path (RE2 expressions, no condition at all) always fits and is looked at as a scan would. It
costs a millisecond to build, so it is built for tables that are in use.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from egressd.routing.match import holds, match_route
from egressd.routing.request import Request
from egressd.routing.table import Match, Route, RouteTable

_BUILD_AFTER = 16
"""Requests to a table before its index is worth its cost."""

_LEAST = 4
"""Match blocks of a table below which a scan is as quick."""

Found = tuple[Route, Match | None]


class RouteIndex:
    """The routes of one table in use."""

    __slots__ = ("_entries", "_first", "_table", "_uses")

    def __init__(self, table: RouteTable) -> None:
        self._table = table
        self._uses = 0 if sum(len(r.matches) or 1 for r in table.routes) >= _LEAST else -1
        self._entries: tuple[Found, ...] = ()
        self._first: re.Pattern[bytes] | None = None

    def match(self, request: Request) -> Found | None:
        """The same as `match_route`."""
        first = self._first
        if first is None:
            if self._uses >= 0:
                self._uses += 1
                if self._uses > _BUILD_AFTER:
                    self._build()
            return match_route(self._table, request)
        found = first.match(request.path)
        if found is None:
            return None
        at = (found.lastindex or 1) - 1
        entries = self._entries
        entry = entries[at]
        if entry[1] is None or holds(entry[1], request):
            return entry
        return next((e for e in entries[at + 1 :] if e[1] is None or holds(e[1], request)), None)

    def _build(self) -> None:
        entries: list[Found] = []
        for route in self._table.routes:
            entries += [(route, match) for match in route.matches] or [(route, None)]
        self._entries = tuple(entries)
        self._first = re.compile(b"|".join(_alternatives(entries)))
        self._uses = -1


def _alternatives(entries: list[Found]) -> Iterator[bytes]:
    for _, match in entries:
        if match is None or match.path_kind not in ("prefix", "exact"):
            yield b"()"
            continue
        text = re.escape(match.path)
        text += rb"\Z" if match.path_kind == "exact" else b""
        yield b"((?i:%b))" % text if match.ignore_case else b"(%b)" % text
