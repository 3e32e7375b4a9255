"""One vocabulary of response flags, which everything uses."""

from __future__ import annotations

import ast
from pathlib import Path

from egressd.telemetry.flags import ResponseFlag, join_flags

ROOT = Path(__file__).parents[2] / "egressd"


def test_flags_are_joined_each_once_in_envoys_order() -> None:
    assert join_flags([ResponseFlag.URX, ResponseFlag.UF, ResponseFlag.UF]) == "UF,URX"
    assert join_flags([ResponseFlag.UPE, ResponseFlag.DC, ResponseFlag.UH]) == "UH,DC,UPE"
    assert join_flags([]) == ""


def test_no_flag_is_spelt_out_elsewhere() -> None:
    """A flag as a string of its own would be one that no reader of the vocabulary finds."""
    spelt = {
        f"{path.relative_to(ROOT)}:{node.lineno} {node.value}"
        for path in ROOT.rglob("*.py")
        if path != ROOT / "telemetry" / "flags.py"
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant)
        and isinstance(node.value, str)
        and node.value in {str(flag) for flag in ResponseFlag} - {"DO", "DR", "OM"}
    }
    assert not spelt
