"""`egressd upgrade`: the installed program takes over from the one that runs."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import click
import msgspec

import egressd
from egressd.cli.node_access import load_node
from egressd.cli.options import node_options
from egressd.cli.output import echo
from egressd.node.status import SupervisorStatus, read_status

_LOOK_S = 0.05


@click.command()
@node_options
@click.option(
    "--timeout", default=120.0, show_default=True, help="Seconds to wait for the outcome."
)
def upgrade(bootstrap_path: Path | None, timeout: float) -> None:
    """Start the installed program beside the running one, on the same sockets.

    When its workers serve, the old ones finish what they have (open tunnels until
    limits.drainTimeout) and end. When they do not, the running program stays, and this command says
    why and exits with 1. For root and the node's own user.
    """
    path = Path(load_node(bootstrap_path).status_path)
    before = _read(path)
    if before is None:
        raise click.ClickException(f"no node runs here: {path} is not there")
    if not before.version:
        raise click.ClickException(
            "the running node is too old to be upgraded in place; restart it"
        )
    asked_at = time.time()
    _ask(before.pid)
    echo(f"upgrading process {before.pid} from {before.version} to {egressd.__version__} ...")
    after = _outcome(path, before, asked_at, timeout)
    echo(
        f"serving: {before.version} -> {after.version}, process {after.pid}; the old workers drain"
    )


def _read(path: Path) -> SupervisorStatus | None:
    try:
        return read_status(path)
    except PermissionError as error:
        raise click.ClickException(f"{path}: {error.strerror}; run as root") from error
    except (OSError, msgspec.MsgspecError):
        return None


def _ask(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGUSR2)
    except ProcessLookupError:
        raise click.ClickException(f"the node (process {pid}) is not running") from None
    except PermissionError:
        raise click.ClickException(
            f"only root and the node's own user may upgrade it (process {pid})"
        ) from None


def _outcome(
    path: Path, before: SupervisorStatus, asked_at: float, timeout: float
) -> SupervisorStatus:
    """What runs afterwards. Raises ClickException when that is not the new program."""
    until = time.monotonic() + timeout
    while time.monotonic() < until:
        found = _read(path)
        if found is not None and found.pid != before.pid:
            if found.state == "ready":
                return found
        elif found is not None and found.upgrade_failed_at >= asked_at:
            raise click.ClickException(
                f"not upgraded, {before.version} stays: {found.upgrade_error}"
            )
        elif found is None and not Path(f"/proc/{before.pid}").exists():
            raise click.ClickException("the node ended meanwhile; see its log")
        time.sleep(_LOOK_S)
    raise click.ClickException(f"no outcome within {timeout:g} s; see `egressd status` and the log")
