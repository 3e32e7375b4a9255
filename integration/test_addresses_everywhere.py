"""Address policy where every denied address can be reached: in a network namespace, as root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from integration.addresses_inside import ADDRESSES, REACHABLE


@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace takes root")
def test_no_denied_address_is_connected_to_though_it_answers(tmp_path: Path) -> None:
    for case in ("default", "none"):
        (tmp_path / case).mkdir()
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-m", "integration.addresses_inside", str(tmp_path)],
        cwd=Path(__file__).parent.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    names = (*ADDRESSES, *REACHABLE)
    open_to_all = dict(zip(names, found["none"]["statuses"], strict=True))
    assert open_to_all == dict.fromkeys(names, 200), "the test proves nothing"
    by_default = dict(zip(names, found["default"]["statuses"], strict=True))
    assert by_default == dict.fromkeys(ADDRESSES, 403) | dict.fromkeys(REACHABLE, 200)
    assert found["default"]["connections"] == len(REACHABLE)
