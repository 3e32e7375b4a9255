"""What is wrong with options by the type that their adapter declares: all of it. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Literal, get_args, get_origin

import msgspec

from egressd.api.nearest import expected_name, nearest
from egressd.api.secret import Secret, redact_value, shown
from egressd.registry.adapter import OptionFault
from egressd.registry.adapter_options import (
    Shape,
    alternatives,
    is_declared_secret,
    is_struct,
    option_hints,
    shown_option,
)


def option_faults(
    shape: Shape,
    options: Mapping[str, object],
    expected: Mapping[str, str] | None = None,
    place: str = "options",
    *,
    strict: bool = True,
) -> list[OptionFault]:
    """Every unknown name and wrong value of options in the order in which they were written, then what
    is missing.

    `expected` says by option (dotted path, without the indexes of lists) what it may be, where the
    type's own words are too plain. `place` is where the options stand. Not `strict`: a text that reads
    as the number or boolean that is wanted is one.
    """
    return list(_struct_faults(shape, options, place, "", expected or {}, strict))


def _struct_faults(
    shape: Shape,
    options: Mapping[str, object],
    place: str,
    path: str,
    expected: Mapping[str, str],
    strict: bool,
) -> Iterator[OptionFault]:
    hints = option_hints(shape)
    for name, value in options.items():
        at, inner = f"{place}.{redact_value(str(name))}", f"{path}.{name}".lstrip(".")
        if name not in hints:
            yield OptionFault(at, "an unknown option", expected_name(str(name), hints))
        else:
            yield from _value_faults(hints[name], value, at, inner, expected, strict)
    for field in msgspec.structs.fields(shape):
        if field.required and field.encode_name not in options:
            wanted = expected.get(f"{path}.{field.encode_name}".lstrip("."), "a value")
            yield OptionFault(f"{place}.{field.encode_name}", "nothing", wanted)


def _value_faults(
    hint: Any, value: object, place: str, path: str, expected: Mapping[str, str], strict: bool
) -> Iterator[OptionFault]:
    kinds = tuple(alternatives(hint))
    structs = [kind for kind in kinds if is_struct(kind)]
    if structs and isinstance(value, Mapping):
        plain = {str(name): inner for name, inner in value.items()}
        yield from _struct_faults(structs[0], plain, place, path, expected, strict)
        return
    items = [get_args(kind)[0] for kind in kinds if get_origin(kind) in (tuple, list)]
    if items and isinstance(value, list | tuple) and any(map(is_struct, alternatives(items[0]))):
        for index, one in enumerate(value):
            yield from _value_faults(items[0], one, f"{place}[{index}]", path, expected, strict)
        return
    try:
        msgspec.convert(value, hint, dec_hook=decode_secret, strict=strict)
    except msgspec.ValidationError as error:
        yield _wrong(hint, value, place, path, expected, str(error))


def _wrong(
    hint: Any, value: object, place: str, path: str, expected: Mapping[str, str], message: str
) -> OptionFault:
    """The library's message as found and expected. It may end in " - at `$[0]`": the element of a list,
    or "[...]" for that of a mapping."""
    said, _, _ = message.partition(" - at `$")
    if is_declared_secret(hint) or isinstance(value, Mapping):
        found = f"{type(value).__name__}, not shown"
    elif hint is None:
        found = shown(value)
    else:
        found = repr(shown_option(value, hint))
    wanted = said.removeprefix("Expected ") if said.startswith("Expected ") else "another value"
    wanted = expected.get(path) or wanted
    choices = [str(one) for kind in alternatives(hint) for one in _choices(kind)]
    if isinstance(value, str) and (near := nearest(value, choices)):
        wanted = f"{wanted} (did you mean {near}?)"
    return OptionFault(place, found, wanted)


def _choices(kind: Any) -> tuple[object, ...]:
    """The values of a Literal, alone or as the elements of a list."""
    if get_origin(kind) is Literal:
        return get_args(kind)
    if get_origin(kind) in (tuple, list):
        return tuple(one for inner in alternatives(get_args(kind)[0]) for one in _choices(inner))
    return ()


def decode_secret(kind: type, value: object) -> object:
    """What msgspec makes of a `Secret` or `SecretUrl` (its `dec_hook`)."""
    if not (isinstance(kind, type) and issubclass(kind, Secret)):
        return value
    if not isinstance(value, str):
        raise ValueError(f"Expected `str`, got `{type(value).__name__}`")
    return kind(value)


_SAID = re.compile(
    r"(?:adapter [^:]*: )?(options[^\s:]*): (?:found )?(.*?)(?:, expected (.*))?", re.S
)


def faults_of(message: str) -> tuple[OptionFault, ...]:
    """What an adapter says in its own words, "options.NAME: found X, expected Y": one fault, of the
    options as a whole where it names none."""
    match = _SAID.fullmatch(message)
    if match is None:
        return (OptionFault("options", message, ""),)
    return (OptionFault(match[1], match[2], match[3] or ""),)
