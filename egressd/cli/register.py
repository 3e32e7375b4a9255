"""`egressd register` and `egressd deregister`: this machine's own services in a registry."""

from __future__ import annotations

import functools
import signal
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

import click
import structlog
import trio

from egressd.cli.node_access import given_options, load_node
from egressd.cli.options import node_options
from egressd.cli.output import echo, print_problems
from egressd.node.bootstrap_model import Bootstrap
from egressd.node.log import configure_log
from egressd.registry.adapter import AdapterConfigError
from egressd.registry.registrar import (
    ENTRY_POINT_GROUP,
    Registrar,
    RegistrarFactory,
    Registration,
    RegistrationError,
)
from egressd.registry.registration_file import RegistrationFileError, parse_registrations

_LEAVE_S = 10.0
_FAULT = 70  # EX_SOFTWARE of sysexits.h

log = structlog.get_logger("egressd.registrar")
Command = Callable[..., None]


def _registrar_options(function: Command) -> Command:
    """What is registered, and where."""

    @functools.wraps(function)
    def with_registrar(
        *,
        bootstrap_path: Path | None,
        paths: tuple[Path, ...],
        to: str | None,
        given: tuple[str, ...],
        **arguments: object,
    ) -> None:
        bootstrap = load_node(bootstrap_path)
        configure_log(bootstrap.log)
        services = _read_all(paths)
        function(registrar=_find(bootstrap, to, given), services=services, **arguments)

    options: tuple[Callable[[Command], Command], ...] = (
        click.option(
            "-f", "--filename", "paths", required=True, multiple=True,
            type=click.Path(path_type=Path), help="The services, YAML; may be repeated.",
        ),
        click.option("--to", help="An adapter of the bootstrap by name or type, or a type."),
        click.option(
            "--option", "given", multiple=True, metavar="NAME=VALUE",
            help="An option as of the adapter; VALUE is YAML.",
        ),
        node_options,
    )  # fmt: skip
    command: Command = with_registrar
    for option in reversed(options):
        command = option(command)
    return command


@click.command()
@_registrar_options
@click.option("--once", is_flag=True, help="Register and exit; checks by ttl are passed once.")
def register(registrar: Registrar, services: tuple[Registration, ...], once: bool) -> None:
    """Register this machine's services, keep them registered, and take them out at the end.

    Stays in the foreground until SIGTERM or Ctrl-C. A registry that is away or lost its state is
    waited for, and entered again. docs/registration.md describes the file.

    \b
    egressd register -f services.yaml --to consul
    egressd register -f services.yaml --to consul --option address=http://127.0.0.1:8500 --once
    """
    _run(registrar.register if once else functools.partial(_keep, registrar), services)
    if once:
        echo(f"registered {_names(services)}")


@click.command()
@_registrar_options
def deregister(registrar: Registrar, services: tuple[Registration, ...]) -> None:
    """Take this machine's services out of a registry; one that is not there is fine."""
    _run(registrar.deregister, services)
    echo(f"deregistered {_names(services)}")


async def _keep(registrar: Registrar, services: tuple[Registration, ...]) -> None:
    """Until a signal, then out of the registry again."""

    async def end_at_signal() -> None:
        async for _ in signals:
            nursery.cancel_scope.cancel()

    with trio.open_signal_receiver(signal.SIGTERM, signal.SIGINT) as signals:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(end_at_signal)
                await registrar.keep(services)
        except ExceptionGroup as errors:
            # No `except*`: what is raised in one is wrapped again by Python 3.11.2, that of Debian 12.
            refused, others = errors.split(RegistrationError)
            if refused is None or others is not None:
                raise
            raise _first(refused) from None
    try:
        with trio.fail_after(_LEAVE_S):
            await registrar.deregister(services)
    except trio.TooSlowError:
        raise RegistrationError(
            f"deregister {_names(services)}: no answer within {_LEAVE_S:g} s"
        ) from None
    log.info("deregistered", services=_names(services))


def _first(errors: BaseExceptionGroup[RegistrationError]) -> RegistrationError:
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first


def _run(
    ask: Callable[[tuple[Registration, ...]], object], services: tuple[Registration, ...]
) -> None:
    try:
        trio.run(ask, services)  # type: ignore[arg-type]
    except RegistrationError as error:
        raise click.ClickException(str(error)) from None
    except Exception:
        # Status 1 says that a restart cannot mend it.
        log.critical("registration failed", exc_info=True)
        sys.exit(_FAULT)


def _names(services: tuple[Registration, ...]) -> str:
    return ", ".join(service.id for service in services)


def _read_all(paths: tuple[Path, ...]) -> tuple[Registration, ...]:
    services: dict[str, Registration] = {}
    for path in paths:
        for service in _read(path):
            if services.setdefault(service.id, service) is not service:
                raise click.ClickException(
                    f"{path}: found a service with id {service.id}, expected one that no file "
                    "before has"
                )
    return tuple(services.values())


def _read(path: Path) -> tuple[Registration, ...]:
    try:
        return parse_registrations(path.read_text(encoding="utf-8"), str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise click.ClickException(f"{path}: {error}") from None
    except RegistrationFileError as error:
        print_problems(error.problems, err=True)
        sys.exit(1)


def _find(bootstrap: Bootstrap, to: str | None, given: tuple[str, ...]) -> Registrar:
    """The registrar that `--to` names, or that of the bootstrap's only adapter that has one."""
    factories = {point.name: point for point in entry_points(group=ENTRY_POINT_GROUP)}
    adapters = [a for a in bootstrap.adapters if a.type in factories]
    if to is not None:
        named = [a for a in adapters if a.name == to] or [a for a in adapters if a.type == to]
        adapters = named[:1]
    if to is None and len(adapters) != 1:
        found = f"{len(adapters)} adapters" if adapters else "no adapter"
        raise click.UsageError(
            f"{found} of the bootstrap to register with: name one with --to "
            f"({', '.join(sorted(factories))})"
        )
    kind = adapters[0].type if adapters else str(to)
    if kind not in factories:
        raise click.UsageError(f"--to {to}: expected one of {', '.join(sorted(factories))}")
    options = dict(adapters[0].options) if adapters else {}
    options.update(given_options("--option", given))
    factory: RegistrarFactory = factories[kind].load()
    try:
        return factory(options)
    except AdapterConfigError as error:
        raise click.ClickException(str(error)) from None
