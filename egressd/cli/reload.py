"""`egressd reload`: SIGHUP, and what came of it."""

from __future__ import annotations

import os
import pwd
import signal
import time
from pathlib import Path

import click
import msgspec

from egressd.cli.options import node_options
from egressd.cli.output import echo
from egressd.node.bootstrap import DEFAULT_PATH, Bootstrap, BootstrapError, load_bootstrap
from egressd.node.sockets import elsewhere
from egressd.node.status import SupervisorStatus, read_status

_LOOK_S = 0.05


@click.command()
@click.option(
    "--timeout", "timeout_s", type=click.FloatRange(min=0), default=55.0, show_default=True,
    help="Seconds to wait for the outcome.",
)  # fmt: skip
@node_options
def reload(bootstrap_path: Path | None, timeout_s: float) -> None:
    """Let the running node read its configuration again, and wait for the outcome.

    Exit status 1 and the reason when it is refused: the configuration before stands then. What
    `systemctl reload egressd` runs. As root or as the node's user.
    """
    path, problem = _status_path(bootstrap_path)
    try:
        before = read_status(path)
    except PermissionError:
        raise click.ClickException(f"{path}: may not be read by this user; {_WHO}") from None
    except (OSError, msgspec.DecodeError):
        said = problem.removeprefix("error: ") or f"no node runs here ({path} does not tell of one)"
        raise click.ClickException(said) from None
    try:
        os.kill(before.pid, signal.SIGHUP)
    except PermissionError:
        owner = _owner(before.pid)
        raise click.ClickException(
            f"not permitted: process {before.pid} belongs to {owner}; {_WHO}"
        ) from None
    except ProcessLookupError:
        raise click.ClickException(
            f"no node runs here: process {before.pid} of {path} is gone"
        ) from None
    _tell(before, _outcome(path, before, timeout_s))


_WHO = "run it as root (sudo egressd reload) or as the node's user"


def _status_path(given: Path | None) -> tuple[Path, str]:
    """The status file of the node meant, and why its configuration cannot be read, if so: the file that
    is to be refused, or that moves the node, may be the one that says where the node is."""
    file = given or DEFAULT_PATH
    problem = ""
    try:
        named = load_bootstrap(file if given or file.exists() else None).run_dir
    except (BootstrapError, OSError) as error:
        named, problem = _run_dir_in(file) or Bootstrap().run_dir, str(error)
    of_unit = os.environ.get("RUNTIME_DIRECTORY", "")  # by systemd, for ExecReload
    places = [
        Path(msgspec.structs.replace(Bootstrap(), run_dir=run_dir).status_path)
        for run_dir in (of_unit, named)
        if run_dir
    ]
    return next((path for path in places if path.exists()), places[-1]), problem


def _run_dir_in(file: Path) -> str:
    """`runDir` of a file that is wrong elsewhere."""
    import yaml

    try:
        found = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return ""
    run_dir = found.get("runDir") if isinstance(found, dict) else None
    return run_dir if isinstance(run_dir, str) and run_dir.startswith("/") else ""


def _outcome(path: Path, before: SupervisorStatus, timeout_s: float) -> SupervisorStatus:
    """The status after the reload that was asked for. Ends the command where there is none."""
    until = time.monotonic() + timeout_s
    while True:
        try:
            now = read_status(path)
        except (OSError, msgspec.DecodeError):
            now = None
        if now is None or not _lives(now.pid):
            raise click.ClickException("the node ended before it had read the configuration")
        if now.state == "stopping":
            raise click.ClickException("the node stops: it reads no configuration any more")
        if now.pid != before.pid and now.state == "ready":
            return now  # a new process, which has read the file at its start
        if now.pid == before.pid and now.reloads.ended > before.reloads.begun:
            return now
        if time.monotonic() >= until:
            raise click.ClickException(
                f"no outcome within {timeout_s:g} s: the node is {now.state} and goes on with the "
                "configuration before until the new one serves; see `egressd status`"
            )
        time.sleep(_LOOK_S)


def _tell(before: SupervisorStatus, now: SupervisorStatus) -> None:
    if now.config_error:
        echo(now.config_error, err=True)
        raise click.ClickException("reload refused: the configuration before stands")
    if now.pid != before.pid:
        echo(f"a new node process (pid {now.pid}) serves with {now.config_path}")
        return
    echo(f"reloaded {now.config_path}: generation {now.generation} serves")
    for sentence in _elsewhere(now):
        echo(f"warning: {sentence}", err=True)
    if now.reloads.needs_restart:
        echo(f"these changes wait for a restart: {', '.join(now.reloads.needs_restart)}", err=True)


def _elsewhere(now: SupervisorStatus) -> list[str]:
    """What a socket unit decides otherwise than the file that was just read."""
    file = Path(now.config_path)
    try:
        listeners = load_bootstrap(file if file.exists() else None).listeners
    except (BootstrapError, OSError):
        return []  # it was changed since
    return elsewhere(listeners, ((one.name, one.address, one.port) for one in now.listeners))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _owner(pid: int) -> str:
    try:
        return f"user {pwd.getpwuid(os.stat(f'/proc/{pid}').st_uid).pw_name}"
    except (OSError, KeyError):
        return "another user"
