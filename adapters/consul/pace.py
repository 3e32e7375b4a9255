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


def is_much_smaller(before: int, now: int) -> bool:
    """Less than half, or nothing, of what there was. Right after an error that is no news but a sign:
    a Consul that comes back may not have its state yet."""
    return now * 2 < before
