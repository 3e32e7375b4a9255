"""`egressd install` and `egressd uninstall`: what makes a program a service of this machine."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Final

import click

from egressd.cli.completion import PLACES, completion_text
from egressd.cli.laying import Act, Aside, CannotLay, Directory, Link, Step, TextFile
from egressd.cli.output import echo

USER: Final = "egressd"
UNITS: Final = (
    "egressd-setup.service",
    "egressd.socket",
    "egressd.service",
    "egressd-register.service",
)
ENABLED: Final = ("egressd.socket", "egressd.service")
_UNIT_DIRECTORY = "usr/local/lib/systemd/system"  # so that operators may mask them
_OVERRIDING = "etc/systemd/system"
_WANTS = {"egressd.socket": "sockets.target.wants", "egressd.service": "multi-user.target.wants"}
_GECOS = "egressd egress gateway"
_MAKE_USER = f'u {USER} - "{_GECOS}" /var/lib/egressd /usr/sbin/nologin'
_HIDDEN_PLACES = ("/home", "/root", "/run/user", "/tmp", "/var/tmp")  # the unit's, by its hardening
_ROOT = Path("/")
_LEAVE_S = 5.0
_OWN_GROUP = re.compile(r":/system\.slice/egressd\.service$", re.MULTILINE)  # cgroups(7)

prefix_option = click.option(
    "--prefix",
    type=click.Path(file_okay=False, path_type=Path),
    default=_ROOT,
    show_default=True,
    help="Files only, below this directory, as the build of a package or an image does.",
)
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done, do nothing.")


@click.command()
@prefix_option
@dry_run_option
@click.option("--no-enable", is_flag=True, help="Do not start it at boot.")
@click.option("--now", is_flag=True, help="Start it, too.")
@click.pass_context
def install(ctx: click.Context, prefix: Path, dry_run: bool, no_enable: bool, now: bool) -> None:
    """Make this program a service of the machine: user, directories, units, completion. As root.

    May be repeated: what is there stays, what is missing or of another version is laid. The
    configuration is never replaced. The socket unit, which holds the egress port while the node is
    restarted, is enabled with the service.

    \b
    egressd install --dry-run
    egressd install && systemctl start egressd
    """
    if now and (no_enable or prefix != _ROOT):
        raise click.UsageError("--now goes with neither --no-enable nor --prefix")
    program = _program()
    steps = list(_steps(prefix, program, ctx.find_root().command, enable=not no_enable))
    is_machine = prefix == _ROOT
    if is_machine and not dry_run:
        _need_root("install")
    refusal = _refusal(program) if is_machine else ""
    try:
        if refusal and not dry_run:
            raise CannotLay(refusal)
        laid = _lay(steps, dry_run)
        if refusal:
            raise CannotLay(f"would refuse all of it: {refusal}")
        if now and not dry_run:
            _start()
    except CannotLay as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None
    if not laid:
        echo("everything is in its place")
    if is_machine and not dry_run and not now:
        echo(f"next: edit /etc/egressd/egressd.yaml, then systemctl {_verb(laid)} egressd")


@click.command()
@prefix_option
@dry_run_option
@click.option("--purge", is_flag=True, help="Configuration, state and user as well.")
@click.pass_context
def uninstall(ctx: click.Context, prefix: Path, dry_run: bool, purge: bool) -> None:
    """Stop the service and take away what `install` laid. As root.

    Configuration, state, the user and the program itself stay; --purge takes the first three, too.
    """
    is_machine = prefix == _ROOT
    if is_machine and not dry_run:
        _need_root("uninstall")
    steps = list(_steps(prefix, _program(), ctx.find_root().command, enable=True))
    kept = [prefix / "etc/egressd", prefix / "var/lib/egressd"]
    try:
        if dry_run:
            _foretell(steps, kept, purge)
            return
        if is_machine and shutil.which("systemctl"):
            _quietly("systemctl", "disable", "--now", *UNITS[1:])
            _end_leftovers()
        for step in reversed(steps):
            # A directory of the operator's goes by --purge alone, even where it is empty.
            said = "" if isinstance(step, Directory) or _is_first(step) else step.undo()
            if said:
                echo(said)
        if is_machine and shutil.which("systemctl"):
            _quietly("systemctl", "daemon-reload")
            _quietly("systemctl", "reset-failed", *UNITS)
        if purge:
            _purge(kept, is_machine)
    except CannotLay as error:
        raise click.ClickException(str(error)) from None
    except OSError as error:
        raise click.ClickException(f"{error.filename}: {error.strerror}") from None
    left = [str(path) for path in kept if path.exists()]
    if left:
        echo(f"kept: {', '.join(left)} (--purge removes them)")


# -- what there is to lay ----------------------------------------------------------------------------


def _steps(prefix: Path, program: Path, command: click.Command, *, enable: bool) -> Iterator[Step]:
    """In the order in which they are done."""
    is_machine = prefix == _ROOT
    if is_machine:
        make = ("systemd-sysusers", "--inline", _MAKE_USER)
        yield Act(f"make the user and group {USER}", make, _user_is_there)
    yield Directory(prefix / "etc/egressd", 0o755)
    yield Directory(prefix / "etc/egressd/resources", 0o755)
    yield TextFile(prefix / "etc/egressd/egressd.yaml", unit_text("egressd.first.yaml"), True)
    yield Directory(prefix / "var/lib/egressd", 0o750, USER if is_machine else "")
    seen_inside = (
        Path("/") / program.relative_to(prefix.absolute())
        if _is_below(program, prefix)
        else program
    )
    yield Link(prefix / "usr/bin/egressd", seen_inside)
    units = prefix / _UNIT_DIRECTORY
    for name in UNITS:
        yield TextFile(units / name, unit_text(name))
        yield Aside(prefix / _OVERRIDING / name)
    for shell, place in PLACES.items():
        yield TextFile(prefix / place, completion_text(shell, command))
    if not is_machine:
        return
    if Path("/run/systemd/system").is_dir():
        reload = ("systemctl", "daemon-reload")
        yield Act("let systemd read the units", reload, lambda: not _needs_reload())
    if enable:
        links = [prefix / _OVERRIDING / _WANTS[name] / name for name in ENABLED]
        enabling = ("systemctl", "enable", *ENABLED)
        yield Act("start it at boot", enabling, lambda: all(link.is_symlink() for link in links))


def _is_below(path: Path, directory: Path) -> bool:
    return path.is_relative_to(directory.absolute())


def unit_text(name: str) -> str:
    """A file that travels with the program."""
    return (files("egressd.cli") / "units" / name).read_text(encoding="utf-8")


def _program() -> Path:
    """The script that runs: the one beside this interpreter, wherever it was called by."""
    beside = Path(sys.executable).parent / "egressd"
    return beside if beside.exists() else Path(sys.argv[0]).absolute()


def _user_is_there() -> bool:
    try:
        pwd.getpwnam(USER)
    except KeyError:
        return False
    return True


def _needs_reload() -> bool:
    command = ["systemctl", "show", "-p", "NeedDaemonReload", "-p", "LoadState", *UNITS]
    shown = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    return "NeedDaemonReload=yes" in shown or "LoadState=not-found" in shown


# -- doing it ----------------------------------------------------------------------------------------


def _lay(steps: Iterable[Step], dry_run: bool) -> list[str]:
    """Every step that is not done; what was, or would be, in words."""
    laid = []
    for step in steps:
        wanted = step.wanted()
        if not wanted:
            continue
        laid.append(wanted)
        echo(f"would {wanted}" if dry_run else wanted)
        if not dry_run:
            step.take()
    return laid


def _is_first(step: Step) -> bool:
    return isinstance(step, TextFile) and step.is_first


def _foretell(steps: list[Step], kept: list[Path], purge: bool) -> None:
    echo("would stop and disable egressd.socket, egressd.service and egressd-register.service")
    for step in reversed(steps):
        if isinstance(step, TextFile | Link) and not _is_first(step) and step.path.is_file():
            echo(f"would remove {step.path}")
    for path in kept if purge else []:
        echo(f"would remove {path} and everything in it")


def _purge(kept: list[Path], is_machine: bool) -> None:
    for path in kept:
        if path.exists():
            shutil.rmtree(path)
            echo(f"removed {path} and everything in it")
    if is_machine and _user_is_there():
        Act("", ("userdel", USER), _user_is_there).take()
        echo(f"removed the user {USER}")


def _end_leftovers() -> None:
    """Workers that serve on because no node could be started after theirs: a stop leaves them, and
    systemd's kill does not find those of a unit that is inactive."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        until = time.monotonic() + _LEAVE_S
        for pid in _leftovers():
            with suppress(OSError):
                os.kill(pid, number)
        while _leftovers() and time.monotonic() < until:
            time.sleep(0.1)


def _leftovers() -> list[int]:
    """Processes of the service that systemd has lost sight of."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if _OWN_GROUP.search((process / "cgroup").read_text()):
                found.append(int(process.name))
    return found


def _start() -> None:
    """The socket first: one that a running node opened itself cannot be taken over by systemd."""
    active = ("systemctl", "is-active", "--quiet", "egressd.service")
    if subprocess.run(active, check=False).returncode == 0:
        echo("a node runs already: `egressd upgrade` takes what was laid into use")
        return
    Act("", ("systemctl", "start", *ENABLED), lambda: False).take()
    echo("started egressd.socket and egressd.service")


def _verb(laid: list[str]) -> str:
    is_running = Path("/run/egressd/supervisor.json").exists()
    return "restart" if is_running and laid else "reload" if is_running else "start"


def _quietly(*command: str) -> None:
    subprocess.run(command, capture_output=True, check=False)


def _need_root(what: str) -> None:
    if os.geteuid() != 0:
        raise click.ClickException(
            f"{what} needs root: run it with sudo, or look first with --dry-run, or lay files for a "
            "package with --prefix DIR"
        )


def _refusal(program: Path) -> str:
    """Why a service cannot be made of this program here; "" = it can. The service's user must be able to
    run it, and sees neither /home nor /root."""
    if not shutil.which("systemd-sysusers") or not shutil.which("systemctl"):
        return (
            "this machine has no systemd; `egressd run` stays in the foreground, for any other service "
            "manager"
        )
    package = Path(str(files("egressd")))
    for path in (program, package, Path(sys.base_prefix), Path(sys.executable).resolve()):
        reason = _out_of_reach(path)
        if reason:
            return (
                f"{path}: {reason}; install it where every user may read: "
                "python3 -m venv /opt/egressd && /opt/egressd/bin/pip install ."
            )
    return ""


def _out_of_reach(path: Path) -> str:
    for hidden in _HIDDEN_PLACES:
        if path.is_relative_to(hidden):
            return f"the service does not see {hidden}"
    for part in (path, *path.parents):
        mode = part.stat().st_mode
        if not mode & stat.S_IXOTH and (part == path or stat.S_ISDIR(mode)):
            return f"user {USER} may not enter {part} (mode {stat.S_IMODE(mode):04o})"
    return ""
