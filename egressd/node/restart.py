"""When a child that ended is started again: pure decisions.

A first death is answered at once, further early deaths with growing pauses. Nothing is ever given
up: a child in a crash loop is tried again at the longest pause, for ever, and the log says so each
time. A child that lived `STABLE_S` has a clean record again.
"""

from __future__ import annotations

STABLE_S = 10.0
FIRST_PAUSE_S = 0.1
LONGEST_PAUSE_S = 10.0
CRASH_LOOP_AFTER = 6
"""Early deaths in a row that are called a crash loop; the pauses before it are 0 to 0.8 s."""


def early_deaths(before: int, lived_s: float) -> int:
    """Early deaths in a row, counting the one just seen."""
    return 1 if lived_s >= STABLE_S else before + 1


def restart_pause(deaths: int) -> float:
    """Seconds to wait before the start that answers the `deaths`-th early death in a row."""
    if deaths <= 1:
        return 0.0
    return float(min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2 ** min(deaths - 2, 16)))


def is_crash_loop(deaths: int) -> bool:
    """True when a child has died early so often that its next end is expected too."""
    return deaths >= CRASH_LOOP_AFTER
