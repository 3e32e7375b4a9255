"""How long a node that cannot start waits before it ends, so that a service manager that starts it again
does so ever more rarely.

systemd 252 has a constant RestartSec alone (RestartSteps is of 254); its own count of restarts is of the
unit's whole life, so that a crash a month would make the pauses of a bad day.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Final

FILE: Final = "start-failures"
_FIRST_S = 1.0
_MOST_S = 30.0
_IN_A_ROW_S = 3 * _MOST_S


def pause_after(failures: int) -> float:
    """Seconds to wait after so many failed starts in a row: none after the first, then doubling."""
    return 0.0 if failures < 2 else min(_MOST_S, _FIRST_S * 2.0 ** min(failures - 2, 16))


def count_failure(directory: Path, now: float) -> int:
    """Note one more failed start in `directory`; how many there were in a row. `now` is in seconds since
    the epoch. Where nothing can be noted, as many as make a middling pause."""
    file = directory / FILE
    failures = 1
    with suppress(OSError, ValueError):
        if 0 <= now - file.stat().st_mtime < _IN_A_ROW_S:
            failures += int(file.read_text())
    try:
        file.write_text(str(failures))
        os.utime(file, (now, now))
    except OSError:
        return 4
    return failures
