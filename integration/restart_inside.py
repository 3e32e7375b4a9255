"""Runs under the real systemd (`test_restart.py`): restarts, upgrades and kills a node under load, and
prints for each what the load saw, and whether it came out as it should. Standard library alone.

    python -m integration.restart_inside CASE ...      `all`: every case
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable

from integration.restart_unit import (
    CONFIG,
    CONFIG_TEXT,
    CRASHES,
    DRAIN_S,
    HANGS,
    IMPORT_ERROR,
    OTHER,
    PATIENCE_S,
    RESOURCES,
    STATUS,
    Load,
    eventually,
    install,
    main_pid,
    processes,
    run,
    say,
    serves,
    status,
    workers,
)


def start_anew() -> bool:
    """After a start that failed. With egressd.socket connections start the unit, too, and ours may join
    a start that fails yet."""
    run("systemctl", "reset-failed", "egressd")
    for _ in range(5):
        if run("systemctl", "start", "egressd").returncode == 0:
            return eventually(serves, "a supervisor")
        time.sleep(1)
    return False


def restart() -> bool:
    """To the same program."""
    before = main_pid()
    done = run("systemctl", "restart", "egressd")
    return done.returncode == 0 and eventually(lambda: serves(before), "another supervisor")


def upgrade_same() -> bool:
    """To the same program."""
    before = main_pid()
    done = run("egressd", "upgrade")
    return done.returncode == 0 and eventually(lambda: serves(before), "another supervisor")


def upgrade_other() -> bool:
    """To another version, and back."""
    before = main_pid()
    install(OTHER)
    done = run("egressd", "upgrade")
    fine = done.returncode == 0 and "9.9.9" in done.stdout
    fine = fine and eventually(lambda: serves(before), "another supervisor")
    install()
    return fine and status().get("version") == "9.9.9"


def refused(reason: str, undo: Callable[[], None]) -> bool:
    """An upgrade that must fail and change nothing."""
    before = main_pid(), status().get("pid")
    done = run("egressd", "upgrade")
    undo()
    same = (main_pid(), status().get("pid")) == before and serves()
    return done.returncode == 1 and reason in done.stdout + done.stderr and same


def upgrade_import_error() -> bool:
    """To a program that cannot be loaded: the command is the old one's."""
    before = main_pid()
    install(f"if sys.argv[1:2] == ['run']:\n    {IMPORT_ERROR}")
    return refused("a_module_that_is_not_there", install) and main_pid() == before


def upgrade_wrong_configuration() -> bool:
    """To the same program, with a configuration that it refuses."""
    CONFIG.write_text(f"{CONFIG_TEXT}wrokers: 3\n")
    fine = refused("wrokers", lambda: None)
    CONFIG.write_text(CONFIG_TEXT)
    return fine


def upgrade_crashing() -> bool:
    """To a program whose workers end before they serve."""
    install(CRASHES)
    return refused("", install)


def upgrade_hanging() -> bool:
    """To a program whose workers never serve."""
    install(HANGS)
    return refused("", install)


def kill() -> bool:
    """The supervisor, by SIGKILL."""
    before = main_pid()
    os.kill(before, signal.SIGKILL)
    return eventually(lambda: serves(before), "another supervisor")


def restart_broken() -> bool:
    """To a program that cannot be loaded: the workers serve on until a start succeeds."""
    before = workers()
    install(f"if sys.argv[1:2] == ['run']:\n    {IMPORT_ERROR}")
    done = run("systemctl", "restart", "egressd")
    time.sleep(2)
    fine = done.returncode != 0 and before <= workers()
    install()
    return start_anew() and fine


def restart_wrong_configuration() -> bool:
    """With a configuration that is refused: the workers serve on, and the log says so."""
    before = workers()
    CONFIG.write_text(f"{CONFIG_TEXT}wrokers: 3\n")
    done = run("systemctl", "restart", "egressd")
    time.sleep(2)
    fine = done.returncode != 0 and before <= workers()
    CONFIG.write_text(CONFIG_TEXT)
    started = start_anew()
    log = subprocess.run(["journalctl", "-u", "egressd"], capture_output=True, check=False)
    fine = fine and b"go on serving" in log.stdout
    return fine and started


def restart_twice() -> bool:
    """A restart while the workers before the last one drain still."""
    return restart() and restart()


def restart_during_upgrade() -> bool:
    """The restart wins; one supervisor is left."""
    before = main_pid()
    os.kill(before, signal.SIGUSR2)
    eventually(lambda: status().get("state") == "upgrading", "it upgrades")
    done = run("systemctl", "restart", "egressd")
    return done.returncode == 0 and eventually(lambda: serves(before), "another supervisor")


def killed_when(moment: Callable[[int], bool], whom: Callable[[int], int]) -> bool:
    """Kill a supervisor in the middle of an upgrade; one is left in the end."""
    owner = main_pid()
    os.kill(owner, signal.SIGUSR2)
    until = time.monotonic() + PATIENCE_S
    while not moment(owner) and time.monotonic() < until:
        pass
    killed = whom(owner)
    if killed:
        os.kill(killed, signal.SIGKILL)
    say("  killed", "the owner" if killed == owner else "the candidate" if killed else "nobody")
    time.sleep(0.5)
    fine = eventually(lambda: serves(), "one supervisor is ready, and the main process")
    time.sleep(2.0 + DRAIN_S)
    supervisors = [pid for pid, name in processes().items() if name == "egressd"]
    say("  supervisors", supervisors, "main", main_pid(), "status", status().get("pid"))
    return fine and serves() and supervisors == [main_pid()]


def candidate(owner: int) -> int:
    """The supervisor that is not the owner; 0: there is none."""
    return max(
        (pid for pid, name in processes().items() if name == "egressd" and pid != owner), default=0
    )


def has_workers(owner: int) -> bool:
    """Whether the candidate has begun to start workers."""
    return len(workers()) > 2


def has_no_registry(owner: int) -> bool:
    """Whether the owner has ended its registry process: it says *yours* about now."""
    return has_workers(owner) and "egressd-reg" not in processes().values()


def is_owned(owner: int) -> bool:
    """Whether the status file names the candidate."""
    return status().get("pid", owner) != owner


def owner_killed_early() -> bool:
    """While the candidate starts."""
    return killed_when(lambda owner: candidate(owner) > 0, lambda owner: owner)


def owner_killed_late() -> bool:
    """When the candidate has workers."""
    return killed_when(has_workers, lambda owner: owner)


def owner_killed_at_yours() -> bool:
    """When the candidate may own the node by now."""
    return killed_when(has_no_registry, lambda owner: owner)


def owner_killed_at_mine() -> bool:
    """When the candidate owns the node, and the manager may not know."""
    return killed_when(is_owned, lambda owner: owner)


def candidate_killed_late() -> bool:
    """When it has workers."""
    return killed_when(has_workers, candidate)


def candidate_killed_at_yours() -> bool:
    """When it may own the node by now."""
    return killed_when(has_no_registry, candidate)


def candidate_killed_at_mine() -> bool:
    """When it owns the node, and the manager may not know."""
    return killed_when(is_owned, candidate)


def upgrade_twice() -> bool:
    """The second one waits or is refused; one supervisor is left."""
    before = main_pid()
    first = subprocess.Popen(["egressd", "upgrade"])
    second = subprocess.Popen(["egressd", "upgrade"])
    codes = [first.wait(PATIENCE_S), second.wait(PATIENCE_S)]
    say("  exits", codes)
    return 0 in codes and eventually(lambda: serves(before), "another supervisor")


def reload() -> bool:
    """SIGHUP after an upgrade reaches who owns the node."""
    done = run("systemctl", "reload", "egressd")
    return done.returncode == 0 and eventually(serves, "a supervisor")


CASES: tuple[Callable[[], bool], ...] = (
    restart,
    upgrade_same,
    upgrade_other,
    upgrade_import_error,
    upgrade_wrong_configuration,
    upgrade_crashing,
    kill,
    restart_broken,
    restart_wrong_configuration,
    restart_twice,
    restart_during_upgrade,
    owner_killed_early,
    owner_killed_late,
    owner_killed_at_yours,
    owner_killed_at_mine,
    candidate_killed_late,
    candidate_killed_at_yours,
    candidate_killed_at_mine,
    upgrade_twice,
    reload,
    upgrade_hanging,
)


def main(names: list[str]) -> None:
    """Start the node and the load, and go through the cases."""
    install()
    CONFIG.parent.joinpath("resources").mkdir(parents=True, exist_ok=True)
    CONFIG.write_text(CONFIG_TEXT)
    CONFIG.parent.joinpath("resources", "r.yaml").write_text(RESOURCES)
    run("systemctl", "daemon-reload")
    if run("systemctl", "start", "egressd").returncode:
        run("journalctl", "--no-pager", "-u", "egressd")
        return
    load = Load()
    time.sleep(2)
    load.mark("warm")
    time.sleep(3)
    load.mark("nothing+tunnel")
    for case in CASES:
        if names != ["all"] and case.__name__ not in names:
            continue
        say("case", case.__name__)
        fine = case()
        time.sleep(1)
        load.mark(case.__name__)
        say("outcome", case.__name__, "as it should be" if fine else "WRONG")
        say("  processes", json.dumps(processes()))
        alone = eventually(lambda: len(workers()) == 2, "only the new workers are left")
        time.sleep(0.5)
        load.mark(f"after-{case.__name__}+tunnel")
        if not fine or not alone:
            run("journalctl", "--no-pager", "-u", "egressd", "-n", "60")
    load.end()
    run("systemctl", "stop", "egressd.socket")  # where it is installed
    run("systemctl", "stop", "egressd")
    say("left", len(processes()), "processes", len(list(STATUS.parent.iterdir())), "files")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    finally:
        say("finished")
