"""When the next publication may go: a lone change at once, many changes together. Pure.

The registry takes what follows closely together anyway; handing it 10,000 records for each of a
hundred changes a second would only cost the processor that traffic needs.
"""

from __future__ import annotations

FIRST_S = 0.01
LONGEST_S = 0.1


class Pace:
    """The pause after each publication: short, longer while changes keep coming."""

    def __init__(self) -> None:
        self._pause_s = FIRST_S

    def pause_s(self, is_pressed: bool) -> float:
        """Seconds to wait now. `is_pressed`: the change just published came during the last pause."""
        self._pause_s = min(self._pause_s * 2, LONGEST_S) if is_pressed else FIRST_S
        return self._pause_s
