"""Makes one invalid resource of a valid one: the path of a field, what to put there instead."""

from __future__ import annotations

import copy
import re
from dataclasses import dataclass
from typing import Any, Final

import yaml

ABSENT: Final = object()
"""In place of a value: take the field away."""

_STEP = re.compile(r'\.?([-_A-Za-z0-9]+)|\[(\d+)\]|\["([^"]*)"\]')


@dataclass(frozen=True)
class InvalidCase:
    """A text that must be refused, with an error at `field` whose text holds `fragment`."""

    name: str
    text: str
    field: str
    fragment: str


def steps(path: str) -> list[str | int]:
    """`spec.http[0].match` as keys and indices."""
    return [int(m[2]) if m[2] else m[1] or m[3] for m in _STEP.finditer(path)]


def get(document: Any, path: str) -> Any:
    """What stands at `path`."""
    for step in steps(path):
        document = document[step]
    return document


def changed(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of `base` with a value put at each path; mappings on the way are made."""
    document = copy.deepcopy(base)
    for path, value in changes.items():
        *way, last = steps(path)
        node: Any = document
        for step in way:
            node = node.setdefault(step, {}) if isinstance(node, dict) else node[step]
        if value is ABSENT:
            del node[last]
        elif isinstance(node, list) and last == len(node):
            node.append(value)
        else:
            node[last] = value
    return document


def as_text(document: Any) -> str:
    """YAML of a document."""
    text = yaml.safe_dump(document, sort_keys=False, allow_unicode=True)
    return str(text)


def case(
    name: str,
    base: dict[str, Any],
    changes: dict[str, Any],
    fragment: str,
    field: str = "",
) -> InvalidCase:
    """A case; the error is expected at the first changed path unless `field` says where."""
    where = field or next(iter(changes))
    title = f"{base['kind']} {where}: {name}"
    return InvalidCase(title, as_text(changed(base, changes)), where, fragment)
