"""`egressd demo`: a real node on loopback, to look at."""

from __future__ import annotations

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
from egressd.cli.node_access import ask_admin
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
_CLEAR = "\x1b[H\x1b[2J"


@click.command()
@click.option("--once", is_flag=True, help="Run some seconds, print the summary, check it, exit.")
def demo(once: bool) -> None:
    """Start a node with three local origins, send it traffic, show what it does with it.

    Everything is on loopback and in a temporary directory; Ctrl-C leaves nothing behind.
    """
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        with _scene() as (bootstrap, status):
            failures = _show(bootstrap, status, once)
    except KeyboardInterrupt:
        click.echo("\nstopped")
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
        # A session of its own: Ctrl-C reaches the demo alone, which then stops the node in order.
        node = subprocess.Popen(
            [sys.executable, "-m", "egressd.cli.main", "run", "--bootstrap", str(path)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        stack.callback(_stop, node)
        yield bootstrap, _wait_ready(node, bootstrap, directory / "node.log")


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
        enough = now - started > _ONCE_S and (ejections or now - started > _EJECTION_S)
        if not once or enough:
            _print(seen, clusters, bootstrap, port, redraw=sys.stdout.isatty() and not once)
        if once and enough:
            client.close()
            missing = [] if ejections else ["no ejection of the endpoint that fails"]
            return seen.failures() + missing


def _print(
    seen: Seen, clusters: list[ClusterView], bootstrap: Bootstrap, port: int, *, redraw: bool
) -> None:
    lines = ["requests by name and answer"]
    for (question, answer), count in sorted(seen.answers.items()):
        lines.append(f"  {question:<22} {answer:<8} {count:>7}")
    lines += ["", f"{'cluster':<28} {'endpoint':<18} {'requests':>8} {'failed':>7}  health"]
    for cluster in clusters:
        for endpoint in cluster.endpoints:
            health = (
                "healthy" if endpoint.healthy else f"ejected, {endpoint.ejected_for_s:.1f} s left"
            )
            if endpoint.times_ejected:
                health += f" (ejections remembered: {endpoint.times_ejected})"
            lines.append(
                f"{cluster.name:<28} {endpoint.id:<18} {endpoint.requests:>8} "
                f"{endpoint.failures:>7}  {health}"
            )
    base = f"http://127.0.0.1:{port}/"
    admin = bootstrap.admin_address.removeprefix("unix:")
    config = f"{Path(bootstrap.run_dir).parent}/egressd.yaml"
    lines += [
        "",
        "try",
        f"  curl -i -H 'Host: shop.demo' {base}",
        f"  curl -i -H 'Host: shop.demo' -H 'x-tester: yes' {base}",
        f"  curl -i -H 'Host: secure.demo' {base}          # TLS behind it",
        f"  curl -i -H 'Host: flaky.demo' {base}",
        f"  curl -i -H 'Host: nobody.demo' {base}          # refused, and why",
        f"  egressd explain --bootstrap {config} GET http://shop.demo/ -H 'x-tester: yes'",
        f"  egressd status --bootstrap {config}",
        f"admin: curl --unix-socket {admin} http://admin/metrics",
    ]
    click.echo((_CLEAR if redraw else "") + "\n".join(lines) + "\n")
