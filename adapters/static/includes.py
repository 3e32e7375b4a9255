"""The texts of include files, as carefully as those of resources: what one no longer names is gone."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass

from adapters.static.content import Stamp, stamp_of
from adapters.static.settling import Patience, read_in
from adapters.static.writers import Writers


@dataclass(slots=True)
class _Include:
    text: str
    real: str
    taken: Stamp | None  # as it was read,
    stamp: Stamp | None  # and as it was last seen,
    since: float  # for the first time then


class Includes:
    """What include files say. One that is being written, or suddenly names less than half of what it
    named, says what it said before, until it has been still for a while."""

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._known: dict[str, _Include] = {}

    def text(
        self, path: str, now: float, writers: Writers, look_in: Callable[[float], None]
    ) -> str:
        """The text that counts now. Raises `OSError`, `UnicodeDecodeError`."""
        stamp, real = stamp_of(path), os.path.realpath(path)
        known = self._known.get(path)
        if known is not None and stamp is not None and known.real == real:
            if stamp == known.taken:
                return known.text
            if stamp != known.stamp:
                known.stamp, known.since = stamp, now
            wait = read_in(writers.of_path(real), now - known.since, self._patience)
            if wait > 0:
                look_in(wait)
                return known.text
        with open(path, encoding="utf-8") as file:
            text = file.read()
        if known is not None and known.real == real and 2 * _named(text) < _named(known.text):
            left = known.since + self._patience.again_s - now
            if left > 0:
                look_in(left)
                return known.text
        self._known[path] = _Include(text, real, stamp, stamp, now)
        return text


def _named(text: str) -> int:
    return sum(bool(line.partition("#")[0].strip()) for line in text.splitlines())
