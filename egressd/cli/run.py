"""`egressd run`: one node in the foreground."""

from __future__ import annotations

import gc
import signal
import sys
from pathlib import Path

import click
import structlog

from egressd.net.descriptors import raise_limit
from egressd.node.bootstrap import (
    DEFAULT_PATH,
    Bootstrap,
    BootstrapError,
    LogConfig,
    load_bootstrap,
    reload_bootstrap,
)
from egressd.node.log import capture_python_output, configure_log, flush_log, tell

_FAILED = 70  # `egressd.node.supervisor.ExitCode.FAILED`, which is not loaded for `--help`


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
     70  a fault of egressd itself; the log has it
    """
    # Nothing but a wrong configuration may end with 1, which no service manager restarts.
    try:
        status = _run(config)
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except Exception:
        structlog.get_logger("egressd.supervisor").critical("the node failed", exc_info=True)
        status = _FAILED
    flush_log()
    sys.exit(status)


def _run(config: Path | None) -> int:
    configure_log(LogConfig())  # a closed or broken standard error must not matter from here on
    try:
        bootstrap = _load(config)
    except BootstrapError as error:
        for problem in error.problems:
            tell(str(problem))
        return 1
    return _supervise(bootstrap, config)


def _load(config: Path | None) -> Bootstrap:
    """The given file, which must exist; else the default one, which need not."""
    if config is None and not DEFAULT_PATH.exists():
        return load_bootstrap(None)
    return load_bootstrap(config or DEFAULT_PATH)


def _supervise(bootstrap: Bootstrap, config: Path | None) -> int:
    # Imported here, in the supervisor and not in its children: `egressd --help` stays quick, and a
    # forked replacement has everything loaded.
    from egressd.admin import server as _admin  # noqa: F401
    from egressd.node.registry_process import run_registry
    from egressd.node.supervisor import Entries, StartError, Supervisor
    from egressd.node.worker import run_worker

    def load() -> Bootstrap:
        path = config or DEFAULT_PATH
        fresh = reload_bootstrap(path) if path.exists() else _load(config)
        configure_log(fresh.log)
        _log_file_modes(config, fresh)
        return fresh

    configure_log(bootstrap.log)
    _log_file_modes(config, bootstrap)
    capture_python_output()
    raise_limit()
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # `stty tostop` must not stop who logs
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
        tell(f"error: {error}")
        return 3
    return int(supervisor.run())


def _log_file_modes(config: Path | None, bootstrap: Bootstrap) -> None:
    """A line for what is wrong with the bootstrap file's owner and mode; the registry process looks at
    what it names."""
    from egressd.node.file_modes import Reader, check_bootstrap_file

    path = config or (DEFAULT_PATH if DEFAULT_PATH.exists() else None)
    for problem in check_bootstrap_file(str(path), bootstrap, Reader.current()) if path else ():
        structlog.get_logger("egressd.supervisor").warning(
            "not only the node's user has access", problem=str(problem)
        )
