"""Pauses of a node that cannot start."""

from __future__ import annotations

from pathlib import Path

from egressd.node.start_pause import FILE, count_failure, pause_after


def test_the_pause_doubles_up_to_half_a_minute() -> None:
    assert [pause_after(failures) for failures in range(9)] == [0, 0, 1, 2, 4, 8, 16, 30, 30]
    assert pause_after(10**9) == 30


def test_failures_count_while_they_follow_each_other(tmp_path: Path) -> None:
    assert [count_failure(tmp_path, now) for now in (1000.0, 1001.0, 1040.0)] == [1, 2, 3]
    assert count_failure(tmp_path, 1131.0) == 1  # the last was long ago
    assert count_failure(tmp_path, 500.0) == 1  # the clock was set back


def test_a_count_that_cannot_be_read_or_written_still_pauses(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("garbage")
    assert count_failure(tmp_path, (tmp_path / FILE).stat().st_mtime) == 1
    assert pause_after(count_failure(tmp_path / "absent", 1.0)) > 0
