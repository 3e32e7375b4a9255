"""What files are judged together with: the registry of the node, or one that is named."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple, TypeVar

import click

from egressd.analysis.surroundings import FILES
from egressd.api.resource import Resource, Severity
from egressd.cli.node_access import parse_files
from egressd.cli.output import echo
from egressd.node.bootstrap import DEFAULT_PATH, BootstrapError, load_bootstrap
from egressd.node.bootstrap_model import Bootstrap
from egressd.node.sources import configured_sources
from egressd.registry.records import Record
from egressd.registry.store import StoreError
from egressd.registry.store_copy import open_store

F = TypeVar("F", bound=Callable[..., object])
_STORE_FILE = "data.mdb"
_FLEET = "fleet"
_NAMED = "registry"


class Surroundings(NamedTuple):
    """What is in force beside the files: `name` says which registry, "" = none, offline. `order` are its
    sources by precedence, `fleet` those that hold the fleet's resources."""

    records: tuple[Record, ...] = ()
    order: tuple[str, ...] = ()
    name: str = ""
    fleet: frozenset[str] = frozenset()

    def resources(self) -> Iterator[Resource]:
        """All of it, but for what the fleet's store is asked for itself."""
        return (record.resource for record in self.records if record.source not in self.fleet)

    def places(self, paths: Iterable[Path]) -> set[str]:
        """The files that the registry has resources of and that are among these files and directories,
        however they are written: what it has of them is read afresh."""
        real = {os.path.realpath(path) for path in paths}
        return {
            place
            for place in {record.resource.place.file for record in self.records}
            if place.startswith("/") and not real.isdisjoint(_upwards(os.path.realpath(place)))
        }

    def without(self, paths: Iterable[Path]) -> Iterator[Resource]:
        """What none of these files and directories states."""
        read = self.places(paths)
        return (r.resource for r in self.records if r.resource.place.file not in read)


def _upwards(file: str) -> Iterator[str]:
    """A file and the directories above it."""
    yield file
    yield from map(str, Path(file).parents)


def registry_options(function: F) -> F:
    """`--registry` and `--offline`."""
    directory = click.option(
        "--registry",
        type=click.Path(exists=True, path_type=Path),
        help="Together with this registry: a node's stateDir or a copy of it, or resources in files."
        "  [default: the node's own, where there is one]",
    )
    offline = click.option("--offline", is_flag=True, help="Look at the files alone.")
    return directory(offline(function))


def find_surroundings(
    bootstrap_path: Path | None, registry: Path | None = None, *, offline: bool = False
) -> Surroundings:
    """The registry that is named, else that of the node, where it has one. A node's that cannot be read
    is said on standard error."""
    if offline and registry is not None:
        raise click.UsageError("--offline looks at no registry: leave out --registry")
    if offline:
        return Surroundings()
    bootstrap = _bootstrap(bootstrap_path)
    if registry is None:
        return _of_node(bootstrap) if bootstrap is not None else Surroundings()
    for place in (registry, registry / _NAMED):
        if (place / _STORE_FILE).exists():
            try:
                return _read(place, bootstrap)
            except StoreError as error:
                raise click.ClickException(str(error)) from None
    resources, problems = parse_files([registry])
    errors = [problem for problem in problems if problem.severity is Severity.ERROR]
    if errors or not resources:
        found = str(errors[0]) if errors else f"{registry}: found neither a registry nor resources"
        raise click.ClickException(f"--registry: {found}")
    records = (Record(resource=r, source=FILES, origin=r.place.file) for r in resources)
    return Surroundings(tuple(records), (FILES,), str(registry))


def _bootstrap(path: Path | None) -> Bootstrap | None:
    """None: there is none that can be read, which whoever needs it says."""
    if path is None and DEFAULT_PATH.exists():
        path = DEFAULT_PATH
    try:
        return load_bootstrap(path)
    except BootstrapError:
        return None


def _of_node(bootstrap: Bootstrap) -> Surroundings:
    place = Path(bootstrap.store_path)
    try:
        os.stat(place / _STORE_FILE)
        return _read(place, bootstrap)
    except (FileNotFoundError, NotADirectoryError):
        return Surroundings()
    except (OSError, StoreError) as error:
        echo(f"without the node's registry: {error}", err=True)
        return Surroundings()


def _read(place: Path, bootstrap: Bootstrap | None) -> Surroundings:
    reader = open_store(place)
    try:
        records = reader.all_records()
    finally:
        reader.close()
    sources = configured_sources(bootstrap) if bootstrap is not None else ()
    return Surroundings(
        records,
        tuple(config.source for config in sources),
        str(place),
        frozenset(config.source for config in sources if config.type == _FLEET),
    )
