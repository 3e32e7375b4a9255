"""A start that finds something running: workers that serve on, or a supervisor that owns the node."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec
import structlog

from egressd.node.bootstrap_model import Bootstrap
from egressd.node.sd_notify import notifier_from_environment
from egressd.node.status import read_status
from egressd.node.takeover.line import Word
from egressd.node.takeover.program import Candidacy

log = structlog.get_logger("egressd.supervisor")


def adopt_owner(bootstrap: Bootstrap, environ: Mapping[str, str]) -> bool:
    """Whether the node runs already, under a supervisor of this very service that the manager lost sight
    of (its predecessor died in the middle of an upgrade): it is made the main process again, and this
    process has nothing to do."""
    notifier = notifier_from_environment(dict(environ), os.getpid())
    try:
        owner = read_status(Path(bootstrap.status_path))
    except (OSError, msgspec.MsgspecError):
        return False
    if not notifier.has_manager or owner.state == "stopping" or not _is_of_this_unit(owner.pid):
        return False
    log.warning("the node runs: its supervisor is the main process again", pid=owner.pid)
    notifier.ready(f"ready: adopted process {owner.pid}", pid=owner.pid)
    return True


def tell_of_failure(reason: str, candidacy: Candidacy | None, environ: Mapping[str, str]) -> str:
    """A start has failed: say so to the owner that this process was to take over from. Returns a line
    for people about workers of a supervisor before that go on serving, "" when there are none."""
    if candidacy is not None:
        candidacy.line.say(Word.FAILED, reason)
        return ""
    if not notifier_from_environment(dict(environ), os.getpid()).has_manager:
        return ""
    workers = ", ".join(str(pid) for pid in sorted(_workers_of_this_unit()))
    if not workers:
        return ""
    return (
        f"the workers of the node before go on serving (processes {workers}), with the configuration "
        "that they have, until a start succeeds; `systemctl kill egressd` ends them"
    )


def _workers_of_this_unit() -> Iterator[int]:
    for name in os.listdir("/proc"):
        if name.isdigit() and _is_of_this_unit(int(name)):
            try:
                comm = Path(f"/proc/{name}/comm").read_text(encoding="ascii", errors="replace")
            except OSError:
                continue
            if comm.startswith("egressd-w"):
                yield int(name)


def _is_of_this_unit(pid: int) -> bool:
    """Whether the process is in this one's control group."""
    try:
        other = Path(f"/proc/{pid}/cgroup").read_bytes()
    except OSError:
        return False
    return pid != os.getpid() and other == Path("/proc/self/cgroup").read_bytes()
