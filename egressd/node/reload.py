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


STILL_S = 0.5
"""How long the configuration file must not have changed before it is read."""
_MOST_S = 5.0
Stamp = tuple[int, ...]


@dataclass(slots=True)
class Settling:
    """Waits until a file that is to be read is still: a reload often follows a save at once, and a save
    in place takes its time. `now` is in seconds of one clock."""

    _begun: float | None = None
    _stamp: Stamp | None = None
    _since: float = 0.0

    def left(self, stamp: Stamp | None, age_s: float, now: float) -> float:
        """Seconds until the file is read; 0 = now, and the wait is over. `stamp` is what changes with
        it, None when it cannot be looked at; `age_s` how long ago it changed by its own time."""
        if self._begun is None:
            self._begun = self._since = now
            self._stamp = stamp
        elif stamp != self._stamp:
            self._stamp, self._since = stamp, now
        is_old = stamp is None or age_s >= STILL_S
        left = 0.0 if is_old else self._since + STILL_S - now
        left = min(left, self._begun + _MOST_S - now)
        if left <= 0:
            self._begun = None
        return max(0.0, left)


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
