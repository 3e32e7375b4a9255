"""What children write to descriptor 2 past the log: fatal errors, C libraries, faulthandler.

Descriptor 2 of a child is a pipe that never blocks and that the supervisor reads, so that a process
that dies with something to say does die, whatever becomes of the node's standard error.
"""

from __future__ import annotations

import os
from contextlib import suppress

import structlog

_MOST = 65536

log = structlog.get_logger("egressd.supervisor")


class StrayOutput:
    """One pipe for all children, made before the first of them."""

    def __init__(self) -> None:
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    def fileno(self) -> int:
        """Readable when something was written."""
        return self._reader

    def take(self) -> None:
        """Log what came, once around."""
        with suppress(BlockingIOError):
            text = os.read(self._reader, _MOST).decode("utf-8", "replace").strip()
            if text:
                log.warning("a process wrote to its standard error", text=text)

    def redirect_in_child(self) -> None:
        """Let descriptor 2 of this process be the pipe."""
        os.dup2(self._writer, 2)
        os.close(self._writer)
        os.close(self._reader)

    def close(self) -> None:
        """Close both ends."""
        os.close(self._reader)
        os.close(self._writer)
