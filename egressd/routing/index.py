"""Finding the first route of a table by its path without a scan. Pure.

Plain prefixes stand in one dict a length, plain paths in another, each with the place of the first match
block that has it; the smallest place found says where a scan would have stopped at the earliest. What is
not plain (an RE2 expression, letters of either case, no condition at all) is a candidate for every path
and is looked at as a scan would.
"""

from __future__ import annotations

from egressd.routing.match import holds, match_route
from egressd.routing.request import Request
from egressd.routing.table import Match, Route, RouteTable

_LEAST = 4
"""Match blocks of a table below which a scan is as quick."""

_MOST_LENGTHS = 8
"""Different lengths of prefixes above which a scan is as quick."""

Found = tuple[Route, Match | None]


class RouteIndex:
    """The routes of one table in use."""

    __slots__ = ("_entries", "_loose", "_paths", "_prefixes", "_scans", "_table")

    def __init__(self, table: RouteTable) -> None:
        self._table = table
        self._entries: tuple[Found, ...] = tuple(
            (route, match) for route in table.routes for match in route.matches or (None,)
        )
        self._loose = len(self._entries)
        self._paths: dict[bytes, int] = {}
        prefixes: dict[int, dict[bytes, int]] = {}
        for at, (_, match) in enumerate(self._entries):
            kind = match.path_kind if match is not None else ""
            if match is None or match.path_predicate is not None or not kind:
                self._loose = min(self._loose, at)
            elif kind == "exact":
                self._paths.setdefault(match.path, at)
            else:
                prefixes.setdefault(len(match.path), {}).setdefault(match.path, at)
        self._prefixes = tuple(prefixes.items())
        self._scans = len(self._entries) < _LEAST or len(prefixes) > _MOST_LENGTHS

    def match(self, request: Request) -> Found | None:
        """The same as `match_route`."""
        if self._scans:
            return match_route(self._table, request)
        path = request.path
        entries = self._entries
        first = self._paths.get(path, self._loose)
        for length, places in self._prefixes:
            at = places.get(path[:length])
            if at is not None and at < first:
                first = at
        if first >= self._loose:
            first = self._loose
        if first == len(entries):
            return None
        entry = entries[first]
        if entry[1] is None or holds(entry[1], request):
            return entry
        return next((e for e in entries[first + 1 :] if e[1] is None or holds(e[1], request)), None)
