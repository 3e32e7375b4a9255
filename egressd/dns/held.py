"""What is held of a name, and what an answer or a failure makes of it. Pure.

Source: RFC 8767 (stale answers), RFC 2308 (negative ones). Harder than these in one thing: that a name
that worked has no records any more is believed only when its servers have said so for a while.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from egressd.dns.answer import Answer

FIRST_RETRY_S = 1.0
MAX_RETRY_S = 30.0
MAX_NEGATIVE_S = 60.0
"""A name without records is asked for again within this time, whatever its SOA says."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long answers are used, seconds."""

    least_s: float = 1.0  # whatever the TTL
    most_s: float = 300.0
    stale_s: float = 86400.0  # after its TTL, while no server answers
    gone_s: float = 300.0  # after servers first said that there is none any more


DEFAULT_BOUNDS = Bounds()


@dataclass(frozen=True, slots=True)
class Part:
    """The records of one type, good until their TTL ends."""

    records: tuple[str, ...]
    good_until: float


@dataclass(frozen=True, slots=True)
class Held:
    """What is known of a question, a part for each type of record; None: never answered."""

    parts: tuple[Part | None, ...]
    failures: int = 0  # in a row
    refresh_at: float = 0.0
    error: str = ""  # why the last answer is not taken; "" = all is well
    gone_since: float = 0.0  # when servers first said that a name that worked has no records
    heard_at: float = 0.0  # when a server last said anything, 0 = not by this clock
    lacks: str = ""  # how servers said that there are no records: nxdomain, nodata

    @property
    def records(self) -> tuple[str, ...]:
        """The records in force."""
        return tuple(record for part in self.parts if part is not None for record in part.records)

    @property
    def is_answered(self) -> bool:
        """Whether servers have ever said anything about the name."""
        return any(part is not None for part in self.parts)

    @property
    def is_asked(self) -> bool:
        """Whether it was asked for, well or not."""
        return self.is_answered or self.failures > 0


def next_state(
    held: Held, answers: Sequence[Answer], now: float, jitter: float, bounds: Bounds
) -> Held:
    """The state after an answer of each type. `jitter` in [0, 1) spreads the renewals of many names over
    the last tenth of their TTL."""
    parts = tuple(
        _part(part, answer, now, bounds) for part, answer in zip(held.parts, answers, strict=True)
    )
    has_records = any(part is not None and part.records for part in parts)
    said_none = [answer for answer in answers if not answer.is_failed]
    if held.records and not has_records and said_none:
        since = held.gone_since or now
        if now - since < bounds.gone_s:
            error = f"{said_none[0].outcome}: no records any more, the last ones stand for now"
            again = _again(held.parts, held.failures, error, now, jitter, since)
            return replace(again, heard_at=now)
    failed = [
        answer
        for part, answer in zip(parts, answers, strict=True)
        # A type that always fails (AAAA at some broken servers) is no failure of the name.
        if answer.is_failed and (not has_records or (part is not None and part.records))
    ]
    if failed:
        has_news = any(not answer.is_failed for answer in answers)
        again = _again(parts, held.failures, failed[0].reason, now, jitter, 0.0)
        return replace(again, heard_at=now if has_news else held.heard_at)
    ttls = [_bounded(answer, bounds) for answer in answers if answer.records]
    ttls = ttls or [_bounded(answer, bounds) for answer in said_none]
    lacks = said_none[0].outcome if said_none and not has_records else ""
    due = now + min(ttls) * (0.9 + jitter / 10)
    return Held(parts, refresh_at=due, heard_at=now, lacks=lacks)


def latest(own: Held, other: Held) -> Held:
    """What a process holds when another one tells what it holds: that of which a server spoke last, with
    the parts that only the other knows."""
    if other.heard_at <= own.heard_at:
        return own
    parts = tuple(
        new if new is not None else old for old, new in zip(own.parts, other.parts, strict=True)
    )
    return replace(other, parts=parts)


def is_usable(held: Held, told_at: float, now: float, bounds: Bounds) -> bool:
    """Whether what another process told at `told_at` serves at once: it is fresh, or that process says
    that no server answers and lives on it. Else servers are asked first."""
    if any(part is not None and now < part.good_until for part in held.parts):
        return True
    is_failing = held.failures > 0 and now - told_at < 2 * MAX_RETRY_S
    return is_failing and any(
        part is not None and part.records and now < part.good_until + bounds.stale_s
        for part in held.parts
    )


def _part(part: Part | None, answer: Answer, now: float, bounds: Bounds) -> Part | None:
    if not answer.is_failed:
        return Part(answer.records, now + _bounded(answer, bounds))
    if part is not None and now >= part.good_until + bounds.stale_s:
        return Part((), part.good_until)
    return part


def _again(
    parts: tuple[Part | None, ...],
    failures: int,
    error: str,
    now: float,
    jitter: float,
    gone: float,
) -> Held:
    wait = min(FIRST_RETRY_S * 2.0 ** min(failures, 10), MAX_RETRY_S)
    return Held(parts, failures + 1, now + wait * (0.5 + jitter / 2), error, gone)


def _bounded(answer: Answer, bounds: Bounds) -> float:
    most = bounds.most_s if answer.records else min(bounds.most_s, MAX_NEGATIVE_S)
    return max(min(answer.ttl_s, most), bounds.least_s)
