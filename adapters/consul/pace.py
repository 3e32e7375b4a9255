"""When to ask Consul again: the index rules of blocking queries and the back-off. Pure."""

from __future__ import annotations

BACKOFF_BASE_S = 0.1


def next_index(asked: int, answered: int) -> int:
    """The index to ask with next (Consul "Blocking Queries", implementation details).

    An index that goes backwards means that the state behind it was replaced (restored, restarted
    empty): 0 asks for what is true now. An index below 1 would make every query return at once.
    """
    if answered < asked:
        return 0
    return max(answered, 1)


def backoff_s(failures: int, ceiling_s: float, chance: float) -> float:
    """Seconds to wait after the n-th failure in a row: full jitter, doubling to the ceiling.

    `chance` is a random number in [0, 1).
    """
    doubled = BACKOFF_BASE_S * 2.0 ** min(failures, 32)
    return chance * min(ceiling_s, doubled)


def is_mass_loss(before: int, now: int) -> bool:
    """Nothing is left, or less than half. After an error that is not believed at once: a Consul
    that comes back may have lost its state, or not have it yet."""
    return now == 0 or now * 2 < before
