"""`egressd run`: one node in the foreground."""

from __future__ import annotations

import gc
import os
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click
import structlog

import egressd
from egressd.api.report import Report
from egressd.api.resource import Problem
from egressd.cli.options import node_options
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
from egressd.node.takeover.program import Candidacy, candidacy_from_environment
from egressd.node.takeover.start import adopt_owner, tell_of_failure

if TYPE_CHECKING:
    from egressd.node.supervisor import Entries

_FORMER = (
    "--config names resources, as in every other command; --bootstrap names the node's own file"
)
_FAILED = 70  # `egressd.node.supervisor.ExitCode.FAILED`, which is not loaded for `--help`


@click.command()
@node_options
@click.option("--config", "former", type=click.Path(path_type=Path), hidden=True)
@click.option(
    "--check",
    is_flag=True,
    help="Load everything, read the configuration, and end: nothing starts.",
)
def run(bootstrap_path: Path | None, former: Path | None, check: bool) -> None:
    """Run a node until SIGTERM or Ctrl-C.

    Without --bootstrap, and where the default file does not exist, every default applies. The first
    line of the log says what was read. Resources are named in that file, by `resources`.

    SIGHUP reloads the configuration (`egressd reload` waits for the outcome), SIGUSR1 opens the
    access log again, a second SIGTERM or Ctrl-C ends without waiting for requests in flight.

    \b
    Exit status:
      0  stopped; every request in flight was finished or had its time
      1  the configuration is wrong: every problem is printed
      2  the command line is wrong
      3  cannot start: a port or a directory cannot be had
      4  stopped, but requests in flight were cut off
     70  a fault of egressd itself; the log has it
    """
    if former is not None and bootstrap_path is not None:
        raise click.UsageError(f"--config {former}: {_FORMER}; give --bootstrap alone")
    # Nothing but a wrong configuration may end with 1, which no service manager restarts.
    try:
        status = _run(_Named(bootstrap_path or former, former is not None), is_check=check)
    except KeyboardInterrupt:
        status = 128 + signal.SIGINT
    except Exception:
        structlog.get_logger("egressd.supervisor").critical("the node failed", exc_info=True)
        status = _FAILED
    flush_log()
    sys.exit(status)


class _Named(NamedTuple):
    """The bootstrap file as the command line and the environment name it."""

    given: Path | None
    is_former: bool  # by `--config`

    @property
    def path(self) -> Path:
        return self.given or DEFAULT_PATH

    def load(self) -> Bootstrap:
        """The given file, which must exist; else the default one, which need not."""
        if self.given is None and not DEFAULT_PATH.exists():
            return load_bootstrap(None)
        return load_bootstrap(self.path, _check_sources)


def _run(named: _Named, *, is_check: bool) -> int:
    configure_log(LogConfig())  # a closed or broken standard error must not matter from here on
    manager = dict(os.environ)  # its variables are taken out, so that no child acts on them
    candidacy = candidacy_from_environment(os.environ)
    is_there = named.given is not None or DEFAULT_PATH.exists()
    try:
        bootstrap = named.load()
    except BootstrapError as error:
        _tell_problems(error.problems)
        if named.is_former:
            tell(f"error: --config {named.given}: {_FORMER}")
        if not is_check and (note := tell_of_failure(str(error), candidacy, manager)):
            tell(note)
        return 1
    if is_check:
        _load_program()
        return 0
    configure_log(bootstrap.log)
    log = structlog.get_logger("egressd.supervisor")
    if is_there:
        log.info("configuration read", file=str(named.path), version=egressd.__version__)
    else:
        said = "no configuration file: every default applies"
        log.info(said, looked_for=str(DEFAULT_PATH), version=egressd.__version__)
    if named.is_former:
        log.warning("`run --config` is deprecated: write --bootstrap", reason=_FORMER)
    return _supervise(bootstrap, named, candidacy, manager)


def _load_program() -> Entries:
    """What the processes of a node run. Imported here, in the supervisor and not in its children:
    `egressd --help` stays quick, and a forked replacement has everything loaded."""
    from egressd.admin import server as _admin  # noqa: F401
    from egressd.node.registry_process import run_registry
    from egressd.node.supervisor import Entries
    from egressd.node.worker import run_worker

    return Entries(run_worker, run_registry)


def _supervise(
    bootstrap: Bootstrap, named: _Named, candidacy: Candidacy | None, manager: Mapping[str, str]
) -> int:
    entries = _load_program()
    from egressd.node.holdings import TakenError
    from egressd.node.supervisor import StartError, Supervisor

    def load() -> Bootstrap:
        fresh = _reloaded(named)
        configure_log(fresh.log)
        _log_file_modes(named, fresh)
        return fresh

    _log_file_modes(named, bootstrap)
    capture_python_output()
    raise_limit()
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # `stty tostop` must not stop who logs
    gc.collect()
    gc.freeze()  # children share these pages: a collection in one does not copy them
    try:
        supervisor = Supervisor(
            bootstrap,
            entries,
            load,
            config_path=str(named.path),
            candidacy=candidacy,
        )
    except StartError as error:
        if isinstance(error, TakenError) and adopt_owner(bootstrap, manager):
            return 0
        tell(f"error: {error}")
        if note := tell_of_failure(str(error), candidacy, manager):
            tell(note)
        if candidacy is None:
            _pause(bootstrap, str(error), manager)
        return 3
    return int(supervisor.run())


def _tell_problems(problems: tuple[Problem, ...]) -> None:
    """To whoever started it: as every command shows them on a terminal, else a line each."""
    from egressd.cli.screen import find_screen  # not loaded by a node that starts

    if find_screen(err=True) is not None:
        from egressd.cli.output import print_problems

        print_problems(problems, err=True)
        return
    for problem in problems:
        tell(str(problem))


def _reloaded(named: _Named) -> Bootstrap:
    if named.path.exists():
        return reload_bootstrap(named.path, _check_sources)
    return named.load()


def _check_sources(bootstrap: Bootstrap, report: Report) -> None:
    from egressd.node.source_checks import check_sources_apart  # not loaded for `--help`

    check_sources_apart(bootstrap, report)


def _pause(bootstrap: Bootstrap, reason: str, manager: Mapping[str, str]) -> None:
    """Under a service manager, which starts the node again: a pause that grows."""
    from egressd.node.sd_notify import notifier_from_environment
    from egressd.node.start_pause import count_failure, pause_after

    if "NOTIFY_SOCKET" not in manager:
        return
    pause_s = pause_after(count_failure(Path(bootstrap.run_dir), time.time()))
    notifier = notifier_from_environment(dict(manager), os.getpid())
    notifier.status(f"cannot start: {reason}; next try in {pause_s:g} s")
    notifier.close()
    time.sleep(pause_s)


def _log_file_modes(named: _Named, bootstrap: Bootstrap) -> None:
    """A line for what is wrong with the bootstrap file's owner and mode; the registry process looks at
    what it names."""
    from egressd.node.file_modes import Reader, check_bootstrap_file

    if named.given is None and not DEFAULT_PATH.exists():
        return
    for problem in check_bootstrap_file(str(named.path), bootstrap, Reader.current()):
        structlog.get_logger("egressd.supervisor").warning(
            "not only the node's user has access", problem=str(problem)
        )
