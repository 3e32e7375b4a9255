"""Ring hash and Maglev: the same key the same endpoint, few keys move, weights count."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import ceil

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egressd.upstream.hashing import (
    HashTables,
    Maglev,
    Points,
    Ring,
    Slots,
    build_table,
    hash64,
)

KEYS = [hash64(f"user-{n}") for n in range(4000)]


@dataclass(frozen=True)
class Host:
    id: str
    weight: int = 1


def hosts(count: int) -> list[Host]:
    return [Host(f"10.0.0.{n}:80") for n in range(count)]


def maglev(endpoints: list[Host], size: int) -> Maglev[Host]:
    table = build_table("maglev", size, endpoints, endpoints)
    assert isinstance(table, Maglev)
    return table


def test_the_hash_is_envoys() -> None:
    assert hash64(b"foo") == 3728699739546630719  # xxHash64, seed 0


def test_a_ring_has_the_points_that_envoy_gives_it() -> None:
    assert len(Ring(hosts(3), 12)) == 12
    assert len(Ring(hosts(3), 1024)) == 1026  # 342 whole points each
    assert len(Ring([Host("a", 1), Host("b", 2)], 12)) == 12


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 20), st.data())
def test_only_keys_of_an_ejected_endpoint_move_on_a_ring(count: int, data: st.DataObject) -> None:
    before = hosts(count)
    lost = data.draw(st.sampled_from(before))
    left = [host for host in before if host is not lost]
    old, new = Ring(before), Ring(left, everyone=before)
    for key in KEYS[:500]:
        owner = old.choose(key)
        assert new.choose(key) == owner or owner is lost


@pytest.mark.parametrize("count", [3, 5, 10])
def test_few_keys_move_when_an_endpoint_leaves_for_good(count: int) -> None:
    before = hosts(count)
    old, new = Ring(before), Ring(before[:-1])
    stayed = [key for key in KEYS if old.choose(key) is not before[-1]]
    moved = sum(new.choose(key) is not old.choose(key) for key in stayed)
    assert moved / len(stayed) < 0.25


@settings(max_examples=10, deadline=None)
@given(st.integers(3, 12))
def test_few_keys_move_when_a_maglev_endpoint_is_lost(count: int) -> None:
    before = hosts(count)
    old, new = maglev(before, 5003), maglev(before[:-1], 5003)
    moved = sum(
        new.choose(key) != old.choose(key) for key in KEYS if old.choose(key) is not before[-1]
    )
    assert moved / len(KEYS) < 0.15  # the paper: a few percent; a plain modulo would move most


@pytest.mark.parametrize("make", [lambda h: Ring(h, 20_000), lambda h: maglev(h, 5003)])
def test_keys_are_spread_by_weight(make) -> None:  # type: ignore[no-untyped-def]
    table = make([Host("a", 1), Host("b", 3)])
    counted = Counter(table.choose(key).id for key in KEYS)
    assert 0.65 < counted["b"] / len(KEYS) < 0.85


@pytest.mark.parametrize("make", [Ring, lambda h: maglev(h, 101)])
def test_a_retry_goes_to_another_endpoint_while_there_is_one(make) -> None:  # type: ignore[no-untyped-def]
    table = make(hosts(3))
    for key in KEYS[:100]:
        first = table.choose(key)
        second = table.choose(key, (first,))
        third = table.choose(key, (first, second))
        assert len({first, second, third}) == 3
        assert table.choose(key, (first, second, third)) is first


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=12))
def test_every_maglev_slot_and_endpoint_is_in_use(weights: list[int]) -> None:
    endpoints = [Host(f"h{n}", weight) for n, weight in enumerate(weights)]
    table = maglev(endpoints, 1009)
    assert {table.choose(slot) for slot in range(1009)} == set(endpoints)


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 12), st.data())
def test_only_keys_of_an_ejected_endpoint_move_under_maglev(
    count: int, data: st.DataObject
) -> None:
    everyone = hosts(count)
    lost = data.draw(st.sampled_from(everyone))
    left = [host for host in everyone if host is not lost]
    old, new = maglev(everyone, 1009), build_table("maglev", 1009, left, everyone)
    for key in KEYS[:500]:
        owner = old.choose(key)
        assert new.choose(key) == owner or owner is lost
        assert new.choose(key) is not lost


@settings(max_examples=15, deadline=None)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(1, 400))
def test_slots_filled_in_steps_are_those_filled_at_once(weights: list[int], steps: int) -> None:
    endpoints = [Host(f"h{n}", weight) for n, weight in enumerate(weights)]
    at_once, in_steps = Slots(endpoints, 503), Slots(endpoints, 503)
    at_once.fill()
    while not in_steps.fill(steps):
        assert -1 in in_steps.owners
    assert in_steps.owners == at_once.owners


def envoys_ring(endpoints: list[Host], everyone: list[Host], size: int) -> list[tuple[int, str]]:
    """The ring of Envoy in one go: what any way of building it must come to."""
    total = sum(one.weight for one in everyone)
    smallest = min(one.weight for one in everyone) / total
    scale = ceil(smallest * size) / smallest
    return sorted(
        (hash64(f"{one.id}_{number}"), one.id)
        for one in endpoints
        for number in range(ceil(scale * one.weight / total))
    )


WEIGHTS = st.lists(st.integers(1, 9), min_size=1, max_size=8)


@settings(max_examples=25, deadline=None)
@given(WEIGHTS, st.integers(1, 3000), st.integers(1, 2000))
def test_a_ring_built_in_steps_is_the_one_built_at_once(
    weights: list[int], size: int, steps: int
) -> None:
    endpoints = [Host(f"h{n}", weight) for n, weight in enumerate(weights)]
    at_once, in_steps = Points(endpoints, size), Points(endpoints, size)
    assert at_once.fill()
    while not in_steps.fill(steps):
        assert len(in_steps.owners) <= len(at_once.owners)
    assert (in_steps.hashes, in_steps.owners) == (at_once.hashes, at_once.owners)
    owners = [endpoints[at].id for at in at_once.owners]
    assert list(zip(at_once.hashes, owners, strict=True)) == envoys_ring(endpoints, endpoints, size)


@settings(max_examples=25, deadline=None)
@given(WEIGHTS, st.integers(1, 500), st.data())
def test_a_ring_without_some_is_the_one_of_the_others(
    weights: list[int], size: int, data: st.DataObject
) -> None:
    everyone = [Host(f"h{n}", weight) for n, weight in enumerate(weights)]
    left = data.draw(st.lists(st.sampled_from(everyone), min_size=1, unique=True))
    ring, points = Ring(left, size, everyone), envoys_ring(left, everyone, size)
    avoid = data.draw(st.sets(st.sampled_from(everyone)))
    for key in [0, 2**64 - 1, *KEYS[:60]]:
        onward = [one for point, one in points if point >= key] + [one for _, one in points]
        assert ring.choose(key).id == onward[0]
        wanted = {one.id for one in left} - {one.id for one in avoid} or {one.id for one in left}
        assert ring.choose(key, avoid).id == next(one for one in onward if one in wanted)


@pytest.mark.parametrize(("kind", "size"), [("ring", 65536), ("maglev", 65537)])
def test_an_ejection_builds_nothing(kind: str, size: int) -> None:
    tables: HashTables[Host] = HashTables()
    everyone = hosts(5)
    whole = tables.table(kind, size, everyone, everyone)
    parts = tables._parts
    less = tables.table(kind, size, everyone[1:], everyone)
    assert not tables.is_filling
    assert tables._parts is parts
    for key in KEYS[:200]:
        owner = whole.choose(key)
        assert less.choose(key) is owner or owner is everyone[0]


@pytest.mark.parametrize(("kind", "size"), [("ring", 65536), ("maglev", 65537)])
def test_the_old_table_serves_until_the_new_one_is_filled(kind: str, size: int) -> None:
    tables: HashTables[Host] = HashTables()
    before = hosts(3)
    tables.table(kind, size, before, before)
    after = [*before[1:], Host("new:80")]
    owners = {key: tables.table(kind, size, after, after).choose(key) for key in KEYS[:5]}
    assert tables.is_filling
    assert before[0] not in owners.values() and after[-1] not in owners.values()
    rounds = 0
    while tables.is_filling:
        table = tables.table(kind, size, after, after)
        rounds += 1
    assert rounds > 3, "a long time at once"
    fresh = build_table(kind, size, after, after)
    assert all(table.choose(key) == fresh.choose(key) for key in KEYS)
    assert after[-1] in {table.choose(key) for key in KEYS}


@pytest.mark.parametrize(("kind", "size"), [("ring", 65536), ("maglev", 65537)])
def test_where_nobody_is_left_of_the_old_table_the_new_one_is_filled_at_once(
    kind: str, size: int
) -> None:
    tables: HashTables[Host] = HashTables()
    tables.table(kind, size, hosts(2), hosts(2))
    after = [Host("new:80")]
    assert tables.table(kind, size, after, after).choose(KEYS[0]) == after[0]


def test_another_kind_or_size_is_another_table() -> None:
    tables: HashTables[Host] = HashTables()
    for kind, size in (
        ("ring", 101),
        ("maglev", 101),
        ("maglev", 211),
        ("ring", 211),
        ("ring", 64),
    ):
        table = tables.table(kind, size, hosts(3), hosts(3))
        assert isinstance(table, Maglev if kind == "maglev" else Ring)
        fresh = build_table(kind, size, hosts(3), hosts(3))
        assert all(table.choose(key) == fresh.choose(key) for key in KEYS[:50])
