"""Counts and tells of connections that were not accepted, one line a change of state."""

from __future__ import annotations

import errno

import structlog

from egressd.proxy.accept import AcceptFault
from egressd.telemetry.trouble import Trouble

_QUIET_S = 10.0
"""A trouble that comes and goes is one trouble."""

log = structlog.get_logger("egressd.worker")


class AcceptReport:
    """One worker's. `settle` is called about once a second."""

    def __init__(self) -> None:
        self.errors: dict[str, int] = {}  # by the name of the errno
        self.overflows = 0  # refused, or left waiting once, at `limits.maxDownstreamConnections`
        self._troubles = {fault: Trouble() for fault in AcceptFault}
        self._full = Trouble()

    def failed(self, listener: str, error: OSError, fault: AcceptFault, now: float) -> None:
        """accept(2) gave an error."""
        name = errno.errorcode.get(error.errno or 0, "unknown")
        self.errors[name] = self.errors.get(name, 0) + 1
        trouble = self._troubles[fault]
        if trouble.happened(now):
            tell = log.warning if fault is AcceptFault.CONNECTION else log.error
            tell(
                "cannot accept",
                listener=listener,
                reason=error.strerror or str(error),
                errno=name,
                about=fault.value,
                times=trouble.count,
            )

    def full(self, listener: str, limit: int, waits: bool, now: float) -> None:
        """The node has as many downstream connections as it may."""
        self.overflows += 1
        if self._full.happened(now):
            log.warning(
                "downstream connections at limits.maxDownstreamConnections",
                listener=listener,
                limit=limit,
                new_ones="wait" if waits else "are refused",
                times=self._full.count,
            )

    def settle(self, now: float) -> None:
        """Tell of what is over."""
        for fault, trouble in self._troubles.items():
            times = trouble.count
            if lasted_s := trouble.passed(now, _QUIET_S):
                log.info(
                    "accepting again", about=fault.value, after_s=round(lasted_s, 1), times=times
                )
        times = self._full.count
        if lasted_s := self._full.passed(now, _QUIET_S):
            log.info(
                "downstream connections below limits.maxDownstreamConnections again",
                after_s=round(lasted_s, 1),
                times=times,
            )
