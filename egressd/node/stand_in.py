"""When one more worker is started, for a node whose workers all hang: there is nobody to lend to."""

from __future__ import annotations

from collections.abc import Iterable

from egressd.node.lending import Holder

_TURNS = 3
"""Looks in a row that find nobody well. After a pause of the whole machine the first one does, too."""


class StandIn:
    """Counts looks at the workers, the one that stands in not among them."""

    def __init__(self) -> None:
        self._turns = 0

    def is_wanted(self, holders: Iterable[Holder], now: float) -> bool:
        """Whether none takes connections though one could: a worker that dies again and again is no
        reason, one more would do the same."""
        all_holders = list(holders)
        stuck = any(one.is_serving for one in all_holders) and not any_well(all_holders, now)
        self._turns = self._turns + 1 if stuck else 0
        return self._turns >= _TURNS


def any_well(holders: Iterable[Holder], now: float) -> bool:
    """Whether somebody takes connections."""
    return any(one.is_well(now) for one in holders)
