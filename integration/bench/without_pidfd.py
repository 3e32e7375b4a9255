"""`egressd` for valgrind, which knows no pidfd system calls: run as a script, in place of the command.

A child's pidfd becomes a pipe that never becomes readable: deaths of children go unnoticed, which a
measurement that ends with all of them can bear.
"""

from __future__ import annotations

import os
import signal
import sys

_pids: dict[int, int] = {}


def _pidfd_open(pid: int, flags: int = 0) -> int:
    reader, _ = os.pipe()  # the writing end stays open, so that the reading end stays silent
    _pids[reader] = pid
    return reader


def _pidfd_send_signal(pidfd: int, number: int, *_: object) -> None:
    os.kill(_pids[pidfd], number)


def main() -> None:
    """Replace the calls, then be the egressd command."""
    os.pidfd_open = _pidfd_open
    signal.pidfd_send_signal = _pidfd_send_signal  # type: ignore[assignment]
    from egressd.cli.main import main as egressd

    egressd()


if __name__ == "__main__":
    sys.exit(main())
