"""When to ask Consul again: the index rules of blocking queries. Pure."""

from __future__ import annotations


def next_index(asked: int, answered: int) -> int:
    """The index to ask with next (Consul "Blocking Queries", implementation details).

    An index that goes backwards means that the state behind it was replaced (restored, restarted
    empty): 0 asks for what is true now. An index below 1 would make every query return at once.
    """
    if answered < asked:
        return 0
    return max(answered, 1)


def is_mass_loss(before: int, now: int) -> bool:
    """Nothing is left, or less than half. After an error that is not believed at once: a Consul
    that comes back may have lost its state, or not have it yet."""
    return now == 0 or now * 2 < before
