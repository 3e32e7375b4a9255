"""`python -m integration.soak --seconds N --seed S`: exit status 1 when anything is unexcused."""

from __future__ import annotations

import argparse
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import trio

from integration.soak.run import soak
from integration.soak.scene import HERE, running_scene


def main() -> int:
    """Run, print the report; the node's files are kept where something was found."""
    parser = argparse.ArgumentParser(prog="python -m integration.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", default="", help="disturbances whose name contains one of these, "
                        "comma-separated; `none` for none")  # fmt: skip
    parser.add_argument("--clients", type=float, default=1, help="factor of how many")
    parser.add_argument("--no-clock", action="store_true", help="do without libfaketime")
    parser.add_argument(
        "--tree", type=Path, default=HERE, help="another checkout of egressd to soak"
    )
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(128 + number))
    root = Path(tempfile.mkdtemp(prefix="egressd-soak-"))
    tree = options.tree.resolve()
    with running_scene(root, has_clock=not options.no_clock, tree=tree) as scene:
        report = trio.run(soak, scene, options.seconds, options.seed, options.only, options.clients)
    print(report.text())
    if report.is_clean:
        shutil.rmtree(root)
        return 0
    print(f"kept: {root}")
    return 1


if __name__ == "__main__":
    sys.exit(main())
