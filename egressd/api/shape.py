"""The shape that a field should have, written with what stands in its place. Pure.

`uri: /foo` is told `uri: {prefix: /foo}`: what a message takes is worked out from its type, so that
every field has an example and none is kept by hand.
"""

from __future__ import annotations

import enum
import json
import re
import types
from collections.abc import Mapping
from typing import Annotated, Any, Final, Union, get_args, get_origin

from egressd.api import nodes
from egressd.api.message import Message, StringMatch, fields_of
from egressd.api.report import quoted
from egressd.api.secret import redact_value

_PLAIN: Final = re.compile(r"[A-Za-z0-9/_.*-]*[A-Za-z/_.][A-Za-z0-9/_.:-]*")
_ANY: Final = "..."
_MOST_DEEP: Final = 3
_LONGEST: Final = 60


def mapping_shape(cls: type[Message], path: str, node: nodes.Node) -> str:
    """What is expected where a message should stand."""
    items = node.items if isinstance(node, nodes.Sequence) else []
    if len(items) == 1 and isinstance(items[0], nodes.Mapping):
        return "a mapping, not a list of one: without the -"
    return f"a mapping, such as {_field(path)}{_message(cls, node, _MOST_DEEP)}"


def list_shape(inner: Any, path: str, node: nodes.Node) -> str:
    """What is expected where a list should stand."""
    if isinstance(node, nodes.Mapping):
        first = node.pairs[0][0] if node.pairs else None
        key = f": put one before {quoted(first.text)}" if isinstance(first, nodes.Scalar) else ""
        return f"a list, each entry with a - in front{key}"
    return f"a list, such as {_field(path)}[{_value(inner, node, _MOST_DEEP)}]"


def map_shape(path: str) -> str:
    """What is expected where a map of names to values should stand."""
    return f"a mapping, such as {_field(path)}{{name: value}}"


def string_shape(path: str, node: nodes.Node) -> str:
    """What is expected where a string should stand, and a list or mapping does."""
    given = ""
    if isinstance(node, nodes.Sequence) and len(node.items) == 1:
        given = _given(node.items[0])
    return f"a string, such as {_field(path)}{given}" if given and _field(path) else "a string"


def misplaced(cls: type[Message], node: nodes.Mapping, name: str) -> str:
    """What is expected of a name that stands beside the field whose part it is; "" = of none before it.

    ```yaml
    uri:
    prefix: /foo
    ```
    """
    types = {one.encode_name: _bare(one.type)[0] for one in fields_of(cls)}
    empty = ""
    for key, value in node.pairs:
        if not isinstance(key, nodes.Scalar):
            continue
        if key.text == name:
            break
        kind = types.get(key.text)
        is_empty = isinstance(value, nodes.Scalar) and value.value() is None
        parts = fields_of(kind) if isinstance(kind, type) and issubclass(kind, Message) else ()
        if is_empty and any(part.encode_name == name for part in parts):
            empty = key.text
    return f"it further in, as a part of {quoted(empty)}" if empty else ""


def _field(path: str) -> str:
    """The field's own name before its value; an entry of a list has none."""
    name = path.rpartition(".")[2]
    return "" if not name or name.endswith("]") else f"{name}: "


def _message(cls: type[Message], node: nodes.Node, deep: int) -> str:
    fields = [one for one in fields_of(cls) if one.encode_name not in cls.DEPRECATED]
    if cls is StringMatch:
        how = "prefix" if _given(node).startswith("/") else "exact"
        return f"{{{how}: {_given(node) or _ANY}}}"
    needed = [one for one in fields if one.required]
    taking = [one for one in needed or fields if _takes(one.type, node)]
    if _given(node).startswith("/"):
        taking = [one for one in fields if one.encode_name == "uri"] or taking
    chosen = (taking or needed or fields)[:1]
    inner = ", ".join(f"{one.encode_name}: {_value(one.type, node, deep - 1)}" for one in chosen)
    return f"{{{inner}}}"


def _value(hint: Any, node: nodes.Node, deep: int) -> str:
    """A value of a type: the given one where the type takes it."""
    kind, _ = _bare(hint)
    if deep <= 0:
        return _ANY
    if isinstance(kind, type) and issubclass(kind, Message):
        return _message(kind, node, deep)
    if get_origin(kind) is tuple:
        return f"[{_value(get_args(kind)[0], node, deep - 1)}]"
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _given(node) if _takes(hint, node) else next(iter(kind.__members__))
    return (_given(node) if _takes(hint, node) else "") or _ANY


def _takes(hint: Any, node: nodes.Node) -> bool:
    """Whether a field of this type could hold the scalar that is there."""
    kind, scalar = _bare(hint)
    if not isinstance(node, nodes.Scalar) or not isinstance(kind, type):
        return False
    value = node.value()
    if issubclass(kind, enum.Enum):
        return value in kind.__members__
    if kind is bool or isinstance(value, bool):
        return kind is bool and isinstance(value, bool)
    if scalar == "duration" or kind is str:
        return isinstance(value, str)
    return kind in (int, float) and isinstance(value, (int, float))


def _bare(hint: Any) -> tuple[Any, object]:
    """A type without its annotations and None, and the scalar kind that they name."""
    scalar: object = None
    while True:
        if get_origin(hint) is Annotated:
            hint, meta = get_args(hint)[:2]
            extra = getattr(meta, "extra", None)
            scalar = extra.get("scalar") if isinstance(extra, Mapping) else None
        elif get_origin(hint) in (Union, types.UnionType):
            hint = next(arg for arg in get_args(hint) if arg is not types.NoneType)
        else:
            return hint, scalar


def _given(node: nodes.Node) -> str:
    """The scalar that is there, as YAML; "" where it is none, too long to repeat, or has a secret."""
    if not isinstance(node, nodes.Scalar) or len(node.text) > _LONGEST:
        return ""
    if redact_value(node.text) != node.text:
        return ""
    if not isinstance(node.value(), str):
        return node.text
    return node.text if _PLAIN.fullmatch(node.text) else json.dumps(node.text, ensure_ascii=False)
