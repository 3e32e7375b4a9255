"""A worker without a supervisor: it serves on, and leaves when the next supervisor's workers serve."""

from __future__ import annotations

from pathlib import Path

import msgspec
import structlog
import trio

from egressd.node.status import SupervisorStatus, read_status

_LOOK_S = 0.1
_SERVING = frozenset({"ready", "reloading", "upgrading", "stopping"})
"""States in which a supervisor's own workers serve, or are not to serve any more."""

log = structlog.get_logger("egressd.worker")


def has_successor(status: SupervisorStatus, supervisor: int, gone_at: float) -> bool:
    """Whether another supervisor than process `supervisor`, which was found gone at `gone_at` (Unix
    seconds), serves in its place."""
    is_other = status.pid != supervisor or status.started_at > gone_at
    return is_other and status.state in _SERVING


async def wait_for_successor(status_path: str, supervisor: int, gone_at: float) -> None:
    """Return when the next supervisor serves. The status file is looked at by path: the run directory
    may have been made anew."""
    log.warning("the supervisor is gone: serving on until the next one does", supervisor=supervisor)
    while True:
        try:
            if has_successor(read_status(Path(status_path)), supervisor, gone_at):
                break
        except (OSError, msgspec.MsgspecError):
            pass  # not there yet
        await trio.sleep(_LOOK_S)
    log.info("the next supervisor serves: draining")
