"""A node under a booted systemd: restarted, upgraded in place and killed under load, nothing is lost.

What takes minutes (a restart in the middle of an upgrade, a program that never serves) runs with
EGRESSD_RESTART_CASES=all; `test_upgrade.py` has most of it without systemd.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from integration.test_systemd import SYSTEMD, run_under_systemd

HERE = Path(__file__).parent
CASES = os.environ.get("EGRESSD_RESTART_CASES", "").split() or [
    "restart",
    "restart_wrong_configuration",
    "upgrade_other",
    "upgrade_import_error",
    "kill",
]
CHECK = """\
ip link set lo up
[ ! -e /usr/lib/sysusers.d/egressd.conf ] || systemd-sysusers
[ ! -e /usr/lib/tmpfiles.d/egressd.conf ] || systemd-tmpfiles --create egressd.conf
export LD_LIBRARY_PATH=/opt/python/lib PYTHONDONTWRITEBYTECODE=1
# The program is /usr/bin/egressd, as installed: another one may take its place.
printf '[Service]\\nEnvironment=LD_LIBRARY_PATH=/opt/python/lib PYTHONDONTWRITEBYTECODE=1\\n' \\
    > /etc/systemd/system/egressd.service.d/test.conf
/opt/python/bin/python3 /opt/test/restart_inside.py {cases}
"""


@pytest.mark.skipif(
    os.geteuid() != 0 or not SYSTEMD.exists() or shutil.which("unshare") is None,
    reason="needs root, systemd and unshare",
)
def test_nothing_is_lost_at_a_restart_an_upgrade_and_a_crash(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    tmp_path.chmod(0o755)
    for name in ("restart_inside.py", "restart_load.py"):
        shutil.copy(HERE / name, tmp_path)
    (tmp_path / "check.sh").write_text(CHECK.format(cases=" ".join(CASES)))
    said = run_under_systemd(tmp_path, "--net", patience_s=60.0 + 90.0 * len(CASES))
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
        if not name.startswith("after-"):  # tunnels live on until the drain's end
            assert (tally["tunnel"]["ends"], tally["tunnel"]["echoes"] > 0) == ([], True), name
    assert "left 0 processes 0 files" in lines
