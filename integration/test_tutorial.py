"""docs/tutorial.md, block by block, as a reader runs it: a real Consul, a real node, one shell.

In a network namespace of its own, so that its ports are free and nothing leaves the machine.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from integration.servers.fetch import CONSUL, program_of

TUTORIAL = Path(__file__).parent.parent / "docs" / "tutorial.md"
BLOCK = re.compile(r"```sh\n(.*?)```\n(?:```text\n(.*?)```)?", re.S)
LIMIT_S = 180
MARK = "=== block"


@pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("unshare") is None or shutil.which("openssl") is None,
    reason="needs root, unshare and openssl",
)
def test_every_block_of_the_tutorial_does_what_it_says(tmp_path: Path) -> None:
    blocks = BLOCK.findall(TUTORIAL.read_text())
    assert len(blocks) > 10
    script = ["ip link set lo up"]  # whatever is left ends with the namespace
    for number, (block, _) in enumerate(blocks):
        script += [f"echo '{MARK} {number}'", block]
    script.append("wait")
    programs = [Path(sys.executable).parent, Path(program_of(CONSUL)).parent]
    environ = {
        "HOME": str(tmp_path),
        "PATH": ":".join([*map(str, programs), "/usr/bin:/bin:/usr/sbin:/sbin"]),
        "LANG": "C.UTF-8",
    }
    inside = ["timeout", str(LIMIT_S), "bash", "-eu", "-c", "\n".join(script)]
    done = subprocess.run(
        ["unshare", "--net", "--pid", "--fork", "--kill-child", *inside],
        env=environ, capture_output=True, text=True, check=False,
    )  # fmt: skip
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    printed = re.split(rf"^{MARK} \d+\n", done.stdout, flags=re.M)[1:]
    assert len(printed) == len(blocks), said
    for (block, expected), found in zip(blocks, printed, strict=True):
        if expected:
            assert found == expected, block
    counts = dict(re.findall(r"(\d+) orders (v[12])", done.stdout))
    assert sum(map(int, counts)) == 100, said
    assert "VirtualService/default/orders" in done.stdout
