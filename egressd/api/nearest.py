"""Misspelt names: what a message expects in the place of one. Pure."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection

_CUTOFF = 0.7
"""How much of a name must be there to be meant (`difflib.SequenceMatcher.ratio`)."""


def nearest(name: str, known: Collection[str], cutoff: float = _CUTOFF) -> str:
    """The known name that a misspelt one is most likely meant to be, whatever its case and hyphens;
    "" = none comes near."""
    camel = re.sub(r"[_-]([a-z0-9])", lambda m: m[1].upper(), name)
    by_case = {one.lower(): one for one in known}
    if found := by_case.get(camel.lower()) or by_case.get(name.lower()):
        return found
    close = difflib.get_close_matches(name.lower(), list(by_case), n=1, cutoff=cutoff)
    return by_case[close[0]] if close else ""


def expected_name(name: str, known: Collection[str]) -> str:
    """What is expected in the place of an unknown name."""
    if near := nearest(name, known):
        return f'"{near}" (did you mean that?)'
    return f"one of {', '.join(known)}" if known else "none: there are no names here"
