"""What routes are made of: destinations, weights, string matches, header operations."""

from __future__ import annotations

from collections.abc import Mapping

from egressd.api.decode import join
from egressd.api.grammar import authority_fault, token_fault
from egressd.api.message import StringMatch
from egressd.api.names import (
    A_WILDCARD_HOST,
    frames_message,
    is_authority,
    is_host_label,
    is_match_header,
    regex_fault,
)
from egressd.api.report import Report, quoted
from egressd.api.rules.shared import check_port, check_wide_host
from egressd.api.virtual_service import Destination, HeaderOperations, Headers

A_HEADER_NAME = "a header name of letters, digits, '-' and '_'"
A_MATCH_HEADER = "a header name (RFC 9110 5.6.2), or a pseudo header such as :authority"


def check_destination(destination: Destination | None, path: str, report: Report) -> None:
    """Istio `validateDestination`."""
    if destination is None:
        return
    if destination.host == "*":
        report.error(f"{path}.host", '"*"', A_WILDCARD_HOST)
    else:
        check_wide_host(destination.host, f"{path}.host", report)
    if destination.subset and not is_host_label(destination.subset):
        expected = "a subset name: letters, digits and '-', at most 63 characters"
        report.error(f"{path}.subset", quoted(destination.subset), expected)
    if destination.port is not None:
        check_port(destination.port.number, f"{path}.port.number", report)


def check_weights(weights: tuple[int, ...], path: str, report: Report) -> None:
    """Istio: no weight below 0, and several destinations need a sum above 0."""
    for index, weight in enumerate(weights):
        if weight < 0:
            report.error(f"{path}[{index}].weight", str(weight), "a weight of 0 or more")
    if len(weights) > 1 and sum(weights) == 0:
        found = f"{len(weights)} destinations of total weight 0"
        report.error(path, found, "at least one weight above 0")


def check_string_match(
    match: StringMatch | None, path: str, report: Report, *, empty_prefix: bool = False
) -> None:
    """Istio `validateStringMatch`; only `uri` takes an empty prefix, as Envoy does."""
    if match is None:
        return
    if match.prefix == "" and not empty_prefix:
        report.error(f"{path}.prefix", '""', "a prefix, not an empty string")
    if match.regex is not None:
        check_regex(match.regex, f"{path}.regex", report)


def check_regex(pattern: str, path: str, report: Report) -> bool:
    """RE2 syntax, as Envoy runs it in linear time. Whether it is that."""
    fault = regex_fault(pattern)
    if fault:
        report.error(path, quoted(pattern), fault)
    return not fault


def check_header_matches(
    matches: Mapping[str, StringMatch],
    path: str,
    report: Report,
    *,
    binds_mesh: bool,
    star_is_presence: bool = False,
) -> None:
    """Header names and what they must look like; JWT claims are matched at gateways only."""
    for name, match in matches.items():
        where = join(path, name)
        if name.startswith("@request.auth.claims"):
            if binds_mesh:
                expected = f"{A_HEADER_NAME}: JWT claims are matched at gateways only"
                report.error(where, quoted(name), expected, given=["spec.gateways"])
        elif not is_match_header(name):
            report.error(where, quoted(name), A_MATCH_HEADER)
        if not (star_is_presence and match.regex == "*"):
            check_string_match(match, where, report)


def check_headers(headers: Headers | None, path: str, report: Report) -> None:
    """Istio's rules for header operations; only a request's authority may be set."""
    if headers is None:
        return
    if headers.request is not None:
        _check_operations(headers.request, f"{path}.request", report, authority=True)
    if headers.response is not None:
        _check_operations(headers.response, f"{path}.response", report, authority=False)


def _check_operations(
    operations: HeaderOperations, path: str, report: Report, *, authority: bool
) -> None:
    for verb, added in (("set", operations.set), ("add", operations.add)):
        for name, value in added.items():
            where = join(f"{path}.{verb}", name)
            _check_operation_name(name, where, report, authority=authority)
            if is_authority(name) and value and (fault := authority_fault(value)):
                report.error(where, quoted(value), f"{fault}; no commands")
    for index, name in enumerate(operations.remove):
        _check_operation_name(name, f"{path}.remove[{index}]", report, authority=False)


def _check_operation_name(name: str, path: str, report: Report, *, authority: bool) -> None:
    if not name:
        report.error(path, "an empty name", "a header name")
    elif is_authority(name):
        if not authority:
            report.error(path, quoted(name), "another header: only a request's Host can be set")
    elif frames_message(name):
        report.warn(
            path, quoted(name), "another header: the node frames messages itself, this is left out"
        )
    elif name.startswith(":"):
        report.error(path, quoted(name), 'a header without ":" prefix')
    elif fault := token_fault(name):
        report.error(path, quoted(name), f"a header name: {fault}")
