"""Durations as Istio writes them: Go's `time.ParseDuration`, of which protobuf JSON is a part."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Final

_UNITS: Final = {
    "ns": Decimal("1e-9"),
    "us": Decimal("1e-6"),
    "µs": Decimal("1e-6"),  # U+00B5, the micro sign
    "μs": Decimal("1e-6"),  # U+03BC, the Greek letter
    "ms": Decimal("1e-3"),
    "s": Decimal(1),
    "m": Decimal(60),
    "h": Decimal(3600),
}
_TERM: Final = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)")
_WHOLE: Final = re.compile(rf"[-+]?(?:{_TERM.pattern})+")
_MAX_S: Final = Decimal(2**63 - 1).scaleb(-9)  # Go's time.Duration counts int64 nanoseconds

EXPECTED: Final = 'a duration with units, such as "1h30m", "1.5s" or "100ms"'


def parse_duration(text: str) -> float:
    """Seconds. Raises ValueError with what is wrong: no unit, a sign, out of Go's range."""
    if text == "0":
        return 0.0
    if len(text) > 128 or not _WHOLE.fullmatch(text):
        missing_unit = re.fullmatch(r"[-+]?[0-9]*\.?[0-9]+", text)
        raise ValueError("no unit" if missing_unit else "not a duration")
    total = sum(
        (Decimal(number) * _UNITS[unit] for number, unit in _TERM.findall(text)), Decimal(0)
    )
    if text[0] == "-" and total:
        raise ValueError("negative")
    if total > _MAX_S:
        raise ValueError("out of range")
    return float(total)


def render_duration(seconds: float) -> str:
    """Protobuf JSON spelling ("1.5s"); `parse_duration` reads the same float back."""
    exact = Decimal(repr(seconds))
    return f"{exact.normalize():f}s"
