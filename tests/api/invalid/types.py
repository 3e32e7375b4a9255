"""For each field of each message: values of a wrong type or out of range, misspelt and missing."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, get_args, get_origin

import msgspec

from egressd.api.message import Message, Percent, fields_of
from egressd.api.resource import SPEC_TYPES, Kind
from tests.api.invalid.bases import BASES
from tests.api.invalid.mutate import ABSENT, InvalidCase, case

Wrong = tuple[str, object, str]  # what is wrong, the value, a fragment of the message

STRING: list[Wrong] = [
    ("a number", 5, "quote it"),
    ("a boolean", True, "found boolean true, expected a string"),
    ("a mapping", {"a": "b"}, "found a mapping, expected a string"),
]
INTEGER: list[Wrong] = [
    ("quoted", "80", 'found string "80", expected an integer (unquoted)'),
    ("a fraction", 1.5, "found number 1.5, expected an integer"),
    ("a boolean", True, "found boolean true, expected an integer"),
]
UINT32: list[Wrong] = [
    *INTEGER,
    ("negative", -1, "an integer from 0 to 4294967295"),
    ("too large", 2**32, "an integer from 0 to 4294967295"),
]
INT32: list[Wrong] = [*INTEGER, ("too large", 2**31, "an integer from -2147483648 to 2147483647")]
UINT64: list[Wrong] = [
    ("text", "many", "an integer"),
    ("negative", -1, "an integer from 0"),
    ("too large", 2**64, "an integer from 0 to 18446744073709551615"),
]
BOOL: list[Wrong] = [
    ("quoted", "true", 'found string "true", expected true or false'),
    ("a number", 1, "found number 1, expected true or false"),
]
FLOAT: list[Wrong] = [
    ("quoted", "1.5", 'found string "1.5", expected a number'),
    ("not finite", float("inf"), "expected a number"),
]
DURATION: list[Wrong] = [
    ("a number", 5, "found number 5, expected a duration"),
    ("no unit", "5", 'found string "5" (no unit), expected a duration'),
    ("an unknown unit", "5d", 'found string "5d" (not a duration)'),
    ("negative", "-1s", 'found string "-1s" (negative)'),
    ("with a space", "1 s", "(not a duration)"),
    ("out of range", "9999999999999s", "(out of range)"),
]
BYTES: list[Wrong] = [("not base64", "a*b", "expected base64 text")]
LIST: list[Wrong] = [
    ("no list", "a", "expected a list"),
    ("a mapping", {"a": "b"}, "expected a list"),
]
MAPPING: list[Wrong] = [("a list", ["a"], "found a list, expected a mapping")]
MESSAGE: list[Wrong] = [*MAPPING, ("text", "a", 'found string "a", expected a mapping')]


def _enum(cls: type[enum.Enum]) -> list[Wrong]:
    members = ", ".join(cls.__members__)
    return [
        ("an unknown name", "BOGUS", f'found string "BOGUS", expected one of {members}'),
        ("lower case", next(iter(cls.__members__)).lower(), f"one of {members}"),
        ("a number", 1, f"found number 1, expected one of {members}"),
    ]


def _wrongs(hint: Any) -> list[Wrong]:
    if get_origin(hint) is Annotated:
        meta: msgspec.Meta = get_args(hint)[1]
        scalar = (meta.extra or {}).get("scalar")
        if scalar is not None:
            return {"duration": DURATION, "uint64": UINT64}[scalar]
        return UINT32 if meta.ge == 0 else INT32
    origin = get_origin(hint)
    if origin is tuple:
        return LIST
    if origin is not None and type(None) in get_args(hint):
        return _wrongs(next(arg for arg in get_args(hint) if arg is not type(None)))
    if origin is not None:
        return MAPPING
    if issubclass(hint, Message):
        return MAPPING if hint is Percent else MESSAGE
    if issubclass(hint, enum.Enum):
        return _enum(hint)
    return {str: STRING, bool: BOOL, float: FLOAT, bytes: BYTES}[hint]


def _message_of(hint: Any) -> type[Message] | None:
    for arg in (hint, *get_args(hint)):
        if isinstance(arg, type) and issubclass(arg, Message):
            return arg
    return None


def _element(hint: Any) -> Any:
    return get_args(hint)[0 if get_origin(hint) is tuple else 1]


class _Walk:
    """Walks a base beside its types; each message type, field and mistake comes once."""

    def __init__(self, base: dict[str, Any], seen: set[tuple[type[Message], str, str]]) -> None:
        self.base = base
        self.seen = seen

    def message(self, cls: type[Message], value: Any, path: str) -> Iterator[InvalidCase]:
        if self._is_new(cls, "", "unknown"):
            where = f"{path}.bogusField"
            yield case("unknown field", self.base, {where: 1}, "unknown field")
        for info in fields_of(cls):
            if info.encode_name not in value:
                continue
            where = f"{path}.{info.encode_name}"
            if info.required and self._is_new(cls, info.name, "missing"):
                changes = {where: ABSENT}
                yield case("missing", self.base, changes, "this required field")
            yield from self.field(cls, info.name, info.type, value[info.encode_name], where)

    def field(
        self, cls: type[Message], name: str, hint: Any, value: Any, path: str
    ) -> Iterator[InvalidCase]:
        for what, wrong, fragment in _wrongs(hint):
            if self._is_new(cls, name, what):
                yield case(what, self.base, {path: wrong}, fragment)
        inner = _message_of(hint)
        if isinstance(value, list):
            yield from self._items(cls, name, _element(hint), value, path)
        elif isinstance(value, Mapping) and get_origin(hint) is not None and inner is None:
            yield from self._entries(cls, name, _element(hint), value, path)
        elif isinstance(value, Mapping) and inner is not None and "Mapping" in str(hint):
            for key, item in value.items():
                yield from self.message(inner, item, f"{path}.{key}")
        elif inner is not None:
            yield from self.message(inner, value, path)

    def _items(
        self, cls: type[Message], name: str, hint: Any, value: list[Any], path: str
    ) -> Iterator[InvalidCase]:
        inner = _message_of(hint)
        wrongs = [*_wrongs(hint), ("null", None, "found null")]
        for what, wrong, fragment in wrongs:
            if self._is_new(cls, name, f"item {what}"):
                where = f"{path}[0]"
                yield case(what, self.base, {where: wrong}, fragment)
        for index, item in enumerate(value):
            if inner is not None:
                yield from self.message(inner, item, f"{path}[{index}]")

    def _entries(
        self, cls: type[Message], name: str, hint: Any, value: Mapping[str, Any], path: str
    ) -> Iterator[InvalidCase]:
        key = next(iter(value))
        where = f"{path}.{key}" if key.replace("-", "").isalnum() else f'{path}["{key}"]'
        for what, wrong, fragment in _wrongs(hint):
            if self._is_new(cls, name, f"entry {what}"):
                yield case(what, self.base, {where: wrong}, fragment)

    def _is_new(self, cls: type[Message], name: str, what: str) -> bool:
        key = (cls, name, what)
        is_new = key not in self.seen
        self.seen.add(key)
        return is_new


def _all() -> Iterator[InvalidCase]:
    seen: set[tuple[type[Message], str, str]] = set()
    for base in BASES:
        yield from _Walk(base, seen).message(SPEC_TYPES[Kind(base["kind"])], base["spec"], "spec")


CASES = list(_all())
