"""The fast way in for what registries hold by the thousand: one ServiceEntry or WorkloadEntry as JSON.

It only ever says yes. A text that it reads is read by `parse_text` to the very same resource without
any problem (a test holds the two together); for all others, wrong or merely unusual ones, the answer
is None, and the exact reader finds the words and the lines. Seven times as fast as that one.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Final, NoReturn, get_args

import msgspec

from egressd.api.message import Message, fields_of
from egressd.api.metadata import READ, check_metadata
from egressd.api.report import Report
from egressd.api.resource import Kind, Metadata, Place, Resource
from egressd.api.rules import check_spec
from egressd.api.service_entry import ServiceEntry
from egressd.api.supported import NOT_YET_FIELDS
from egressd.api.workload_entry import WorkloadEntry

_SPECS: Final[Mapping[str, type[ServiceEntry | WorkloadEntry]]] = {
    Kind.SERVICE_ENTRY: ServiceEntry,
    Kind.WORKLOAD_ENTRY: WorkloadEntry,
}
_TOP_FIELDS: Final = {"apiVersion", "kind", "metadata", "spec"}
_READ: Final = frozenset(READ)


class _Unusual(Exception):
    """Not for this reader."""


def read_plain_json(text: str, file: str, versions: tuple[str, ...]) -> Resource | None:
    """The one resource of the text, when there is nothing to say about it. Never raises."""
    start = len(text) - len(text.lstrip(" \n"))
    if text[start : start + 1] != "{" or not text.isascii() or "\\u" in text or "\x7f" in text:
        return None  # characters that YAML and JSON read differently
    try:
        resource = _read(_loads(text), Place(file, text.count("\n", 0, start) + 1), versions)
    except (_Unusual, ValueError, RecursionError):  # of json and msgspec, too
        return None
    report = Report()
    check_metadata(resource.metadata, resource.kind, report)
    check_spec(resource.spec, resource.metadata, report)
    return None if report.problems else resource


def _read(data: object, place: Place, versions: tuple[str, ...]) -> Resource:
    if not isinstance(data, dict) or data.keys() != _TOP_FIELDS:
        raise _Unusual
    version, kind, metadata, spec = (
        data[name] for name in ("apiVersion", "kind", "metadata", "spec")
    )
    spec_type = _SPECS.get(kind) if isinstance(kind, str) else None
    if spec_type is None or version not in versions:
        raise _Unusual
    if not isinstance(metadata, dict) or not metadata.keys() <= _READ or "" in metadata.values():
        raise _Unusual
    _check_names(spec_type, spec)
    return Resource(
        kind=Kind(kind),
        metadata=msgspec.convert(metadata, Metadata),
        spec=msgspec.convert(spec, spec_type),
        api_version=version,
        place=place,
    )


def _check_names(message: type[Message], value: object) -> None:
    """Every field is one of the message's, by its own name."""
    known = _fields(message)
    if not isinstance(value, dict) or not value.keys() <= known.keys():
        raise _Unusual
    for name, within in value.items():
        inner = known[name]
        if inner is not None:
            for each in within if isinstance(within, list) else (within,):
                _check_names(inner, each)


@functools.cache
def _fields(message: type[Message]) -> Mapping[str, type[Message] | None]:
    """The JSON names of a message's fields, each with the message in it, if any. Without those that
    a reader may have to warn of."""
    found: dict[str, type[Message] | None] = {}
    for info in fields_of(message):
        if (message, info.encode_name) in NOT_YET_FIELDS or info.encode_name in message.DEPRECATED:
            continue
        types = (info.type, *get_args(info.type))
        inner = (t for t in types if isinstance(t, type) and issubclass(t, Message))
        found[info.encode_name] = next(inner, None)
    return found


def _once(pairs: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise _Unusual  # a key a second time
    return found


def _refuse(_: str) -> NoReturn:
    raise _Unusual


_loads = json.JSONDecoder(
    object_pairs_hook=_once, parse_float=_refuse, parse_constant=_refuse
).decode
