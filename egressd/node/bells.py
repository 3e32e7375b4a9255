"""Change notification between the processes of a node: an eventfd a worker, readable = look."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import suppress

_ONE = (1).to_bytes(8, "little")


def ring(bells: Iterable[int]) -> None:
    """Wake the workers of these bells. Never blocks."""
    for bell in bells:
        with suppress(BlockingIOError):
            os.write(bell, _ONE)
