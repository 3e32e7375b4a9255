"""How the commands reach a node: its bootstrap, its registry on disk, its admin address."""

from __future__ import annotations

import http.client
import os
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import click
import msgspec
import yaml

from egressd.admin.state import ClusterView
from egressd.api.crosscheck import check_set
from egressd.api.other_kinds import OtherKinds, count_skipped, marked_kinds, skipped_words
from egressd.api.parse import parse_text
from egressd.api.resource import Place, Problem, Resource, Severity
from egressd.cli.ignore_kinds import ignored_kinds
from egressd.cli.output import echo, print_problems
from egressd.node.bootstrap import DEFAULT_PATH, BootstrapError, load_bootstrap
from egressd.node.bootstrap_model import Bootstrap
from egressd.node.status import read_status
from egressd.registry.memory import MemoryView
from egressd.registry.records import Record
from egressd.registry.store import StoreError, StoreReader
from egressd.registry.store_copy import open_store
from egressd.registry.view import RegistryView

T = TypeVar("T")
_ADMIN_S = 5.0
_ENDINGS = {".yaml", ".yml", ".json"}


def load_node(path: Path | None) -> Bootstrap:
    """The node's bootstrap. Ends the command with every problem of it."""
    if path is None and DEFAULT_PATH.exists():
        path = DEFAULT_PATH
    try:
        return load_bootstrap(path)
    except BootstrapError as error:
        print_problems(error.problems, err=True)
        raise click.exceptions.Exit(1) from None


@contextmanager
def open_registry(path: Path | None) -> Iterator[StoreReader]:
    """The node's registry on disk, daemon or not; for who may not write there, as it is now."""
    bootstrap = load_node(path)
    try:
        reader = open_store(bootstrap.store_path)
    except StoreError as error:
        raise click.ClickException(str(error)) from None
    try:
        yield reader
    finally:
        reader.close()


@contextmanager
def open_view(bootstrap_path: Path | None, config: Path | None) -> Iterator[RegistryView]:
    """The running node's registry, or files read offline."""
    if config is None:
        with open_registry(bootstrap_path) as reader:
            yield reader
        return
    resources, problems = read_files([config])
    print_problems(problems, err=True)
    if any(problem.severity is Severity.ERROR for problem in problems):
        raise click.ClickException(f"{config}: not valid; see `egressd validate {config}`")
    yield MemoryView([Record(resource=r, source="files", origin=r.place.file) for r in resources])


def resource_files(paths: list[Path], problems: list[Problem] | None = None) -> list[Path]:
    """Files as given, and the YAML and JSON files below directories, as the `static` adapter takes
    them: what begins with "." or "#" is left out (editors' files, ConfigMap's ..data). Directories that
    cannot be read go to `problems`."""
    found: list[Path] = []

    def note(error: OSError) -> None:
        if problems is not None:
            problems.append(unreadable(str(error.filename), error))

    for path in paths:
        if not path.is_dir():
            found.append(path)
            continue
        seen: set[tuple[int, int]] = set()
        for folder, folders, files in os.walk(path, onerror=note, followlinks=True):
            where = os.stat(folder)
            if (where.st_dev, where.st_ino) in seen:
                folders.clear()  # a link that leads back up
                continue
            seen.add((where.st_dev, where.st_ino))
            folders[:] = sorted(name for name in folders if name[0] not in ".#")
            named = (Path(folder, name) for name in sorted(files) if name[0] not in ".#")
            found += [file for file in named if file.suffix in _ENDINGS and file.is_file()]
    return found


def given_options(flag: str, given: Iterable[str]) -> dict[str, object]:
    """The options that NAME=VALUE arguments state, VALUE as YAML. Raises `click.UsageError`."""
    options: dict[str, object] = {}
    for one in given:
        name, is_given, value = one.partition("=")
        try:
            options[name] = yaml.safe_load(value)
        except yaml.YAMLError:
            is_given = ""
        if not is_given:
            raise click.UsageError(f"{flag} {_named(name)}: expected NAME=VALUE, VALUE as YAML")
    return options


def _named(name: str) -> str:
    """The name of a NAME=VALUE, where it is one and no value in its place."""
    return name if name.isidentifier() and len(name) < 40 else "(not shown)"


def unreadable(place: str, error: OSError | UnicodeDecodeError) -> Problem:
    """A file or directory that cannot be read."""
    if isinstance(error, UnicodeDecodeError):
        found = f"byte {error.start}: {error.reason}"
        return Problem(place=Place(place), found=found, expected="UTF-8 text")
    found = (error.strerror or str(error)).lower()
    return Problem(place=Place(place), found=found, expected="a file that can be read")


def parse_files(paths: list[Path]) -> tuple[list[Resource], list[Problem]]:
    """Every resource of files and directories, and every problem that one has by itself. Kinds that
    `--ignore-kinds` or the marker of a directory skips are said once."""
    resources: list[Resource] = []
    problems: list[Problem] = []
    skipped: list[tuple[str, ...]] = []
    marked: dict[str, OtherKinds] = {}
    for file in resource_files(paths, problems):
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            problems.append(unreadable(str(file), error))
            continue
        others = ignored_kinds().plus(marked_kinds(os.path.dirname(os.path.abspath(file)), marked))
        parsed = parse_text(text, str(file), others)
        resources += parsed.resources
        problems += parsed.problems
        skipped.append(parsed.skipped)
    if counts := count_skipped(skipped):
        echo(f"skipped, kinds of others: {skipped_words(counts)}", err=True)
    return resources, problems


def read_files(
    paths: list[Path], beside: Iterable[Resource] = ()
) -> tuple[list[Resource], list[Problem]]:
    """Every resource and every problem of files and directories, of resources together as well, and with
    what is in force `beside` them."""
    resources, problems = parse_files(paths)
    return resources, [*problems, *check_set(resources, beside)]


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("egressd-admin", timeout=_ADMIN_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(_ADMIN_S)
        self.sock.connect(self._path)


def ask_admin(bootstrap: Bootstrap, target: str, kind: type[T], *, method: str = "GET") -> T:
    """A JSON answer of the admin server; POST acts. Raises `click.ClickException` when it cannot be
    had or is a refusal."""
    address = bootstrap.admin_address
    try:
        address = read_status(Path(bootstrap.status_path)).admin_address or address
    except (OSError, msgspec.DecodeError):
        pass
    try:
        if address.startswith("unix:"):
            connection: http.client.HTTPConnection = _UnixConnection(address[5:])
        else:
            host, _, port = address.rpartition(":")
            connection = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=_ADMIN_S)
        headers = {"x-egressd-admin": "cli"} if method == "POST" else {}
        connection.request(method, target, headers=headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
    except (OSError, http.client.HTTPException) as error:
        raise click.ClickException(
            f"admin at {address}: {error}; is `egressd run` running, and may you reach it?"
        ) from None
    if answer.status != 200:
        raise click.ClickException(f"admin at {address}: {body.decode(errors='replace').strip()}")
    return msgspec.json.decode(body, type=kind)


def node_clusters(bootstrap: Bootstrap) -> dict[str, ClusterView] | None:
    """The clusters of the running node by name; None where none runs."""
    try:
        clusters = ask_admin(bootstrap, "/clusters?format=json", list[ClusterView])
    except click.ClickException:
        return None
    return {cluster.name: cluster for cluster in clusters}
