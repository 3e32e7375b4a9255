"""What a new configuration asks for: a pure decision over two bootstraps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import msgspec

from egressd.node.bootstrap_model import Bootstrap

FIXED: Final = ("run_dir", "state_dir", "admin")
"""Paths and sockets that other processes know the node by: a change needs a restart."""

REGISTRY_ONLY: Final = ("adapters", "resources")
"""Fields that no worker looks at."""


@dataclass(frozen=True, slots=True)
class ReloadPlan:
    """The configuration to take, and what has to be replaced for it.

    The registry process is replaced on every reload: that re-reads every source, and traffic does
    not notice it.
    """

    bootstrap: Bootstrap
    replace_workers: bool
    ignored: tuple[str, ...]  # changed fields that wait for a restart of the node


def plan_reload(old: Bootstrap, new: Bootstrap) -> ReloadPlan:
    """Compare field by field."""
    changed = [
        name for name in Bootstrap.__struct_fields__ if getattr(old, name) != getattr(new, name)
    ]
    ignored = tuple(name for name in changed if name in FIXED)
    return ReloadPlan(
        bootstrap=msgspec.structs.replace(new, **{name: getattr(old, name) for name in ignored}),
        replace_workers=any(name not in (*FIXED, *REGISTRY_ONLY) for name in changed),
        ignored=ignored,
    )
