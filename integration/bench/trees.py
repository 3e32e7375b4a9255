"""The two checkouts of egressd that are compared, and the environment that runs each."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True, slots=True)
class Tree:
    """A checkout. Compiled modules go to `cache`: nobody else's tree is written to."""

    name: str
    directory: Path
    cache: Path

    def environment(self) -> Mapping[str, str]:
        """What makes Python import egressd and adapters from this tree, the same way each time."""
        kept = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
        return {
            **kept,
            "PYTHONPATH": str(self.directory),
            "PYTHONPYCACHEPREFIX": str(self.cache),
            "PYTHONHASHSEED": "0",
        }

    def check(self) -> None:
        """Raise RuntimeError where this environment would run another tree. Compiles, too."""
        found = subprocess.run(
            [sys.executable, "-P", "-c", "import egressd.cli.main as m; print(m.__file__)"],
            env=self.environment(), cwd="/", capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        if not Path(found).is_relative_to(self.directory):
            raise RuntimeError(f"found egressd at {found}, expected below {self.directory}")


@contextmanager
def worktree(revision: str, directory: Path) -> Iterator[Path]:
    """A git worktree of a revision at `directory`, removed at the end of the block."""
    git = ["git", "-C", str(HERE)]
    subprocess.run(
        [*git, "worktree", "add", "--quiet", "--detach", str(directory), revision], check=True
    )
    try:
        yield directory
    finally:
        subprocess.run([*git, "worktree", "remove", "--force", str(directory)], check=True)
