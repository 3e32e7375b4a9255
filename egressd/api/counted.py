"""Numbers with their nouns. Pure."""

from __future__ import annotations


def counted(number: int, noun: str) -> str:
    """A number with its noun: "1 error", "2 errors"."""
    if number == 1:
        return f"1 {noun}"
    plural = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{number} {plural}"
