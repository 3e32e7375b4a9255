"""`egressd run`: one node in the foreground."""

from __future__ import annotations

import gc
import sys
from pathlib import Path

import click

from egressd.node.bootstrap import DEFAULT_PATH, Bootstrap, BootstrapError, load_bootstrap


@click.command()
@click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=None,
    help=f"Bootstrap file. Default: {DEFAULT_PATH}, or embedded defaults where it does not exist.",
)
def run(config: Path | None) -> None:
    """Run a node until SIGTERM or Ctrl-C.

    SIGHUP reloads the configuration, SIGUSR1 opens the access log again, a second SIGTERM or
    Ctrl-C ends without waiting for requests in flight.

    \b
    Exit status:
      0  stopped; every request in flight was finished or had its time
      1  the configuration is wrong: every problem is printed
      2  the command line is wrong
      3  cannot start: a port or a directory cannot be had
      4  stopped, but requests in flight were cut off
    """
    try:
        bootstrap = _load(config)
    except BootstrapError as error:
        for problem in error.problems:
            click.echo(str(problem), err=True)
        sys.exit(1)
    sys.exit(_supervise(bootstrap, config))


def _load(config: Path | None) -> Bootstrap:
    """The given file, which must exist; else the default one, which need not."""
    if config is None and not DEFAULT_PATH.exists():
        return load_bootstrap(None)
    return load_bootstrap(config or DEFAULT_PATH)


def _supervise(bootstrap: Bootstrap, config: Path | None) -> int:
    # Imported here, in the supervisor and not in its children: `egressd --help` stays quick, and a
    # forked replacement has everything loaded.
    from egressd.admin import server as _admin  # noqa: F401
    from egressd.node.log import configure_log
    from egressd.node.registry_process import run_registry
    from egressd.node.supervisor import Entries, StartError, Supervisor
    from egressd.node.worker import run_worker

    def load() -> Bootstrap:
        fresh = _load(config)
        configure_log(fresh.log)
        return fresh

    configure_log(bootstrap.log)
    gc.collect()
    gc.freeze()  # children share these pages: a collection in one does not copy them
    try:
        supervisor = Supervisor(
            bootstrap,
            Entries(run_worker, run_registry),
            load,
            config_path=str(config or DEFAULT_PATH),
        )
    except StartError as error:
        click.echo(f"error: {error}", err=True)
        return 3
    return int(supervisor.run())
