"""A node under a booted systemd: restarted, upgraded in place and killed under load, nothing is lost.

What takes minutes (a restart in the middle of an upgrade, a program that never serves) runs with
EGRESSD_RESTART_CASES=all; `test_upgrade.py` has most of it without systemd.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

from integration.booted import needs_systemd, run_under_systemd

CASES = os.environ.get("EGRESSD_RESTART_CASES", "").split() or [
    "restart",
    "restart_wrong_configuration",
    "upgrade_other",
    "upgrade_import_error",
    "kill",
]
# They take longer than the first drain, with which a tunnel ends.
DRAIN_ENDS = {
    "restart_twice",
    "owner_killed_early",
    "owner_killed_late",
    "owner_killed_at_yours",
    "owner_killed_at_mine",
    "candidate_killed_at_mine",
}
CHECK = """\
ip link set lo up
mkdir -p /etc/egressd
export LD_LIBRARY_PATH=/opt/python/lib PYTHONDONTWRITEBYTECODE=1
# The program is /usr/bin/egressd, as installed: another one may take its place.
printf '[Service]\\nEnvironment=LD_LIBRARY_PATH=/opt/python/lib PYTHONDONTWRITEBYTECODE=1\\n' \\
    > /etc/systemd/system/egressd.service.d/test.conf
# With the socket unit, as installed: the egress port is systemd's, the Gateway's port the node's own.
systemctl daemon-reload
systemctl start egressd.socket
cd /opt/egressd
/opt/python/bin/python3 -m integration.restart_inside {cases}
"""


@needs_systemd
def test_nothing_is_lost_at_a_restart_an_upgrade_and_a_crash(tmp_path: Path) -> None:
    check = CHECK.format(cases=" ".join(CASES))
    said = run_under_systemd(tmp_path, check, 60.0 + 90.0 * len(CASES), more=["--net"])
    print(said)  # the longest waits
    lines = said.splitlines()
    outcomes = [line.removeprefix("outcome ") for line in lines if line.startswith("outcome ")]
    assert outcomes, said
    assert [line for line in outcomes if not line.endswith("as it should be")] == []
    seen = [line.split(" ", 2)[1:] for line in lines if line.startswith("load ")]
    for name, text in seen:
        tally = json.loads(text)
        found = {kind: tally[kind] for kind in ("refused", "reset", "failed", "examples")}
        assert found == {"refused": 0, "reset": 0, "failed": 0, "examples": []}, name
        if not name.startswith("after-"):
            assert tally["tunnel"]["echoes"] > 0, name
            assert tally["tunnel"]["ends"] == [] or name in DRAIN_ENDS, name
    assert "left 0 processes 0 files" in lines
