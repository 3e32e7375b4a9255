"""Warns of routes that no request reaches (Istio `analyzeUnreachableHTTPRules`)."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from egressd.api.report import Report
from egressd.api.virtual_service import (
    HTTPMatchRequest,
    HTTPRoute,
    TCPRoute,
    TLSRoute,
    VirtualService,
)


def warn_unreachable(spec: VirtualService, report: Report) -> None:
    """Reports routes behind one that takes everything, and matches that stand there twice."""
    for name, routes in (("http", spec.http), ("tls", spec.tls), ("tcp", spec.tcp)):
        _warn(routes, f"spec.{name}", report)


def _warn(routes: Sequence[HTTPRoute | TLSRoute | TCPRoute], path: str, report: Report) -> None:
    catch_all = -1
    seen: dict[bytes, str] = {}
    for index, route in enumerate(routes):
        where = f"{path}[{index}]"
        if catch_all >= 0:
            found = f"a route after {path}[{catch_all}], which has no match and takes everything"
            report.warn(where, found, "the route without match in the last place")
            continue
        if not route.match:
            catch_all = index
        for number, match in enumerate(route.match):
            bare = (
                msgspec.structs.replace(match, name="")
                if isinstance(match, HTTPMatchRequest)
                else match
            )
            key = msgspec.json.encode(bare, order="deterministic")
            place = f"{where}.match[{number}]"
            if key in seen:
                report.warn(place, f"the same match as {seen[key]}", "a match not used before")
            seen.setdefault(key, place)
