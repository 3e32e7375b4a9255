"""Which files there are and what they hold: read once per change, the last good content kept."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field

from egressd.api.parse import parse_text
from egressd.api.resource import Place, Problem, Resource, Severity
from egressd.registry.records import Record, Snapshot

_ENDINGS = (".yaml", ".yml", ".json")
Stamp = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Read:
    """One file as last read."""

    stamp: Stamp
    resources: tuple[Resource, ...] = ()
    problems: tuple[Problem, ...] = ()

    @property
    def is_refused(self) -> bool:
        """A file with any error is refused as a whole: half of an intention is none."""
        return any(problem.severity is Severity.ERROR for problem in self.problems)


@dataclass(slots=True)
class Tree:
    """The files of a source between two looks."""

    source: str
    paths: Sequence[str]
    read: dict[str, Read] = field(default_factory=dict)
    first_seen: dict[str, int] = field(default_factory=dict)

    def directories(self) -> list[str]:
        """What to watch: each directory of the tree, or the nearest one above that exists."""
        found: list[str] = []
        for path in self.paths:
            if os.path.isdir(path):
                found += [folder for folder, _, _ in os.walk(path, followlinks=True)]
                continue
            above = os.path.dirname(os.path.abspath(path))
            while not os.path.isdir(above):
                above = os.path.dirname(above)
            found.append(above)
        return list(dict.fromkeys(found))

    def look(self) -> tuple[Snapshot, tuple[Problem, ...]] | None:
        """Read what changed. None when nothing did."""
        now = {file: stamp for file in _files(self.paths) if (stamp := _stamp(file)) is not None}
        changed = [
            f for f, stamp in now.items() if f not in self.read or self.read[f].stamp != stamp
        ]
        gone = self.read.keys() - now.keys()
        if not changed and not gone and self.first_seen:
            return None
        for file in gone:
            del self.read[file]
            self.first_seen.pop(file, None)
        for file in sorted(changed):
            self.read[file] = _read(file, now[file])
            self.first_seen.setdefault(file, len(self.first_seen))
        return self._snapshot()

    def _snapshot(self) -> tuple[Snapshot, tuple[Problem, ...]]:
        records: dict[str, Record] = {}
        problems: list[Problem] = []
        refused: set[str] = set()
        for file in sorted(self.read, key=lambda f: (self.first_seen[f], f)):
            read = self.read[file]
            problems += read.problems
            if read.is_refused:
                refused.add(file)
                continue
            for resource in read.resources:
                other = records.get(resource.ref)
                if other is not None:
                    problems.append(_twice(resource, other.resource))
                    continue
                records[resource.ref] = Record(resource=resource, source=self.source, origin=file)
        snapshot = Snapshot(records=tuple(records.values()), failed_origins=frozenset(refused))
        return snapshot, tuple(problems)


def _twice(second: Resource, first: Resource) -> Problem:
    return Problem(
        place=second.place,
        resource=second.ref,
        field="metadata.name",
        found=f"the same kind, namespace and name as in {first.place.file}:{first.place.line}",
        expected="one definition; the earlier file keeps it",
    )


def _files(paths: Sequence[str]) -> list[str]:
    found: list[str] = []
    for path in paths:
        if not os.path.isdir(path):
            found.append(path)
            continue
        for folder, folders, names in os.walk(path, followlinks=True):
            # Hidden ones are editors' and ConfigMap's "..data" internals, reached by their links.
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            found += [os.path.join(folder, name) for name in sorted(names) if _is_resource(name)]
    return found


def _is_resource(name: str) -> bool:
    return name.endswith(_ENDINGS) and not name.startswith((".", "#"))


def _stamp(file: str) -> Stamp | None:
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _read(file: str, stamp: Stamp) -> Read:
    try:
        with open(file, encoding="utf-8") as stream:
            text = stream.read()
    except (OSError, UnicodeDecodeError) as error:
        problem = Problem(place=Place(file), found=str(error), expected="a readable UTF-8 file")
        return Read(stamp, problems=(problem,))
    parsed = parse_text(text, file)
    return Read(stamp, parsed.resources, parsed.problems)
