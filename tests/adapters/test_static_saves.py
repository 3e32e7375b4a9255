"""Files that are being written, and those that suddenly hold much less: with a given clock."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adapters.static.files import Look, Tree
from adapters.static.settling import PATIENCE, Content, doubt_of, read_in
from adapters.static.writers import (
    CLOSE_WRITE,
    CREATE,
    DELETE,
    MODIFY,
    MOVED_TO,
    OVERFLOW,
    Event,
    Writers,
    Writing,
    identify,
)
from egressd.registry.guard import LossLimit
from egressd.registry.merge import Merger, SourceRule
from egressd.registry.records import Record
from tests.adapters.test_static_files import entry

SOURCE = "files"


class Desk:
    """A tree, its clock, the kernel's events, and the registry that hears it."""

    def __init__(self, folder: Path, *names: str) -> None:
        self.folder = folder
        self.tree = Tree(SOURCE, names or [str(folder)], patience=PATIENCE)
        self.now = 1000.0
        self.events: list[Event] = []
        self.writers = Writers(self._take_events)
        self.merger = self._merger(())
        self.last: Look | None = None

    def _merger(self, in_force: Iterable[Record]) -> Merger:
        rules = {SOURCE: SourceRule(LossLimit(0.5, 10, 600.0))}
        return Merger([SOURCE], in_force, rules)

    def _take_events(self) -> list[Event]:
        events, self.events = self.events, []
        return events

    def tell(self, name: str, *masks: int) -> None:
        path = self.folder / name
        directory = identify(str(path.parent))
        self.events += [Event(directory, path.name, mask) for mask in masks]

    def save(self, name: str, text: str, *masks: int) -> None:
        """New bytes, and what the kernel says of it."""
        path = self.folder / name
        path.write_text(text)
        os.utime(path, ns=(int(self.now * 1e9), int(self.now * 1e9)))
        self.tell(name, *masks)

    def look(self, later_s: float = 0.0, *, is_reread: bool = False) -> set[str]:
        """The names in force after a look."""
        self.now += later_s
        known = self.merger.known(SOURCE)
        self.last = self.tree.look(
            now=self.now, writers=self.writers, known=known, is_reread=is_reread
        )
        if self.last.snapshot is not None:
            self.merger.apply(SOURCE, self.last.snapshot, self.now)
        self.merger.expire(self.now)
        self.merger.changes()
        return self.in_force

    @property
    def in_force(self) -> set[str]:
        return {record.resource.metadata.name for record in self.merger.known(SOURCE)}

    @property
    def hold(self) -> str:
        held = self.merger.hold(SOURCE)
        return "" if held is None else held.describe(self.now)

    def restart(self) -> None:
        """The registry process anew, with what its store has."""
        self.merger = self._merger(self.merger.known(SOURCE))
        self.tree = Tree(SOURCE, [str(self.folder)], patience=PATIENCE)
        self.writers = Writers(self._take_events)


ALL = {"a", "b", "c", "d"}


def texts(names: str) -> str:
    return "---\n".join(entry(name) for name in names)


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    desk = Desk(tmp_path)
    desk.save("x.yaml", texts("abcd"))
    assert desk.look() == ALL
    return desk


def test_a_file_is_read_when_its_writer_closed_it(desk: Desk) -> None:
    desk.save("x.yaml", "", MODIFY)
    assert desk.look(0.1) == ALL
    desk.save("x.yaml", texts("ab"), MODIFY)
    assert desk.look(4.0) == ALL
    assert desk.hold == ""
    desk.save("x.yaml", texts("abcde"), MODIFY, CLOSE_WRITE)
    assert desk.look() == ALL | {"e"}


def test_a_writer_that_never_closes_is_believed_when_it_is_still_unless_something_is_lost(
    desk: Desk,
) -> None:
    desk.save("x.yaml", texts("abcde"), MODIFY)
    assert desk.look() == ALL
    assert desk.last is not None
    assert desk.last.again_s == PATIENCE.open_s
    assert desk.look(PATIENCE.open_s) == ALL | {"e"}
    desk.save("x.yaml", texts("abcd"), MODIFY)
    desk.look()
    assert desk.look(PATIENCE.open_s) == ALL | {"e"}
    assert "x.yaml: a program still has it open for writing" in desk.hold
    assert desk.look(60.0) == ALL | {"e"}
    desk.tell("x.yaml", CLOSE_WRITE)
    assert desk.look() == ALL
    assert desk.hold == ""


def test_a_change_of_a_file_that_nothing_is_heard_of_waits_until_it_is_still(desk: Desk) -> None:
    desk.save("x.yaml", texts("ab"))
    assert desk.look() == ALL
    desk.save("x.yaml", texts("abc"))
    assert desk.look(0.9) == ALL
    assert desk.look(0.9) == ALL
    assert desk.look(0.2) == {"a", "b", "c"}


def test_a_file_that_is_moved_over_another_is_whole(desk: Desk) -> None:
    desk.save("y.new", texts("abc"))
    (desk.folder / "y.new").replace(desk.folder / "x.yaml")
    desk.tell("x.yaml", MOVED_TO)
    assert desk.look() == {"a", "b", "c"}


def test_an_empty_file_is_never_confirmed_by_time_but_by_the_grace_period(desk: Desk) -> None:
    desk.save("x.yaml", "", MODIFY, CLOSE_WRITE)
    assert desk.look() == ALL
    assert "x.yaml: it is empty" in desk.hold
    assert desk.look(300.0, is_reread=True) == ALL
    assert desk.look(299.0) == ALL
    assert desk.look(2.0) == set()
    assert desk.look(1.0) == set()
    assert desk.hold == ""


def test_an_operator_confirms_an_empty_file_alone(desk: Desk) -> None:
    desk.save("y.yaml", texts("ef"))
    desk.look()
    desk.look(2.0)
    desk.save("x.yaml", "", MODIFY, CLOSE_WRITE)
    assert desk.look() == ALL | {"e", "f"}
    assert desk.merger.confirm(SOURCE)
    assert desk.in_force == {"e", "f"}
    assert desk.look(1.0) == {"e", "f"}
    assert desk.hold == ""
    desk.save("x.yaml", texts("ab"), MODIFY, CLOSE_WRITE)
    assert desk.look(1.0) == {"a", "b", "e", "f"}


def test_a_deleted_file_goes_while_another_is_doubted(desk: Desk) -> None:
    desk.save("y.yaml", texts("ef"))
    desk.look()
    desk.look(2.0)
    desk.save("x.yaml", "", MODIFY, CLOSE_WRITE)
    desk.look()
    (desk.folder / "y.yaml").unlink()
    desk.tell("y.yaml", DELETE)
    assert desk.look() == ALL | {"e", "f"}
    assert desk.look(PATIENCE.gone_s) == ALL
    (desk.folder / "x.yaml").unlink()
    desk.look()
    assert desk.look(PATIENCE.gone_s) == set()
    assert desk.hold == ""


def test_a_file_that_is_away_for_a_moment_is_not_gone(desk: Desk) -> None:
    text = (desk.folder / "x.yaml").read_text()
    (desk.folder / "x.yaml").unlink()
    desk.tell("x.yaml", DELETE)
    assert desk.look() == ALL
    desk.save("x.yaml", text[:100], CREATE, MODIFY)
    assert desk.look(PATIENCE.gone_s) == ALL
    desk.save("x.yaml", text + "---\n" + entry("e"), MODIFY, CLOSE_WRITE)
    assert desk.look(1.0) == ALL | {"e"}


def test_a_file_that_lost_most_is_believed_after_a_quiet_time(desk: Desk) -> None:
    desk.save("x.yaml", texts("a"), MODIFY, CLOSE_WRITE)
    assert desk.look() == ALL
    assert "x.yaml: it has 1 of 4 resources left" in desk.hold
    assert desk.last is not None
    assert desk.last.again_s == PATIENCE.again_s
    desk.save("x.yaml", texts("b"), MODIFY, CLOSE_WRITE)  # it goes on
    assert desk.look(PATIENCE.again_s - 1.0) == ALL
    assert desk.look(PATIENCE.again_s - 1.0) == ALL
    assert desk.look(1.0) == {"b"}
    assert desk.hold == ""


def test_half_a_file_takes_nothing_of_it_into_force(desk: Desk) -> None:
    desk.save("x.yaml", entry("new", "10.9.9.9"), MODIFY, CLOSE_WRITE)
    assert desk.look() == ALL
    desk.save("x.yaml", texts("abcd") + "---\n" + entry("new", "10.9.9.9"), MODIFY, CLOSE_WRITE)
    assert desk.look() == ALL | {"new"}


def test_what_moves_to_another_file_is_not_lost(desk: Desk) -> None:
    desk.save("y.yaml", texts("bcd"), CREATE, MODIFY, CLOSE_WRITE)
    assert desk.look() == ALL
    desk.save("x.yaml", texts("a"), MODIFY, CLOSE_WRITE)
    assert desk.look() == ALL
    assert desk.hold == ""


def test_a_doubt_outlives_the_process(desk: Desk) -> None:
    desk.save("x.yaml", "", MODIFY, CLOSE_WRITE)
    desk.look()
    desk.restart()
    assert desk.look() == ALL
    assert desk.look(1.5) == ALL
    assert "it is empty" in desk.hold


def test_a_process_that_starts_in_the_midst_of_a_save_waits(tmp_path: Path) -> None:
    desk = Desk(tmp_path)
    desk.save("x.yaml", texts("abcd"))
    desk.look()
    desk.restart()
    desk.save("x.yaml", texts("abc"))  # its time is now
    assert desk.look() == ALL
    assert desk.look(0.5) == ALL
    assert desk.look(1.0) == {"a", "b", "c"}


def test_a_checksum_beside_a_file_says_that_it_is_whole(desk: Desk) -> None:
    text = texts("a")
    desk.save("x.yaml.sha256", _sum(text))
    desk.save("x.yaml", text, MODIFY, CLOSE_WRITE)
    assert desk.look() == {"a"}


def test_a_write_that_begins_while_the_file_is_read_is_seen(desk: Desk) -> None:
    """Closed, and opened anew before the look: the close that was heard is of the save before."""
    desk.save("x.yaml", texts("abc"), MODIFY, CLOSE_WRITE)
    heard = desk.writers._events
    rounds = 0

    def events() -> Iterable[Event]:
        nonlocal rounds
        rounds += 1
        if rounds == 2:  # after the file was read
            desk.tell("x.yaml", MODIFY)
        return heard()

    desk.writers._events = events
    assert desk.look() == ALL
    desk.tell("x.yaml", CLOSE_WRITE)
    assert desk.look() == {"a", "b", "c"}


def test_an_include_that_is_written_names_what_it_named(tmp_path: Path) -> None:
    include = tmp_path / "all.include"
    desk = Desk(tmp_path, str(include))
    for name in "abcd":
        desk.save(f"{name}.yaml", entry(name))
    lines = "".join(f"{name}.yaml\n" for name in "abcd")
    desk.save("all.include", lines)
    assert desk.look() == ALL
    for text, masks in (("", (MODIFY,)), (lines[:7], (MODIFY,)), ("", (MODIFY, CLOSE_WRITE))):
        desk.save("all.include", text, *masks)
        assert desk.look(0.5) == ALL
    desk.save("all.include", lines[:14], MODIFY, CLOSE_WRITE)
    desk.look(1.0)
    assert desk.look(PATIENCE.gone_s) == {"a", "b"}
    desk.save("all.include", "", MODIFY, CLOSE_WRITE)
    assert desk.look(1.0) == {"a", "b"}
    desk.look(PATIENCE.again_s)
    assert desk.look(PATIENCE.gone_s) == set()


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_no_half_of_a_save_is_ever_in_force(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    """A save in place, cut anywhere, with looks at any time: old or new, nothing between."""
    desk = Desk(tmp_path_factory.mktemp("cut"))
    desk.save("x.yaml", texts("abcd"))
    desk.look()
    new = texts("abcdefgh")
    cuts = sorted(data.draw(st.lists(st.integers(0, len(new)), min_size=1, max_size=6)))
    for cut in cuts:
        desk.save("x.yaml", new[:cut], MODIFY)
        for pause in data.draw(st.lists(st.floats(0.0, 3.0), max_size=1)):
            assert desk.look(pause) >= ALL
    desk.save("x.yaml", new, MODIFY, CLOSE_WRITE)
    assert desk.look() == set("abcdefgh")


ROWS: list[tuple[str, dict[str, object], str]] = [
    ("nothing lost", {"now": "abcde"}, ""),
    ("one of four", {"now": "abc"}, ""),
    ("half is not most", {"now": "ab"}, ""),
    ("most", {"now": "a"}, "it has 1 of 4 resources left"),
    ("most, but they moved", {"now": "a", "moved": "bcd"}, ""),
    ("empty", {"now": "", "is_blank": True}, "it is empty"),
    ("comments only", {"now": ""}, "it has 0 of 4 resources left"),
    ("renamed", {"now": "wxyz"}, ""),
    ("open", {"now": "abc", "writing": Writing.OPEN}, "a program still has it open for writing"),
    ("open, more", {"now": "abcde", "writing": Writing.OPEN}, ""),
    ("endpoints", {"now": "abcd", "weight": 3}, ""),
    ("open, fewer endpoints", {"now": "abcd", "weight": 3, "writing": Writing.OPEN},
     "a program still has it open for writing"),
    ("cut", {"now": "abcd", "weight": 3, "is_ended": False, "size": 90},
     "it is shorter and its last line has no end"),
    ("grown without an end", {"now": "abcd", "weight": 3, "is_ended": False, "size": 110}, ""),
]  # fmt: skip


@pytest.mark.parametrize(("case", "given_", "reason"), ROWS, ids=[row[0] for row in ROWS])
def test_what_is_doubted(case: str, given_: dict[str, object], reason: str) -> None:
    now = str(given_["now"])
    doubt = doubt_of(
        Content("abcd", 4, 100),
        Content(
            now,
            int(str(given_.get("weight", len(now)))),
            int(str(given_.get("size", 80))),
            bool(given_.get("is_ended", True)),
        ),
        str(given_.get("moved", "")),
        given_.get("writing", Writing.CLOSED),  # type: ignore[arg-type]
        is_blank=bool(given_.get("is_blank")),
    )
    assert (doubt.reason if doubt else "") == reason


@pytest.mark.parametrize(
    ("masks", "expected"),
    [
        ((), Writing.UNKNOWN),
        ((CREATE,), Writing.UNKNOWN),
        ((CREATE, MODIFY), Writing.OPEN),
        ((MODIFY, CLOSE_WRITE), Writing.CLOSED),
        ((MODIFY, CLOSE_WRITE, MODIFY), Writing.OPEN),
        ((MODIFY, DELETE), Writing.UNKNOWN),
        ((MODIFY, MOVED_TO), Writing.CLOSED),
        ((MODIFY, OVERFLOW), Writing.UNKNOWN),
    ],
)
def test_what_the_kernel_says_of_a_writer(
    tmp_path: Path, masks: tuple[int, ...], expected: Writing
) -> None:
    events = [
        Event(None if mask == OVERFLOW else identify(str(tmp_path)), "x.yaml", mask)
        for mask in masks
    ]
    writers = Writers(lambda: events)
    writers.catch_up()
    assert writers.of_path(str(tmp_path / "x.yaml")) is expected


@pytest.mark.parametrize(
    ("writing", "still_s", "wait"),
    [
        (Writing.CLOSED, 0.0, 0.0),
        (Writing.UNKNOWN, 0.25, 0.75),
        (Writing.UNKNOWN, 1.0, 0.0),
        (Writing.OPEN, 1.0, 4.0),
        (Writing.OPEN, 9.0, 0.0),
    ],
)
def test_when_a_file_is_read(writing: Writing, still_s: float, wait: float) -> None:
    assert read_in(writing, still_s, PATIENCE) == wait


def _sum(text: str) -> str:

    return hashlib.sha256(text.encode()).hexdigest() + "  x.yaml\n"
