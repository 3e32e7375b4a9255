"""When a file that changed is read, and whether what it holds then is believed. Pure.

Times are seconds of one clock.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from adapters.static.writers import Writing


@dataclass(frozen=True, slots=True)
class Patience:
    """How long things are waited for, seconds. All 0: every look believes what it sees."""

    still_s: float = 0.0  # a change whose writer is not known: its file must be still for so long
    open_s: float = 0.0  # a writer that does not close its file: the same
    gone_s: float = 0.0  # a file that is gone, as it is for a moment while it is saved
    again_s: float = 0.0  # a loss: the file must be still for so long to confirm it


NO_PATIENCE = Patience()
PATIENCE = Patience(still_s=1.0, open_s=5.0, gone_s=0.1, again_s=5.0)


def read_in(writing: Writing, still_s: float, patience: Patience) -> float:
    """Seconds until a file that has not changed for `still_s` is read; 0 = now."""
    if writing is Writing.CLOSED:
        return 0.0
    wanted = patience.open_s if writing is Writing.OPEN else patience.still_s
    return max(0.0, wanted - still_s)


@dataclass(frozen=True, slots=True)
class Content:
    """What is compared of a file. `resources` are the refs that it has in force, or states now."""

    resources: Collection[str]
    weight: int  # endpoints, and 1 for what has none
    size: int = 0  # bytes
    is_ended: bool = True  # its last line has an end


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why what a file holds may be half of what is meant. `is_lasting`: no second look ends it."""

    reason: str
    is_lasting: bool


def doubt_of(
    before: Content, now: Content, moved: Collection[str], writing: Writing, *, is_blank: bool
) -> Doubt | None:
    """Whether a file suddenly holds much less. `moved` are refs that other files state now."""
    lost = [ref for ref in before.resources if ref not in now.resources and ref not in moved]
    if not lost and now.weight >= before.weight:
        return None
    if writing is Writing.OPEN:
        return Doubt("a program still has it open for writing", is_lasting=True)
    if lost and not now.resources and is_blank:
        return Doubt("it is empty", is_lasting=True)
    if lost and 2 * len(now.resources) < len(before.resources):
        left = f"{len(now.resources)} of {len(before.resources)} resources"
        return Doubt(f"it has {left} left", is_lasting=False)
    if before.is_ended and not now.is_ended and now.size < before.size:
        return Doubt("it is shorter and its last line has no end", is_lasting=False)
    return None
