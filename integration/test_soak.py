"""A short soak: under disturbances no answer crosses, and none is lost but by those who held it."""

from __future__ import annotations

from pathlib import Path

import trio

from integration.soak.run import soak
from integration.soak.scene import running_scene

SECONDS = 40
SEED = 7


def test_disturbances_cross_nothing_and_lose_nothing_unexcused(tmp_path: Path) -> None:
    with running_scene(tmp_path) as scene:
        report = trio.run(soak, scene, SECONDS, SEED)
    assert report.is_clean, report.text()
    assert report.ledger.checked
    assert report.ledger.disturbances
