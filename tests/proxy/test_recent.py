"""The bounded table of what clients asked for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from egressd.proxy.recent import RecentTable


def test_what_is_asked_for_stays_while_strangers_pass() -> None:
    table: RecentTable[str, int] = RecentTable(10)
    table.put("real", 7)
    for number in range(1000):
        table.put(f"n{number}", number)
        assert table.get("real") == 7
        assert len(table) <= 10


@given(
    st.lists(st.tuples(st.sampled_from(["get", "put", "pop"]), st.integers(0, 12)), max_size=200),
    st.integers(1, 6),
)
def test_it_is_a_table_that_forgets(steps: list[tuple[str, int]], most: int) -> None:
    table: RecentTable[int, int] = RecentTable(most)
    last: dict[int, int] = {}
    for at, (what, key) in enumerate(steps):
        if what == "put":
            table.put(key, at)
            last[key] = at
            assert table.get(key) == at
        elif what == "pop":
            table.pop(key)
            assert table.get(key) is None
            last.pop(key, None)
        else:
            assert table.get(key) in (None, last.get(key))
        assert len(table) == len(dict(table.items())) <= most
