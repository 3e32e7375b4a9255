"""Mutates what is known and keeps what behaves in a new way.

A target is called with bytes and returns a word for how it took them (refused for what reason, accepted
with what features). An input with a new word joins the population, so that mutation goes on from there;
what raises is a finding. Given a seed and a number of rounds the run is always the same.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from time import monotonic
from typing import NamedTuple

Check = Callable[[bytes], str]
_MOST_BYTES = 4096
_MOST_POPULATION = 2000


class Target(NamedTuple):
    """`seeds` are good inputs, `words` the tokens that its grammar is made of."""

    check: Check
    seeds: Sequence[bytes]
    words: Sequence[bytes]


class Finding(NamedTuple):
    """An input that broke a target."""

    data: bytes
    error: BaseException


class Run(NamedTuple):
    rounds: int
    behaviours: int
    finding: Finding | None
    kept: list[bytes]  # inputs whose behaviour was new


def fuzz(
    target: Target,
    corpus: Iterable[bytes] = (),
    *,
    seconds: float,
    seed: int,
    rounds: int | None = None,
) -> Run:
    """Run a target until the time or the rounds are over, or something is found."""
    rng = random.Random(seed)
    seen: set[str] = set()
    population: list[bytes] = []
    kept: list[bytes] = []
    done = 0
    for data in (*target.seeds, *corpus):
        finding, _ = _try(target.check, data, seen)
        if finding is not None:
            return Run(done, len(seen), finding, kept)
        population.append(data)
    until = monotonic() + seconds
    while monotonic() < until and (rounds is None or done < rounds):
        done += 1
        data = mutate(rng, rng.choice(population), population, target.words)
        finding, is_new = _try(target.check, data, seen)
        if finding is not None:
            return Run(done, len(seen), smaller(target.check, finding), kept)
        if is_new:
            kept.append(data)
            if len(population) < _MOST_POPULATION:
                population.append(data)
    return Run(done, len(seen), None, kept)


def _try(check: Check, data: bytes, seen: set[str]) -> tuple[Finding | None, bool]:
    try:
        word = check(data)
    except Exception as error:
        return Finding(data, error), False
    is_new = word not in seen
    seen.add(word)
    return None, is_new


def mutate(
    rng: random.Random, data: bytes, others: Sequence[bytes], words: Sequence[bytes]
) -> bytes:
    """One to a few changes."""
    for _ in range(rng.choice((1, 1, 1, 2, 3, 5))):
        data = _change(rng, data, others, words)
    return data[:_MOST_BYTES]


def _change(
    rng: random.Random, data: bytes, others: Sequence[bytes], words: Sequence[bytes]
) -> bytes:
    at = rng.randint(0, len(data))
    end = min(len(data), at + rng.choice((0, 1, 1, 2, 4, 8, 32)))
    how = rng.randrange(8)
    if how == 0:
        return data[:at] + bytes([rng.randrange(256)]) + data[at + 1 :]
    if how == 1:
        return data[:at] + rng.choice(words) + data[at:]
    if how == 2:
        return data[:at] + rng.choice(words) + data[end:]
    if how == 3:
        return data[:at] + data[end:]
    if how == 4:
        return data[:end] + data[at:end] * rng.choice((1, 1, 2, 20)) + data[end:]
    if how == 5:
        other = rng.choice(others)
        cut = rng.randint(0, len(other))
        return data[:at] + other[cut:]
    if how == 6 and at < len(data):
        return data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
    if at < len(data):
        return data[:at] + bytes([(data[at] + rng.choice((-1, 1))) % 256]) + data[at + 1 :]
    return data


def smaller(check: Check, finding: Finding) -> Finding:
    """The same failure from fewer bytes, as far as leaving parts out goes."""
    data, error = finding
    size = max(1, len(data) // 2)
    while size:
        at = 0
        while at < len(data):
            shorter = data[:at] + data[at + size :]
            try:
                check(shorter)
            except Exception as same:
                if type(same) is type(error):
                    data, error = shorter, same
                    continue
            at += size
        size //= 2
    return Finding(data, error)
