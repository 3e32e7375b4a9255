"""Istio `validateHTTPFaultInjection`: delays and aborts."""

from __future__ import annotations

from typing import Final

from egressd.api.report import Report, quoted
from egressd.api.rules.shared import check_duration, check_percent, check_percentage
from egressd.api.virtual_service import FaultAbort, FaultDelay, HTTPFaultInjection

GRPC_STATUSES: Final = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
]


def check_fault(fault: HTTPFaultInjection | None, path: str, report: Report) -> None:
    """Reports each rule that the fault breaks."""
    if fault is None:
        return
    if fault.delay is None and fault.abort is None:
        report.error(path, "an empty fault", "delay, abort or both")
    if fault.delay is not None:
        _check_delay(fault.delay, f"{path}.delay", report)
    if fault.abort is not None:
        _check_abort(fault.abort, f"{path}.abort", report)


def _check_delay(delay: FaultDelay, path: str, report: Report) -> None:
    check_percentage(delay.percentage, f"{path}.percentage", report)
    check_percent(delay.percent, f"{path}.percent", report)
    check_duration(delay.fixed_delay, f"{path}.fixedDelay", report)
    if delay.exponential_delay is not None:
        expected = "fixedDelay: Istio has no exponential delay yet"
        report.error(f"{path}.exponentialDelay", "exponentialDelay", expected)
    elif delay.fixed_delay is None:
        report.warn(path, "no fixedDelay", "fixedDelay; without it nothing is delayed")
    elif delay.percentage is None and not delay.percent:
        report.warn(path, "no percentage", "percentage; without it no request is delayed")


def _check_abort(abort: FaultAbort, path: str, report: Report) -> None:
    check_percentage(abort.percentage, f"{path}.percentage", report)
    if abort.http_status is not None and not 200 <= abort.http_status <= 600:
        report.error(f"{path}.httpStatus", str(abort.http_status), "a status from 200 to 600")
    if abort.grpc_status is not None and abort.grpc_status not in GRPC_STATUSES:
        expected = "one of " + ", ".join(GRPC_STATUSES)
        report.error(f"{path}.grpcStatus", quoted(abort.grpc_status), expected)
    if abort.http2_error is not None:
        expected = "httpStatus or grpcStatus: Istio has no HTTP/2 abort yet"
        report.error(f"{path}.http2Error", quoted(abort.http2_error), expected)
    if (abort.http_status, abort.grpc_status, abort.http2_error) == (None, None, None):
        report.warn(path, "no error to answer", "httpStatus; without it nothing is aborted")
    elif abort.percentage is None:
        report.warn(path, "no percentage", "percentage; without it no request is aborted")
