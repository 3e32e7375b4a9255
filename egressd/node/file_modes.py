"""Who else may write what the node believes, or read what it keeps secret: by owner and mode of files.

A file or directory that the node takes orders from (the bootstrap file, resources, its own directories)
is for root and the node's user to write; so is every directory on the way to it, as whoever may write
there can put another in its place. A file of a secret is for them, and for a group that the node is in,
to read. Modes are judged as they are, whether others could reach the file now or not (as ssh does).
"""

from __future__ import annotations

import glob
import os
import pwd
import stat
from collections.abc import Iterable, Iterator

import msgspec

from egressd.api.message import Message, fields_of
from egressd.api.resource import Kind, Place, Problem, Resource, Severity
from egressd.node.bootstrap_model import Bootstrap
from egressd.node.shown import declared_shape
from egressd.node.sources import configured_sources
from egressd.registry.adapter_options import holds_secret, secret_files

MOST_ENTRIES = 10_000  # of a resource directory that are looked at
_STATIC = "static"
_KEYS = frozenset({"tls.key", "key", "key.pem"})  # in credentialsDir and identityDir


class Reader(msgspec.Struct, frozen=True):
    """Whom the node runs as."""

    uid: int
    groups: frozenset[int]

    @classmethod
    def current(cls) -> Reader:
        """This process."""
        return cls(os.geteuid(), frozenset({os.getegid(), *os.getgroups()}))

    @classmethod
    def of_node(cls, bootstrap: Bootstrap) -> Reader:
        """The owner of its state, for commands that somebody else runs; without state, this process."""
        try:
            owner = pwd.getpwuid(os.stat(bootstrap.state_dir).st_uid)
        except (OSError, KeyError):
            return cls.current()
        groups = os.getgrouplist(owner.pw_name, owner.pw_gid)
        return cls(owner.pw_uid, frozenset(groups))


def others_who_write(mode: int, uid: int, gid: int, reader: Reader) -> str:
    """Who besides root and the node's user may write a file of this mode and owner; "" = nobody."""
    if uid not in (0, reader.uid):
        return f"user {uid}, its owner"
    if mode & stat.S_IWOTH:
        return "everybody"
    return f"group {gid}" if mode & stat.S_IWGRP and gid != 0 else ""


def others_who_read(mode: int, uid: int, gid: int, reader: Reader) -> str:
    """Who besides root, the node's user and its groups may read it; "" = nobody."""
    if mode & stat.S_IROTH:
        return "everybody"
    if mode & stat.S_IRGRP and gid != 0 and gid not in reader.groups:
        return f"group {gid}"
    return f"user {uid}, its owner" if uid not in (0, reader.uid) and mode & stat.S_IRUSR else ""


def check_bootstrap_file(path: str, bootstrap: Bootstrap, reader: Reader) -> Iterator[Problem]:
    """The bootstrap file itself; one that holds secrets is one."""
    yield from _check_written("", path, reader)
    if any(_holds_secret(bootstrap)):
        yield from check_secret("", path, reader)


def check_files(bootstrap: Bootstrap, reader: Reader) -> Iterator[Problem]:
    """What the bootstrap names. What is not there is no problem of this kind."""
    yield from _check_written("runDir", bootstrap.run_dir, reader)
    yield from _check_written("stateDir", bootstrap.state_dir, reader)
    for field, path in _resource_paths(bootstrap):
        for found in sorted(glob.glob(path)) or [path]:
            yield from _check_tree(field, found, reader)
    for field, directory in (
        ("tls.credentialsDir", bootstrap.tls.credentials_dir),
        ("tls.identityDir", bootstrap.tls.identity_dir),
    ):
        if directory:
            yield from _check_written(field, directory, reader)
            for entry in _entries(directory):
                if os.path.basename(entry) in _KEYS and os.path.isfile(entry):
                    yield from check_secret(field, entry, reader)
    for index, config in enumerate(bootstrap.adapters):
        for name, path in secret_files(declared_shape(config), config.options):
            yield from check_secret(f"adapters[{index}].options.{name}", path, reader)


def check_secret(field: str, path: str, reader: Reader) -> Iterator[Problem]:
    """A file that holds a secret: nobody else reads or replaces it."""
    try:
        found = os.stat(path)
    except OSError:
        return
    who = others_who_read(found.st_mode, found.st_uid, found.st_gid, reader)
    if who:
        yield _problem(field, path, found.st_mode, f"{who} may read", "the file of a secret")
    yield from _check_written(field, path, reader)


def check_keys(resources: Iterable[Resource], reader: Reader) -> Iterator[Problem]:
    """The private keys that DestinationRules and Gateways name by path."""
    for resource in resources:
        if resource.kind in (Kind.DESTINATION_RULE, Kind.GATEWAY):
            for field, path in _keys_within(resource.spec, "spec"):
                for problem in check_secret(field, path, reader):
                    yield msgspec.structs.replace(problem, resource=resource.ref)


def _keys_within(message: Message, path: str) -> Iterator[tuple[str, str]]:
    for info in fields_of(type(message)):
        value, where = getattr(message, info.name), f"{path}.{info.encode_name}"
        if info.name == "private_key" and value:
            yield where, value
        elif isinstance(value, Message):
            yield from _keys_within(value, where)
        elif isinstance(value, tuple):
            for index, one in enumerate(value):
                if isinstance(one, Message):
                    yield from _keys_within(one, f"{where}[{index}]")


def _check_written(field: str, path: str, reader: Reader) -> Iterator[Problem]:
    """The first place on the way to a path, or the path itself, that others may write."""
    path = os.path.abspath(path)
    for place in _way(path):
        try:
            found = os.stat(place)
        except OSError:
            continue
        if place != path and place != os.path.realpath(path) and found.st_mode & stat.S_ISVTX:
            continue  # as /tmp: others cannot replace what is not theirs
        who = others_who_write(found.st_mode, found.st_uid, found.st_gid, reader)
        if who:
            is_way = place not in (path, os.path.realpath(path))
            what = f"{'the way to ' if is_way else ''}{field or 'the bootstrap file'}"
            yield _problem(field, place, found.st_mode, f"{who} may write", what)
            return


def _way(path: str) -> list[str]:
    """A path and the directories above it, from the root down; those behind links, too."""
    places: dict[str, None] = {}
    for one in (os.path.abspath(path), os.path.realpath(path)):
        parts = one.split("/")
        for length in range(1, len(parts)):
            places["/".join(parts[:length]) or "/"] = None
        places[one] = None
    return [*places]


def _check_tree(field: str, path: str, reader: Reader) -> Iterator[Problem]:
    """A resource file, or a directory with all that is in it."""
    yield from _check_written(field, path, reader)
    for entry in _entries(path):
        try:
            found = os.stat(entry)
        except OSError:
            continue
        who = others_who_write(found.st_mode, found.st_uid, found.st_gid, reader)
        if who:
            yield _problem(field, entry, found.st_mode, f"{who} may write", "a resource")


def _entries(directory: str) -> Iterator[str]:
    """What is below a directory, links not followed, up to a bound."""
    count = 0
    for folder, folders, files in os.walk(directory):
        for name in sorted((*folders, *files)):
            count += 1
            if count > MOST_ENTRIES:
                return
            yield os.path.join(folder, name)


def _resource_paths(bootstrap: Bootstrap) -> Iterator[tuple[str, str]]:
    """Fields and paths of all static sources."""
    sources = configured_sources(bootstrap)
    before = len(sources) - len(bootstrap.adapters)
    for index, config in enumerate(sources):
        if config.type == _STATIC:
            paths = config.options.get("paths")
            field = f"adapters[{index - before}].options.paths" if index >= before else "resources"
            for path in [paths] if isinstance(paths, str) else _texts(paths):
                yield field, path


def _texts(value: object) -> Iterable[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def _holds_secret(bootstrap: Bootstrap) -> Iterator[bool]:
    for config in bootstrap.adapters:
        shape = declared_shape(config)
        yield shape is not None and holds_secret(shape, config.options)


def _problem(field: str, path: str, mode: int, who: str, what: str) -> Problem:
    return Problem(
        severity=Severity.WARNING,
        place=Place(path),
        field=field,
        found=f"mode {stat.S_IMODE(mode):04o}, {who}",
        expected=f"{what} for root and the node's user only",
    )
