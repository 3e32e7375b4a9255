"""Routes that no request reaches: an earlier one takes all that they match.

A match is only said to take another's requests when that follows from the conditions as they are
written: each condition of the earlier one is implied by one of the later. What cannot be compared
(two regular expressions, say) is taken for different, so that a finding is never wrong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from egressd.analysis.finding import Finding, finding
from egressd.analysis.subject import Subject
from egressd.api.message import StringMatch
from egressd.api.virtual_service import HTTPMatchRequest, HTTPRoute, VirtualService

_LATEST = 400
"""Matches of one VirtualService that a later one is compared with: the newest of that many."""


def unreachable_routes(subject: Subject) -> Iterator[Finding]:
    """EG0201, EG0202."""
    for resource, spec in subject.each(VirtualService):
        earlier: list[tuple[str, HTTPMatchRequest]] = []
        takes_all = ""
        for index, route in enumerate(spec.http):
            path = f"spec.http[{index}]"
            if takes_all:
                yield finding("EG0201", resource, path, f"{takes_all} matches every request")
                continue
            taken = list(_taken(route, path, earlier))
            if route.match and len(taken) == len(route.match):
                by = ", ".join(dict.fromkeys(by for _, by in taken))
                yield finding("EG0201", resource, path, f"{by} takes all that it matches")
            else:
                for where, by in taken:
                    yield finding("EG0202", resource, where, f"{by} takes all that it matches")
            earlier += [(f"{path}.match[{n}]", match) for n, match in enumerate(route.match)]
            del earlier[:-_LATEST]
            if not route.match or any(_is_always(match) for match in route.match):
                # A delegate may match less than its root.
                takes_all = path if route.delegate is None else ""


def _taken(
    route: HTTPRoute, path: str, earlier: list[tuple[str, HTTPMatchRequest]]
) -> Iterator[tuple[str, str]]:
    own: list[tuple[str, HTTPMatchRequest]] = []
    for number, match in enumerate(route.match):
        where = f"{path}.match[{number}]"
        by = next((place for place, one in earlier if covers(one, match)), "")
        if not by and not (match.uri is not None and match.uri.exact is not None):
            # An exact path beside its prefix says the same of one route: Istio lets it pass, too.
            by = next((place for place, one in own if covers(one, match)), "")
        if by:
            yield where, by
        own.append((where, match))


def _is_always(match: HTTPMatchRequest) -> bool:
    return covers(match, HTTPMatchRequest(uri=StringMatch(prefix="/")))


def covers(wide: HTTPMatchRequest, narrow: HTTPMatchRequest) -> bool:
    """Whether every request that `narrow` matches is matched by `wide`."""
    return (
        _uri_covers(wide, narrow)
        and _one(wide.method, narrow.method)
        and _one(wide.scheme, narrow.scheme)
        and _one(wide.authority, narrow.authority)
        and _maps(wide.headers, narrow.headers)
        and _maps(wide.query_params, narrow.query_params)
        and wide.without_headers.items() <= narrow.without_headers.items()
        and (not wide.port or wide.port == narrow.port)
        and wide.source_labels.items() <= narrow.source_labels.items()
        and wide.source_namespace in ("", narrow.source_namespace)
        and (
            not wide.gateways
            or (bool(narrow.gateways) and set(narrow.gateways) <= set(wide.gateways))
        )
    )


def _uri_covers(wide: HTTPMatchRequest, narrow: HTTPMatchRequest) -> bool:
    if wide.uri is None or (wide.uri.prefix == "/" and not wide.uri.regex):
        return True
    if narrow.uri is None:
        return False
    if wide.ignore_uri_case:
        return _one(_folded(wide.uri), _folded(narrow.uri))
    return not (narrow.ignore_uri_case and _has_letters(narrow.uri)) and _one(wide.uri, narrow.uri)


def _folded(match: StringMatch) -> StringMatch:
    if match.regex is not None:
        return match
    return StringMatch(
        exact=None if match.exact is None else match.exact.lower(),
        prefix=None if match.prefix is None else match.prefix.lower(),
    )


def _has_letters(match: StringMatch) -> bool:
    text = match.exact or match.prefix or ""
    return match.regex is not None or text.lower() != text.upper()


def _one(wide: StringMatch | None, narrow: StringMatch | None) -> bool:
    if wide is None:
        return True
    if narrow is None:
        return False
    if wide == narrow:
        return True
    if wide.exact is not None or wide.regex is not None:
        return False
    prefix = wide.prefix or ""
    inner = narrow.exact if narrow.exact is not None else narrow.prefix
    return inner is not None and inner.startswith(prefix)


def _maps(wide: Mapping[str, StringMatch], narrow: Mapping[str, StringMatch]) -> bool:
    known = {name.lower(): match for name, match in narrow.items()}
    for name, match in wide.items():
        other = known.get(name.lower())
        if other is None or not _one(match, other):
            return False
    return True
