"""YAML (and so JSON) text as a tree of nodes that know their line.

Scalars follow YAML 1.1 as `sigs.k8s.io/yaml` (kubectl, istioctl) reads it: `yes`, `on` and `y` are
booleans, `0x1F` an integer, a timestamp is a string, there are no base-60 numbers, `[2001:db8::]`
is a list of one string. The tree is built from the parser's events without recursion, so that deep
nesting and alias bombs cost nothing.
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

import yaml

from egressd.api.yaml_fault import Mark, yaml_fault

MAX_DEPTH: Final = 64
"""Nesting past this is refused; the deepest Istio field stands at 14."""
MAX_ALIASED_NODES: Final = 20_000
"""Nodes that aliases may repeat in one text, counted after expansion."""

_PREFIX: Final = "tag:yaml.org,2002:"
_PAIR: Final = re.compile(
    r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})"
)
_KNOWN_TAGS: Final = frozenset({"str", "int", "float", "bool", "null", "timestamp", "binary"})
_TEXT_TAGS: Final = frozenset({"str", "timestamp", "binary"})
_FLOW_COLON: Final = re.compile(r"(?<=[^\s\"'\]}]):(?=[,\[\]{}])")
"""A colon before an indicator of flow context: libyaml refuses it, go-yaml reads it as text."""
_TRUE: Final = frozenset(["y", "Y", "yes", "Yes", "YES", "true", "True", "TRUE", "on", "On", "ON"])
_FALSE: Final = frozenset(
    ["n", "N", "no", "No", "NO", "false", "False", "FALSE", "off", "Off", "OFF"]
)
_NULL: Final = frozenset(("", "~", "null", "Null", "NULL"))
_NUMERIC: Final = frozenset("+-.0123456789")
_INT: Final = re.compile(r"[-+]?(?:0[xX][0-9a-fA-F]+|0[bB][01]+|0[oO]?[0-7]+|0|[1-9][0-9]*)")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_INFINITE: Final = re.compile(r"(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))")


class TextError(Exception):
    """The text is not a YAML stream that egressd reads. `line` and `column` are 1-based; 0 where
    unknown."""

    def __init__(self, line: int, found: str, expected: str, column: int = 0) -> None:
        super().__init__(f"line {line}: {found}")
        self.line = line
        self.column = column
        self.found = found
        self.expected = expected


@dataclass(slots=True)
class Scalar:
    """One scalar. `tag` is a short YAML tag, empty for one that YAML resolves itself."""

    text: str
    line: int
    plain: bool
    tag: str = ""

    def value(self) -> str | int | float | bool | None:
        """The JSON value that Go's YAML reader makes of this scalar."""
        if self.tag in _TEXT_TAGS or (not self.plain and not self.tag):
            return self.text
        value = _resolve(self.text)
        if self.tag == "float" and type(value) is int:
            return float(value)
        return value


@dataclass(slots=True)
class Sequence:
    """A list of nodes."""

    items: list[Node]
    line: int


@dataclass(slots=True)
class Mapping:
    """Key and value nodes in the order of the text; merge keys (`<<`) are already resolved."""

    pairs: list[tuple[Node, Node]]
    line: int


Node = Scalar | Sequence | Mapping


def _resolve(text: str) -> str | int | float | bool | None:
    if text in _NULL:
        return None
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    if text[0] not in _NUMERIC:
        return text
    bare = text if text[0] == "." else text.replace("_", "")
    if _INT.fullmatch(bare):
        return _integer(bare)
    if _FLOAT.fullmatch(bare):
        number = float(bare)
        return text if math.isinf(number) else number
    if _INFINITE.fullmatch(text):
        return float(text.lower().replace(".", ""))
    return text


def _integer(text: str) -> int | float:
    sign = -1 if text[0] == "-" else 1
    digits = text.lstrip("+-")
    if len(digits) > 400:  # Go falls back to a float for what no integer type holds
        return sign * float("inf")
    if len(digits) > 1 and digits[0] == "0" and digits[1].isdigit():
        return sign * int(digits, 8)
    return sign * int(digits, 0)


@dataclass(slots=True)
class _Open:
    """A collection whose end has not come yet."""

    node: Sequence | Mapping
    anchor: str | None
    size: int = 1
    key: Node | None = None
    merges: list[Node] = field(default_factory=list)


class _Builder:
    """Builds one document after the other from parser events."""

    def __init__(self, colon: str) -> None:
        self._colon = colon
        self._stack: list[_Open] = []
        self._anchors: dict[str, tuple[Node, int]] = {}
        self._aliased = 0
        self._root: Node | None = None

    def take(self, event: yaml.Event) -> Node | None:
        """Feeds one event; answers the document's root when the document ends."""
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.ScalarEvent):
            tag = _short_tag(event.tag, line, plain_allowed=_KNOWN_TAGS)
            text = event.value.replace(self._colon, ":")
            if tag == "binary":
                text = _binary(text, line)
            node = Scalar(text, line, event.style is None or event.style == "", tag)
            self._place(node, 1, event.anchor)
        elif isinstance(event, (yaml.MappingStartEvent, yaml.SequenceStartEvent)):
            self._open(event, line)
        elif isinstance(event, (yaml.MappingEndEvent, yaml.SequenceEndEvent)):
            self._close()
        elif isinstance(event, yaml.AliasEvent):
            self._alias(event.anchor or "", line)
        elif isinstance(event, yaml.DocumentEndEvent):
            root, self._root = self._root, None
            self._anchors.clear()
            return root
        return None

    def _open(self, event: yaml.MappingStartEvent | yaml.SequenceStartEvent, line: int) -> None:
        if len(self._stack) >= MAX_DEPTH:
            raise TextError(line, "deeper nesting", f"at most {MAX_DEPTH} levels")
        is_mapping = isinstance(event, yaml.MappingStartEvent)
        _short_tag(event.tag, line, plain_allowed=frozenset(("map",) if is_mapping else ("seq",)))
        node: Sequence | Mapping = Mapping([], line) if is_mapping else Sequence([], line)
        self._stack.append(_Open(node, event.anchor))

    def _close(self) -> None:
        done = self._stack.pop()
        if isinstance(done.node, Mapping) and done.merges:
            _merge(done.node, done.merges)
        self._place(done.node, done.size, done.anchor)

    def _alias(self, anchor: str, line: int) -> None:
        known = self._anchors.get(anchor)
        if known is None:
            inside = any(open_.anchor == anchor for open_ in self._stack)
            found = f"alias *{anchor} inside its own anchor" if inside else f"alias *{anchor}"
            raise TextError(line, found, "an anchor that is complete before it is used")
        node, size = known
        self._aliased += size
        if self._aliased > MAX_ALIASED_NODES:
            raise TextError(
                line,
                f"aliases that repeat more than {MAX_ALIASED_NODES} nodes",
                "fewer or smaller aliases",
            )
        self._place(node, size, None)

    def _place(self, node: Node, size: int, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = (node, size)
        if not self._stack:
            self._root = node
            return
        top = self._stack[-1]
        top.size += size
        if isinstance(top.node, Sequence):
            top.node.items.append(node)
        elif top.key is None:
            top.key = node
        else:
            key, top.key = top.key, None
            if isinstance(key, Scalar) and key.plain and key.text == "<<":
                top.merges.append(node)
            else:
                top.node.pairs.append((key, node))


def _short_tag(tag: str | None, line: int, *, plain_allowed: frozenset[str]) -> str:
    if tag is None or tag == "!":
        return "str" if tag == "!" and "str" in plain_allowed else ""
    short = tag.removeprefix(_PREFIX)
    if short not in plain_allowed:
        shown = f"!!{short}" if tag.startswith(_PREFIX) else tag
        raise TextError(line, f"tag {shown}", "plain YAML without application tags")
    return short


def _merge(node: Mapping, merges: list[Node]) -> None:
    """Adds the pairs of `<<` that the mapping does not state itself (YAML merge key)."""
    sources: list[Node] = []
    for merge in merges:
        sources.extend(merge.items if isinstance(merge, Sequence) else [merge])
    stated = {key.text for key, _ in node.pairs if isinstance(key, Scalar)}
    for source in sources:
        if not isinstance(source, Mapping):
            raise TextError(source.line, "a merge key (<<) of another kind", "a mapping to merge")
        for key, value in source.pairs:
            if isinstance(key, Scalar) and key.text not in stated:
                stated.add(key.text)
                node.pairs.append((key, value))


def documents(text: str) -> Iterator[Node]:
    """The documents of `text` in order; empty ones (only comments) come as a null scalar.

    Raises `TextError` where the text stops being YAML; the documents before have been yielded.
    """
    shielded, colon = _shielded_colons(_joined_surrogates(text))
    builder = _Builder(colon)
    try:
        for event in yaml.parse(shielded, Loader=yaml.CSafeLoader):
            root = builder.take(event)
            if root is not None:
                yield root
    except yaml.MarkedYAMLError as error:
        raise _text_error(text, error) from None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1 if error.position >= 0 else 0
        raise TextError(line, f"{error.reason} (#x{_code(error.character)})", "text") from None
    except UnicodeEncodeError as error:
        line = text.count("\n", 0, error.start) + 1
        raise TextError(line, "a lone surrogate character", "valid Unicode text") from None


def _text_error(text: str, error: yaml.MarkedYAMLError) -> TextError:
    last = text.count("\n") + 1  # a mark at the end stands one line too far
    marks = [
        Mark(min(mark.line + 1, last), mark.column + 1) if mark is not None else None
        for mark in (error.problem_mark, error.context_mark)
    ]
    at = marks[0] or marks[1] or Mark(last, 1)
    fault = yaml_fault(text, error.problem or "", at, error.context or "", marks[1])
    return TextError(fault.line, fault.found, fault.expected, fault.column)


def _shielded_colons(text: str) -> tuple[str, str]:
    """The text with a character of its own for each colon that only libyaml takes for an indicator,
    and that character: in quotes, blocks and comments it does no harm, lines and columns stay."""
    if not _FLOW_COLON.search(text):
        return text, ":"
    stand_in = next(chr(code) for code in range(0xE000, 0xF8FF) if chr(code) not in text)
    return _FLOW_COLON.sub(stand_in, text), stand_in


def _binary(text: str, line: int) -> str:
    try:
        return base64.b64decode(text, validate=False).decode()
    except (binascii.Error, UnicodeDecodeError):
        raise TextError(line, "!!binary", "base64 of UTF-8 text") from None


def _joined_surrogates(text: str) -> str:
    """JSON writes a character past U+FFFF as two `\\u` escapes, which YAML has as one `\\U`."""
    if not text.lstrip().startswith(("{", "[")):
        return text
    return _PAIR.sub(
        lambda pair: f"{pair[1]}\\U{(int(pair[2], 16) << 10) + int(pair[3], 16) - 0x35FDC00:08x}",
        text,
    )


def _code(character: object) -> str:
    return f"{character:04x}" if isinstance(character, int) else str(character)
