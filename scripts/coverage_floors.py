#!/usr/bin/env python3
"""Check what the unit tests cover: a floor for each room. Run behind `coverage run -m pytest tests`.

Prints a line a room; ends with status 1 when one is below its floor, and then names its files with the
most lines left.
"""

from __future__ import annotations

import sys
from pathlib import Path

from coverage import Coverage

FLOORS = {"net": 90.0, "proxy": 90.0, "upstream": 90.0}
"""Percent of lines, by room of egressd."""

_ROOT = Path(__file__).parent.parent
_MOST_FILES = 8


def uncovered(coverage: Coverage, file: Path) -> tuple[int, int]:
    """Lines of a file that can be run, and how many of them were not."""
    _, statements, _, missing, _ = coverage.analysis2(str(file))
    return len(statements), len(missing)


def main() -> int:
    coverage = Coverage(config_file=str(_ROOT / "pyproject.toml"))
    coverage.load()
    low = False
    for room, floor in FLOORS.items():
        files = {
            file.relative_to(_ROOT): uncovered(coverage, file)
            for file in sorted((_ROOT / "egressd" / room).rglob("*.py"))
        }
        total = sum(count for count, _ in files.values())
        missing = sum(left for _, left in files.values())
        percent = 100.0 * (total - missing) / total
        print(f"{room}: {percent:.1f} % of {total} lines, floor {floor:g} %")
        if percent < floor:
            low = True
            worst = sorted(files.items(), key=lambda item: -item[1][1])[:_MOST_FILES]
            for file, (count, left) in worst:
                print(f"  {file}: {left} of {count} lines are not covered")
    return 1 if low else 0


if __name__ == "__main__":
    sys.exit(main())
