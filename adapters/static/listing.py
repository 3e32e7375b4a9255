"""Which files a source has: paths, patterns, directories, includes; and what to watch for changes.

| path | means |
| --- | --- |
| a file | that file, whatever its ending |
| a directory | its `.yaml`, `.yml` and `.json` files and those below it, hidden ones left out |
| a pattern with `*`, `?`, `[...]`, `**` | the same of each file and directory that matches |
| a file that ends in `.include` | the paths that it lists, one a line, seen from its directory |
"""

from __future__ import annotations

import glob
import os
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from egressd.api.resource import Place, Problem

_ENDINGS = (".yaml", ".yml", ".json")
_INCLUDE = ".include"
_MOST_LINKS = 40  # of one path, as the kernel has it


@dataclass(slots=True)
class Listing:
    """The files of a source at one moment."""

    read_include: Callable[[str], str]
    files: dict[str, str] = field(default_factory=dict)  # to the include file that names it, or ""
    watch: dict[str, bool] = field(
        default_factory=dict
    )  # directories; whether files' contents count
    missing: dict[str, str] = field(default_factory=dict)  # what should be there, and why it is not
    problems: list[Problem] = field(default_factory=list)

    def keeps(self, file: str, via: str) -> bool:
        """Whether a file that is not there any more belongs to something that is missing as a whole:
        an unmounted directory says nothing about what was in it."""
        return via in self.missing or any(
            file == path or file.startswith(f"{path}/") for path in self.missing
        )


def _text_of(path: str) -> str:
    with open(path, encoding="utf-8") as file:
        return file.read()


def list_files(paths: Iterable[str], read_include: Callable[[str], str] = _text_of) -> Listing:
    """What the configured paths lead to now. `read_include` gives the text of an include file, or raises
    `OSError` or `UnicodeDecodeError`."""
    listing = Listing(read_include=read_include)
    seen: set[tuple[int, int]] = set()
    for path in paths:
        _add(listing, os.path.abspath(path), "", seen)
    return listing


def _add(listing: Listing, path: str, via: str, seen: set[tuple[int, int]]) -> None:
    if glob.has_magic(path):
        base = _base_of(path)
        if not os.path.isdir(base):
            _miss(listing, base, "no such directory", via)
            return
        _watch_tree(listing, base)
        for match in sorted(glob.glob(path, recursive=True)):
            if os.path.isdir(match) or _is_taken(os.path.basename(match)):
                _add_present(listing, match, via, seen)
    elif os.path.exists(path):
        _add_present(listing, path, via, seen)
    else:
        _watch_way(listing, path)
        _miss(listing, path, "no such file or directory", via)


def _add_present(listing: Listing, path: str, via: str, seen: set[tuple[int, int]]) -> None:
    _watch_way(listing, path)
    if os.path.isdir(path):
        _add_directory(listing, path, via, seen)
    elif path.endswith(_INCLUDE):
        _add_include(listing, path, seen)
    else:
        _take(listing, path, via)


def _add_directory(listing: Listing, path: str, via: str, seen: set[tuple[int, int]]) -> None:
    try:
        found = os.stat(path)
        entries = sorted(os.scandir(path), key=lambda entry: entry.name)
    except OSError as error:
        _miss(listing, path, error.strerror or str(error), via)
        return
    key = found.st_dev, found.st_ino
    if key in seen:
        return  # a link that leads back up
    seen.add(key)
    listing.watch[path] = True
    for entry in entries:
        if entry.name.startswith((".", "#")):
            continue  # editors' files, and ConfigMap's "..data", which is reached by links
        is_link = entry.is_symlink()
        if is_link:
            _watch_way(listing, entry.path)
        if entry.is_dir():
            _add_directory(listing, entry.path, via, seen)
        elif not _is_taken(entry.name) or (is_link and not os.path.exists(entry.path)):
            continue
        elif entry.name.endswith(_INCLUDE):
            _add_include(listing, entry.path, seen)
        else:
            _take(listing, entry.path, via)


def _take(listing: Listing, path: str, via: str) -> None:
    """A file, unless its name is none that records, logs and JSON can carry."""
    shown = _shown(path)
    if shown == path:
        listing.files.setdefault(path, via)
    else:
        listing.problems.append(
            Problem(place=Place(shown), found="a name that is not UTF-8", expected="one that is")
        )


def _shown(path: str) -> str:
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _add_include(listing: Listing, path: str, seen: set[tuple[int, int]]) -> None:
    try:
        found = os.stat(path)
        lines = listing.read_include(path).splitlines()
    except (OSError, UnicodeDecodeError) as error:
        _miss(listing, path, str(error), path)
        return
    if (found.st_dev, found.st_ino) in seen:
        return  # it includes itself, or is named twice
    seen.add((found.st_dev, found.st_ino))
    folder = os.path.dirname(path)
    for number, line in enumerate(lines, 1):
        named = line.partition("#")[0].strip()
        if not named:
            continue
        wanted = os.path.abspath(os.path.join(folder, named))
        before = len(listing.missing)
        _add(listing, wanted, path, seen)
        if len(listing.missing) > before:
            why = listing.missing[next(reversed(listing.missing))]
            listing.problems.append(
                Problem(
                    place=Place(_shown(path), number), found=f"{named}: {why}", expected="a path"
                )
            )


def _miss(listing: Listing, path: str, why: str, via: str) -> None:
    listing.missing.setdefault(
        _shown(path), f"{why}, named by {_shown(via)}" if via and via != path else why
    )


def _is_taken(name: str) -> bool:
    return name.endswith((*_ENDINGS, _INCLUDE)) and not name.startswith((".", "#"))


def _base_of(pattern: str) -> str:
    """The directory that a pattern starts from."""
    base = os.path.dirname(pattern)
    while glob.has_magic(base):
        base = os.path.dirname(base)
    return base


def _watch_tree(listing: Listing, base: str) -> None:
    _watch_way(listing, base)
    for folder, folders, _ in os.walk(base):
        folders[:] = [name for name in folders if not name.startswith(".")]
        listing.watch[folder] = True


def _watch_way(listing: Listing, path: str) -> None:
    """Watch every directory in which a link on the way to `path` stands, and where it leads: a link
    that is swapped changes nothing in the directory that it led to. What is not there yet is waited
    for in the nearest directory that is."""
    for _ in range(_MOST_LINKS):
        at = "/"
        rest = path.strip("/").split("/")
        while rest:
            at = os.path.join(at, rest.pop(0))
            if os.path.islink(at):
                break
        else:
            break
        above = os.path.dirname(at)
        listing.watch.setdefault(above, False)
        try:
            path = os.path.abspath(os.path.join(above, os.readlink(at), *rest))
        except OSError:
            break
    above = os.path.dirname(path)
    while not os.path.isdir(above):
        above = os.path.dirname(above)
    listing.watch[above] = os.path.isfile(path) or listing.watch.get(above, False)
