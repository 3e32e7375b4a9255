"""The law of what is told of a state that may last and repeat: its begin, each new cause, its end.

A source that is away is asked again several times a second, by several questions, and each gives a
reason of its own words. People want one line when it fails, one for each further cause, and one when it
is well. What fails and recovers again and again is told of once, until it has been one or the other
for a minute. Pure: seconds of any clock are passed in.
"""

from __future__ import annotations

import enum
import re

CALM_S = 60.0
"""Within this after its end, a failure is the one before; so long must a state last to be told again."""
_MOST_TURNS = 3  # begins within that time that are told of
_MOST_CAUSES = 8  # of one episode

_PATH = re.compile(r"([a-z][a-z0-9+.-]*://[^/\s;]+)/[^\s;]*", re.IGNORECASE)
_NUMBER = re.compile(
    r"(?<![:.\d])\d+(?:\.\d+)?\s?(?:m?s|seconds?)\b|\b0x[0-9a-f]+\b|(?<![:.\d])\d{5,}\b"
)
_ID = re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE)


class Told(enum.Enum):
    """Whether something is to be said."""

    NOTHING = enum.auto()
    NEWS = enum.auto()  # it began, or has another cause; or it is over
    TURNS = enum.auto()  # it begins again and again; no more is said until that ends


def causes_of(reason: str) -> frozenset[str]:
    """What makes one reason the same as another: not which path was asked for at a server, for how long,
    or with which id. Of several, divided by semicolons, each counts."""
    text = _NUMBER.sub("#", _ID.sub("#", _PATH.sub(r"\1", reason)))
    return frozenset(part.strip() for part in text.split("; ") if part.strip())


class Episode:
    """One thing that may fail."""

    __slots__ = ("_begun", "_changed_at", "_is_muted", "_told", "count", "is_failing")

    def __init__(self) -> None:
        self._begun: list[float] = []  # when it began, of late
        self._changed_at = -CALM_S
        self._told: set[str] = set()
        self._is_muted = False
        self.is_failing = False
        self.count = 0  # failures since it began

    def failed(self, reason: str, now: float) -> Told:
        """It failed (again), for this reason."""
        causes = causes_of(reason)
        if not self.is_failing:
            if now - self._changed_at >= CALM_S:
                self._told.clear()
                self._begun.clear()
                self._is_muted = False
            self.is_failing, self.count, self._changed_at = True, 0, now
            self._begun = [at for at in (*self._begun, now) if now - at < CALM_S]
            if self._is_muted or len(self._begun) > _MOST_TURNS:
                self.count += 1
                was_muted, self._is_muted = self._is_muted, True
                self._told |= causes
                return Told.NOTHING if was_muted else Told.TURNS
            self._told = set()
        self.count += 1
        if self._is_muted:
            if now - self._changed_at < CALM_S:
                return Told.NOTHING
            self._is_muted = False
            self._told = set(causes)
            return Told.NEWS
        if causes <= self._told or len(self._told) >= _MOST_CAUSES:
            return Told.NOTHING
        self._told |= causes
        return Told.NEWS

    def well(self, now: float) -> Told:
        """It is as it should be. NEWS: it was not, as was told."""
        if self.is_failing:
            self.is_failing, self._changed_at = False, now
            return Told.NOTHING if self._is_muted else Told.NEWS
        if self._is_muted and now - self._changed_at >= CALM_S:
            self._is_muted = False
            return Told.NEWS
        return Told.NOTHING

    def lasted_s(self, now: float) -> float:
        """Since its last change."""
        return max(0.0, now - self._changed_at)
