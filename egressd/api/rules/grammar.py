"""The one walk that holds every string of a message to its grammar (`egressd.api.grammar`)."""

from __future__ import annotations

import functools
import types
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Union, get_args, get_origin

from egressd.api.decode import join
from egressd.api.grammar import plain_fault
from egressd.api.message import Fault, Message, fields_of
from egressd.api.report import Report, quoted

Check = Callable[[Any, str, Report], None]


def check_grammar(message: Message, path: str, report: Report) -> None:
    """Reports each string of a message, nested ones included, that its grammar does not admit. What
    another rule has reported of a field stands for it."""
    for attribute, name, check in _plan(type(message)):
        value = getattr(message, attribute)
        if value:
            check(value, f"{path}.{name}" if path else name, report)


@functools.cache
def _plan(cls: type[Message]) -> tuple[tuple[str, str, Check], ...]:
    """The fields that hold strings: attribute, JSON name, how it is checked."""
    found = []
    for info in fields_of(cls):
        check = _check_of(info.type, cls.GRAMMAR.get(info.encode_name, plain_fault))
        if check is not None:
            found.append((info.name, info.encode_name, check))
    return tuple(found)


def _check_of(hint: Any, fault: Fault) -> Check | None:
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        return _check_of(args[0], fault)
    if origin in (Union, types.UnionType):
        return _check_of(next(arg for arg in args if arg is not types.NoneType), fault)
    if origin is tuple:
        return _each(_check_of(args[0], fault))
    if origin is not None and issubclass(origin, Mapping):
        return _entries(_check_of(args[1], fault))
    if hint is str:
        return _string(fault)
    return check_grammar if isinstance(hint, type) and issubclass(hint, Message) else None


def _string(fault: Fault) -> Check:
    def check(value: str, path: str, report: Report) -> None:
        expected = fault(value)
        if expected and not report.has_error_at(path):
            report.error(path, quoted(value), expected)

    return check


def _each(inner: Check | None) -> Check | None:
    if inner is None:
        return None

    def check(values: tuple[object, ...], path: str, report: Report) -> None:
        for index, value in enumerate(values):
            inner(value, f"{path}[{index}]", report)

    return check


def _entries(inner: Check | None) -> Check:
    key_check = _string(plain_fault)

    def check(values: Mapping[str, object], path: str, report: Report) -> None:
        for key, value in values.items():
            where = join(path, key)
            key_check(key, where, report)
            if inner is not None:
                inner(value, where, report)

    return check
