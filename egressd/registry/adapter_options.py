"""Options of adapters and stores as people may see them: by the types that the options declare.

An entry point whose function is marked with `declares_options(shape)` has its options shown where the
bootstrap is (`/config_dump`): what `shape`, a msgspec struct, calls `Secret` or `SecretUrl` is redacted,
what it does not know is not shown. Options of a function without a mark are not shown at all.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Mapping
from typing import Annotated, Any, Final, TypeVar, Union, get_args, get_origin

import msgspec

from egressd.api.secret import REDACTED, Secret, SecretUrl, redact_value, redact_within

Factory = TypeVar("Factory", bound=Callable[..., object])
NOT_SHOWN: Final = "[not shown]"

SecretPath = Annotated[str, msgspec.Meta(extra={"is_secret_file": True})]
"""The path of a file that holds a secret: nobody else may read it."""

_MARK: Final = "declared_options"


Shape = type[msgspec.Struct]


def declares_options(
    shape: Shape | Callable[[Mapping[str, object]], Shape],
) -> Callable[[Factory], Factory]:
    """Marks an entry point's function with the type of its options, or with what says it where one
    option decides on others."""

    def mark(factory: Factory) -> Factory:
        setattr(factory, _MARK, shape)
        return factory

    return mark


def declared_options(factory: object, options: Mapping[str, object]) -> Shape | None:
    """The type of an entry point's options; None: it does not say."""
    shape = getattr(factory, _MARK, None)
    if callable(shape) and not is_struct(shape):
        shape = shape(options)
    return shape if is_struct(shape) else None


def shown_options(
    shape: type[msgspec.Struct] | None, options: Mapping[str, object]
) -> dict[str, object]:
    """Options as JSON-like data without secrets, whatever is wrong with them."""
    if shape is None:
        return {redact_value(name): NOT_SHOWN for name in options}
    hints = option_hints(shape)
    return {
        redact_value(name): shown_option(value, hints[name]) if name in hints else NOT_SHOWN
        for name, value in options.items()
    }


def shown_option(value: object, hint: Any) -> object:
    """One value in the place of an option of type `hint`."""
    if value is None or isinstance(value, bool):
        return value
    hints = tuple(alternatives(hint))
    for kind in (Secret, SecretUrl):
        if kind in hints:
            is_url = kind is SecretUrl and isinstance(value, str)
            return str(SecretUrl(str(value))) if is_url else REDACTED
    if isinstance(value, Mapping):
        return _shown_mapping(value, hints)
    if isinstance(value, list | tuple):
        items = [get_args(one)[0] for one in hints if get_origin(one) in (tuple, list)]
        return [shown_option(inner, items[0]) for inner in value] if items else NOT_SHOWN
    items = [get_args(one)[0] for one in hints if get_origin(one) in (tuple, list)]
    if items and not any(one in (str, int, float) for one in hints):
        return shown_option(value, items[0])  # one where a list belongs
    if any(map(is_struct, hints)):
        return NOT_SHOWN
    return redact_within(value)


def is_declared_secret(hint: object) -> bool:
    """Whether an option of this type is a secret as a whole."""
    return Secret in alternatives(hint)


def secret_files(
    shape: type[msgspec.Struct] | None, options: Mapping[str, object]
) -> Iterator[tuple[str, str]]:
    """Names and values of the options that are paths of secrets."""
    for name, hint in option_hints(shape).items() if shape is not None else ():
        value = options.get(name)
        if isinstance(value, str) and value and _is_secret_file(hint):
            yield name, value
        for inner in alternatives(hint):
            if isinstance(value, Mapping) and is_struct(inner):
                yield from ((f"{name}.{n}", path) for n, path in secret_files(inner, value))


def holds_secret(shape: Shape, options: Mapping[str, object]) -> bool:
    """Whether options have a secret in them, rather than the path of one."""
    return shown_options(shape, options) != dict(options)


def _shown_mapping(value: Mapping[object, object], hints: tuple[Any, ...]) -> object:
    for one in hints:
        if is_struct(one):
            return shown_options(one, {str(k): inner for k, inner in value.items()})
        if get_origin(one) in (dict, Mapping):
            inner_hint = get_args(one)[1]
            if inner_hint is object:
                return redact_within(value)
            return {
                redact_value(str(k)): shown_option(inner, inner_hint) for k, inner in value.items()
            }
    return NOT_SHOWN


def option_hints(shape: Shape) -> dict[str, Any]:
    """The declared types of options by name."""
    return {field.encode_name: field.type for field in msgspec.structs.fields(shape)}


def alternatives(hint: Any) -> Iterator[Any]:
    """A type without its annotations, a union as its members."""
    origin = get_origin(hint)
    if origin is Annotated:
        yield from alternatives(get_args(hint)[0])
    elif origin in (Union, types.UnionType):
        for one in get_args(hint):
            yield from alternatives(one)
    elif hint is not types.NoneType:
        yield hint


def is_struct(hint: Any) -> bool:
    """Whether a type is a msgspec struct."""
    return isinstance(hint, type) and issubclass(hint, msgspec.Struct)


def _is_secret_file(hint: Any) -> bool:
    if get_origin(hint) is not Annotated:
        return False
    metas = [meta for meta in get_args(hint)[1:] if isinstance(meta, msgspec.Meta)]
    return any((meta.extra or {}).get("is_secret_file") for meta in metas)
