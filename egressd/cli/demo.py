"""`egressd demo`: a real node on loopback, to look at."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import click
import msgspec

from egressd.admin.state import ClusterView
from egressd.api.counted import counted
from egressd.cli.node_access import ask_admin
from egressd.cli.output import echo
from egressd.cli.screen import find_screen
from egressd.demo.board import INTRODUCTION, board, fits, things_to_try
from egressd.demo.origins import DemoOrigin, make_authority
from egressd.demo.resources import write_node
from egressd.demo.traffic import Client, Seen
from egressd.node.bootstrap import load_bootstrap
from egressd.node.bootstrap_model import Bootstrap
from egressd.node.status import SupervisorStatus, read_status

_START_S = 20.0
_STOP_S = 10.0
_ONCE_S = 6.0
_EJECTION_S = 20.0
_REFRESH_S = 1.0
_SLOWLY_S = 10.0
_CLEAR = "\x1b[H\x1b[2J"
_STAYS = """\
The node is gone. Without --once it stays until Ctrl-C, and the demo says what to try then
(such as curl -i -H 'Host: shop.demo', to its port)."""


@click.command()
@click.option("--once", is_flag=True, help="Run some seconds, print the summary, check it, exit.")
def demo(once: bool) -> None:
    """Start a node with four local origins, send it traffic, show what it does with it.

    Everything is on loopback and in a temporary directory; Ctrl-C leaves nothing behind.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    echo(INTRODUCTION)
    try:
        with _scene() as (bootstrap, status):
            failures = _show(bootstrap, status, once)
    except KeyboardInterrupt:
        click.echo("\nstopped; nothing is left behind")
        return
    if failures:
        raise click.ClickException("; ".join(failures))


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


@contextmanager
def _scene() -> Iterator[tuple[Bootstrap, SupervisorStatus]]:
    """Origins, files and a ready node; all gone at the end."""
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="egressd-demo-")))
        echo("making a certificate authority, and starting the origins ...")
        context = make_authority(directory)
        origins = [
            DemoOrigin("v1"),
            DemoOrigin("v2"),
            DemoOrigin("tls", tls=context),
            DemoOrigin("flaky", failing=0.5),
        ]
        for origin in origins:
            stack.callback(origin.close)
        path = write_node(directory, {origin.name: origin.port for origin in origins})
        bootstrap = load_bootstrap(path)
        log = stack.enter_context((directory / "node.log").open("wb"))
        click.echo("starting the node ...")
        started = time.monotonic()
        # A session of its own: Ctrl-C reaches the demo alone, which then stops the node in order.
        node = subprocess.Popen(
            [sys.executable, "-m", "egressd.cli.main", "run", "--bootstrap", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        stack.callback(_stop, node)
        status = _wait_ready(node, bootstrap, directory / "node.log")
        click.echo(f"ready after {time.monotonic() - started:.1f} s; sending it requests")
        yield bootstrap, status


def _wait_ready(node: subprocess.Popen[bytes], bootstrap: Bootstrap, log: Path) -> SupervisorStatus:
    until = time.monotonic() + _START_S
    while time.monotonic() < until and node.poll() is None:
        try:
            status = read_status(Path(bootstrap.status_path))
        except (OSError, msgspec.DecodeError):
            status = None
        if status is not None and status.state == "ready":
            return status
        time.sleep(0.05)
    raise click.ClickException(f"the node did not start:\n{log.read_text(errors='replace')}")


def _stop(node: subprocess.Popen[bytes]) -> None:
    node.terminate()
    try:
        node.wait(_STOP_S)
    except subprocess.TimeoutExpired:
        node.kill()
        node.wait()


def _show(bootstrap: Bootstrap, status: SupervisorStatus, once: bool) -> list[str]:
    port = status.listeners[0].port
    seen = Seen()
    client = Client(port, seen)
    painter = _Painter([] if once else things_to_try(port, _script(bootstrap)))
    started = shown = time.monotonic()
    ejections = 0
    while True:
        client.round()
        time.sleep(0.02)
        now = time.monotonic()
        if now - shown < _REFRESH_S:
            continue
        shown = now
        clusters = ask_admin(bootstrap, "/clusters?format=json", list[ClusterView])
        ejections = max(ejections, sum(e.times_ejected for c in clusters for e in c.endpoints))
        if not once:
            painter.paint(board(seen, clusters), now)
            continue
        total = counted(sum(seen.answers.values()), "request")
        click.echo(f"{now - started:3.0f} s: {total}, {counted(ejections, 'ejection')}")
        if now - started > _ONCE_S and (ejections or now - started > _EJECTION_S):
            client.close()
            remembered = f"ejections remembered: {ejections}"
            click.echo("\n".join(["", *board(seen, clusters), remembered, "", _STAYS]))
            missing = [] if ejections else ["no ejection of the endpoint that fails"]
            return seen.failures() + missing


class _Painter:
    """Shows the board: in place on a terminal that has room for it, else anew now and then."""

    def __init__(self, tries: list[str]) -> None:
        self._tries = tries
        self._next = 0.0
        if find_screen() is None:
            click.echo("\n".join(["", *tries]))

    def paint(self, lines: list[str], now: float) -> None:
        """Show it, unless it was shown a moment ago where it cannot be replaced."""
        screen = find_screen()
        whole = [*lines, "", *self._tries]
        can_clear = os.environ.get("TERM", "dumb") != "dumb"
        if screen is not None and can_clear and fits(whole, screen.width, screen.height):
            click.echo(_CLEAR + "\n".join(whole))
        elif now >= self._next:
            self._next = now + _SLOWLY_S
            click.echo("\n".join(["", *(lines if screen is None else whole)]))


def _script(bootstrap: Bootstrap) -> str:
    """A script that runs egressd for this node, from wherever it is called."""
    directory = Path(bootstrap.run_dir).parent
    path = directory / "egressd"
    python, config = shlex.quote(sys.executable), shlex.quote(f"{directory}/egressd.yaml")
    path.write_text(f'#!/bin/sh\nEGRESSD_CONFIG={config} exec {python} -m egressd.cli.main "$@"\n')
    path.chmod(0o700)
    return str(path)
