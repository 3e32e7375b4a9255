"""Builds an API message from a node tree, strictly, and reports everything that does not fit.

The plan of a message type (its fields, what each takes) is worked out once from the type hints.
Decoding never stops at a problem: a part that does not fit is reported and stands in with its
default, so that one reading finds all problems. What counts as fitting is what the Kubernetes API
server with Istio's definitions takes: camel-case names, numbers unquoted, enums by name.
"""

from __future__ import annotations

import base64
import binascii
import enum
import functools
import math
import re
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Final, TypeVar, Union, cast, get_args, get_origin

import msgspec

from egressd.api import nodes
from egressd.api.deprecated import REPLACEMENTS
from egressd.api.duration import EXPECTED as A_DURATION
from egressd.api.duration import parse_duration
from egressd.api.grammar import escaped
from egressd.api.message import Message, Percent, fields_of
from egressd.api.nearest import expected_name
from egressd.api.report import Report, quoted
from egressd.api.secret import redact_value
from egressd.api.shape import list_shape, map_shape, mapping_shape, misplaced, string_shape

M = TypeVar("M", bound=Message)
Decoder = Callable[[nodes.Node, str, Report], object]

_SIMPLE_KEY: Final = re.compile(r"[-_A-Za-z0-9]+")
_DECIMAL: Final = re.compile(r"[0-9]+")


@dataclass(frozen=True, slots=True)
class _Field:
    """One field of a message: its Python and JSON names and how its value is read."""

    attribute: str
    required: bool
    decode: Decoder
    stand_in: object
    group: str
    deprecated: bool


@dataclass(frozen=True, slots=True)
class _Plan:
    """How a message type is read."""

    fields: Mapping[str, _Field]
    required: tuple[str, ...]


def decode_message(cls: type[M], node: nodes.Node, path: str, report: Report) -> M:
    """The message that `node` holds; parts that do not fit are reported and left at defaults."""
    report.lines[path] = node.line
    if not isinstance(node, nodes.Mapping):
        if cls is Percent and (short := _bare_percent(node, path, report)) is not None:
            return cast(M, short)
        report.undecodable(path, node.line, describe(node), mapping_shape(cls, path, node))
        placeholder: M = stand_in(cls)
        return placeholder
    plan = _plan(cls)
    values: dict[str, object] = {}
    written: dict[str, str] = {}
    groups: dict[str, str] = {}
    for spelling, value, line in entries(node, path, report):
        name = _current(cls, spelling, plan)
        field = plan.fields.get(name)
        if field is None:
            expected = misplaced(cls, node, spelling) or expected_name(spelling, plan.fields)
            found = f"unknown field {quoted(spelling)}"
            report.undecodable(join(path, spelling), line, found, expected)
            continue
        if name in written:
            found = f"{quoted(spelling)} beside {quoted(written[name])}"
            report.undecodable(join(path, spelling), line, found, f"{quoted(name)} once")
            continue
        written[name] = spelling
        where = join(path, name)
        if name != spelling:
            found, expected = (
                f"the old spelling {quoted(spelling)}",
                f"{quoted(name)}; read as that",
            )
            report.lines[join(path, spelling)] = line
            report.warn(join(path, spelling), found, expected)
        if not is_null(value):
            _note(field, name, where, line, groups, report)
            values[field.attribute] = field.decode(value, where, report)
    for name in plan.required:
        field = plan.fields[name]
        if field.attribute not in values:
            report.undecodable(join(path, name), node.line, "nothing", "this required field")
            values[field.attribute] = field.stand_in
    return cls(**values)


def entries(node: nodes.Mapping, path: str, report: Report) -> list[tuple[str, nodes.Node, int]]:
    """The mapping's string keys with values and lines; other keys and repeats are reported."""
    found: list[tuple[str, nodes.Node, int]] = []
    seen: dict[str, int] = {}
    for key, value in node.pairs:
        name = _key_name(key)
        if name is None:
            report.undecodable(path, key.line, f"key {describe(key)}", "a string as key")
        elif name in seen:
            where = join(path, name)
            found_twice = f"{quoted(name)} a second time (first in line {seen[name]})"
            report.undecodable(where, key.line, found_twice, "each key once")
        else:
            seen[name] = key.line
            found.append((name, value, key.line))
            if isinstance(key, nodes.Scalar) and isinstance(key.value(), bool):
                expected = f'"{key.text}" in quotes, unless the key is meant to be {name}'
                report.warn(join(path, name), f"key {describe(key)}", expected)
    return found


def _key_name(key: nodes.Node) -> str | None:
    """The key that JSON has for this one (`sigs.k8s.io/yaml`): numbers and booleans as text."""
    value = key.value() if isinstance(key, nodes.Scalar) else None
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:g}" if isinstance(value, float) else None if value is None else str(value)


def describe(node: nodes.Node) -> str:
    """What a node holds, in a message's words."""
    if isinstance(node, nodes.Mapping):
        is_template = node.pairs and isinstance(node.pairs[0][0], nodes.Mapping)
        return "a template, {{ }}" if is_template else "a mapping"
    if isinstance(node, nodes.Sequence):
        return "a list"
    value = node.value()
    if value is None:
        return "null"
    if isinstance(value, bool):
        return f"boolean {node.text}"
    if isinstance(value, str):
        return f"string {quoted(value)}"
    return f"number {quoted(node.text).strip(chr(34))}"


def is_null(node: nodes.Node) -> bool:
    """True for YAML's null, which leaves a field unset."""
    return isinstance(node, nodes.Scalar) and node.value() is None


def join(path: str, name: str) -> str:
    """The path of a key under `path`; a key with dots or slashes stands in brackets."""
    if not _SIMPLE_KEY.fullmatch(name):
        shown = redact_value(name) if "@" in name or "?" in name or "#" in name else name
        return f'{path}["{escaped(shown)}"]'
    return f"{path}.{name}" if path else name


def decode_string(node: nodes.Node, path: str, report: Report) -> str:
    """A string; numbers and booleans are refused, as a writer mostly forgot the quotes."""
    value = _scalar(node, path, report)
    if isinstance(value, str):
        return value
    hint = string_shape(path, node)
    if isinstance(node, nodes.Scalar) and value is not None:
        hint = f'a string: quote it, "{quoted(node.text).strip(chr(34))}"'
    elif text := _split_text(node):
        hint = f"a string: quote it, {quoted(text)}; a colon at its end makes a mapping of it"
    report.undecodable(path, node.line, describe(node), hint)
    return ""


def _split_text(node: nodes.Node) -> str:
    """What stood in the text where YAML took a plain scalar's last colon for a key's: `- 2001:db8::`."""
    if not isinstance(node, nodes.Mapping) or len(node.pairs) != 1:
        return ""
    key, value = node.pairs[0]
    is_split = isinstance(key, nodes.Scalar) and key.plain and is_null(value)
    return f"{key.text}:" if is_split and isinstance(key, nodes.Scalar) else ""


def decode_string_map(node: nodes.Node, path: str, report: Report) -> Mapping[str, str]:
    """A map of strings, such as labels."""
    decoded = _map_of(decode_string)(node, path, report)
    return cast("Mapping[str, str]", decoded)


@functools.cache
def stand_in(cls: type[M]) -> M:
    """A message whose required fields hold empty values, in place of one that did not decode."""
    plan = _plan(cls)
    return cls(**{f.attribute: f.stand_in for f in plan.fields.values() if f.required})


def _bare_percent(node: nodes.Node, path: str, report: Report) -> Percent | None:
    value = node.value() if isinstance(node, nodes.Scalar) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    if not math.isfinite(value):
        return None
    report.warn(path, f"a bare number {value}", f"the mapping {{value: {value}}}; read as that")
    return Percent(value=float(value))


def _current(cls: type[Message], spelling: str, plan: _Plan) -> str:
    """The field's name now: older files and tools have protobuf's own spelling, or a former name."""
    if spelling in plan.fields:
        return spelling
    camel = re.sub(r"_([a-z0-9])", lambda m: m[1].upper(), spelling)
    return cls.OLD_NAMES.get(camel, camel)


def _note(
    field: _Field, name: str, path: str, line: int, groups: dict[str, str], report: Report
) -> None:
    report.lines[path] = line
    if field.deprecated:
        report.warn(path, "a deprecated field", REPLACEMENTS[name])
    if field.group:
        first = groups.setdefault(field.group, name)
        if first != name:
            report.undecodable(path, line, f"{name} beside {first}", "only one of the two")


# --- plans -------------------------------------------------------------------------------------


@functools.cache
def _plan(cls: type[Message]) -> _Plan:
    group_of = {name: group for group, names in cls.ONEOF.items() for name in names}
    fields = {
        info.encode_name: _Field(
            attribute=info.name,
            required=info.required,
            decode=_decoder(info.type),
            stand_in=_empty(info.type) if info.required else None,
            group=group_of.get(info.encode_name, ""),
            deprecated=info.encode_name in cls.DEPRECATED,
        )
        for info in fields_of(cls)
    }
    return _Plan(fields, tuple(name for name, field in fields.items() if field.required))


def _empty(hint: Any) -> object:
    if get_origin(hint) is Annotated:
        return _empty(get_args(hint)[0])
    if get_origin(hint) is tuple:
        return ()
    if isinstance(hint, type) and issubclass(hint, Message):
        return stand_in(hint)
    return cast("type[object]", hint)()


def _decoder(hint: Any) -> Decoder:
    meta: msgspec.Meta | None = None
    if get_origin(hint) is Annotated:
        hint, meta = get_args(hint)[:2]
    if meta is not None and meta.extra is not None and "decode" in meta.extra:
        return cast("Decoder", meta.extra["decode"])  # the type brings its own way to be read
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return _decoder(next(arg for arg in get_args(hint) if arg is not types.NoneType))
    if origin is tuple:
        return _list_of(get_args(hint)[0])
    if origin is not None and issubclass(origin, Mapping):
        return _map_of(_decoder(get_args(hint)[1]))
    if issubclass(hint, Message):
        return functools.partial(decode_message, hint)
    if issubclass(hint, enum.Enum):
        return functools.partial(_decode_enum, hint)
    if hint is bool:
        return _decode_bool
    if hint is bytes:
        return _decode_bytes
    if hint is str:
        return decode_string
    scalar = (meta.extra or {}).get("scalar") if meta else None
    if scalar == "duration":
        return _decode_duration
    if hint is float:
        return _decode_float
    if scalar == "uint64":
        return functools.partial(_decode_int, 0, 2**64 - 1, True)
    assert meta is not None and meta.ge is not None and meta.le is not None
    return functools.partial(_decode_int, int(meta.ge), int(meta.le), False)


def _list_of(inner: Any) -> Decoder:
    decode = _decoder(inner)

    def decode_list(node: nodes.Node, path: str, report: Report) -> object:
        report.lines[path] = node.line
        if not isinstance(node, nodes.Sequence):
            report.undecodable(path, node.line, describe(node), list_shape(inner, path, node))
            return ()
        decoded = []
        for index, item in enumerate(node.items):
            where = f"{path}[{index}]"
            report.lines[where] = item.line
            decoded.append(decode(item, where, report))
        return tuple(decoded)

    return decode_list


def _map_of(decode: Decoder) -> Decoder:
    def decode_map(node: nodes.Node, path: str, report: Report) -> object:
        report.lines[path] = node.line
        if not isinstance(node, nodes.Mapping):
            report.undecodable(path, node.line, describe(node), map_shape(path))
            return {}
        decoded = {}
        for name, value, line in entries(node, path, report):
            where = join(path, name)
            report.lines[where] = line
            decoded[name] = decode(value, where, report)
        return decoded

    return decode_map


# --- scalars -----------------------------------------------------------------------------------


def _scalar(node: nodes.Node, path: str, report: Report) -> str | int | float | bool | None:
    report.lines.setdefault(path, node.line)
    return node.value() if isinstance(node, nodes.Scalar) else None


def _decode_bool(node: nodes.Node, path: str, report: Report) -> bool:
    value = _scalar(node, path, report)
    if isinstance(value, bool):
        return value
    report.undecodable(path, node.line, describe(node), "true or false (unquoted)")
    return False


def _decode_int(
    low: int, high: int, quoted_too: bool, node: nodes.Node, path: str, report: Report
) -> int:
    value = _scalar(node, path, report)
    if quoted_too and isinstance(value, str) and _DECIMAL.fullmatch(value) and len(value) <= 20:
        value = int(value)  # protobuf JSON writes 64-bit integers as strings
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        report.undecodable(path, node.line, describe(node), "an integer (unquoted)")
        return 0
    if not low <= value <= high:
        report.undecodable(path, node.line, describe(node), f"an integer from {low} to {high}")
        return 0
    return value


def _decode_float(node: nodes.Node, path: str, report: Report) -> float:
    value = _scalar(node, path, report)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        try:
            number = float(value)
        except OverflowError:
            number = math.inf
        if math.isfinite(number):
            return number
    report.undecodable(path, node.line, describe(node), "a number (unquoted)")
    return 0.0


def _decode_duration(node: nodes.Node, path: str, report: Report) -> float:
    value = _scalar(node, path, report)
    if not isinstance(value, str):
        report.undecodable(path, node.line, describe(node), A_DURATION)
        return 0.0
    try:
        return parse_duration(value)
    except ValueError as error:
        found = f"{describe(node)} ({error})"
        report.undecodable(path, node.line, found, A_DURATION)
        return 0.0


def _decode_bytes(node: nodes.Node, path: str, report: Report) -> bytes:
    value = _scalar(node, path, report)
    if isinstance(value, str):
        padded = value.translate({ord("-"): "+", ord("_"): "/"}).rstrip("=")
        try:
            return base64.b64decode(padded + "=" * (-len(padded) % 4), validate=True)
        except (binascii.Error, ValueError):
            pass
    report.undecodable(path, node.line, describe(node), "base64 text")
    return b""


def _decode_enum(cls: type[enum.Enum], node: nodes.Node, path: str, report: Report) -> enum.Enum:
    value = _scalar(node, path, report)
    if isinstance(value, str) and value in cls.__members__:
        return cls[value]
    report.undecodable(path, node.line, describe(node), "one of " + ", ".join(cls.__members__))
    return next(iter(cls))
