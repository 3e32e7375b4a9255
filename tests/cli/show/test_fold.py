"""Lines folded at spaces."""

from __future__ import annotations

import pytest

from egressd.cli.show.fold import fold

TEXT = "one line with many words and /a/path/that/nobody/may/break/because/it/is/copied at the end"


@pytest.mark.parametrize("width", [1, 40, 80])
def test_no_word_is_broken_and_none_is_lost(width: int) -> None:
    folded = fold(f"    {TEXT}\n\nshort", width)
    assert folded.split() == [*TEXT.split(), "short"]
    assert folded.splitlines()[0].startswith("    one")
    assert "\n\n" in folded


def test_what_is_broken_off_stands_further_in() -> None:
    lines = fold("  a b c d e f g h i j k l m n o p", 20).splitlines()
    assert lines[0].startswith("  a")
    assert all(line.startswith("    ") for line in lines[1:])


def test_what_fits_stays_as_it_is() -> None:
    assert fold("a   b  \n c", 40) == "a   b  \n c"
