"""The law of what is told of a state that may last and repeat: its begin, each new cause, its end.

A source that is away is asked again several times a second, by several questions, and each gives a
reason of its own words. People want one line when it fails, one for each further cause, and one when it
is well. What fails and recovers again and again for the same cause is told of three times and once more
to say so, until it has been one or the other for a minute. Pure: seconds of any clock are passed in.
"""

from __future__ import annotations

import enum
import re

CALM_S = 60.0
"""Within this after its end, a failure is the one before; so long must a state last to be told again."""
_MOST_TURNS = 3  # begins of one cause within that time that are told of
_MOST_CAUSES = 8  # of one episode
_MOST_KNOWN = 100  # causes whose begins are counted

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

    __slots__ = ("_begins", "_changed_at", "_is_quiet", "_owes_end", "_told", "count", "is_failing")

    def __init__(self) -> None:
        self._begins: dict[str, list[float]] = {}  # when each cause began, of late
        self._told: set[str] = set()  # causes of this episode
        self._changed_at = -CALM_S
        self._is_quiet = False  # nothing was said of this episode: it is one of many
        self._owes_end = False  # such an episode is over, which was not said
        self.is_failing = False
        self.count = 0  # failures since it began

    def failed(self, reason: str, now: float) -> Told:
        """It failed (again), for this reason."""
        is_begin = not self.is_failing
        if is_begin:
            self.is_failing, self.count, self._changed_at = True, 0, now
            self._told.clear()
            self._is_quiet = self._owes_end
        self.count += 1
        new = causes_of(reason) - self._told
        fresh = [cause for cause in new if self._begin(cause, now)]
        if fresh and len(self._told) < _MOST_CAUSES:
            self._told |= new
            self._is_quiet = self._owes_end = False
            return Told.NEWS
        self._told |= set(list(new)[: max(0, _MOST_CAUSES - len(self._told))])
        if is_begin and not self._is_quiet:
            self._is_quiet = True
            return Told.TURNS
        if self._is_quiet and now - self._changed_at >= CALM_S:
            self._is_quiet = self._owes_end = False
            return Told.NEWS
        return Told.NOTHING

    def well(self, now: float) -> Told:
        """It is as it should be. NEWS: it was not, as was told."""
        if self.is_failing:
            self.is_failing, self._changed_at = False, now
            self._owes_end = self._is_quiet
            return Told.NOTHING if self._is_quiet else Told.NEWS
        if self._owes_end and now - self._changed_at >= CALM_S:
            self._owes_end = False
            return Told.NEWS
        return Told.NOTHING

    def lasted_s(self, now: float) -> float:
        """Since its last change."""
        return max(0.0, now - self._changed_at)

    def _begin(self, cause: str, now: float) -> bool:
        """Note that a cause begins; whether it has not done so too often of late."""
        if len(self._begins) > _MOST_KNOWN:
            self._begins.clear()
        begins = [at for at in self._begins.get(cause, ()) if now - at < CALM_S]
        self._begins[cause] = [*begins, now][-_MOST_TURNS - 1 :]
        return len(begins) < _MOST_TURNS
