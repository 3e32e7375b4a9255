"""The grammars of what goes on the wire, and every string of the API under hostile values."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any, get_args, get_origin

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from egressd.api import grammar
from egressd.api.decode import stand_in
from egressd.api.grammar import free_fault
from egressd.api.message import Message, fields_of
from egressd.api.parse import parse_text
from egressd.api.report import Report
from egressd.api.resource import SPEC_TYPES, Metadata
from egressd.api.rules.grammar import check_grammar
from tests.api.invalid.bases import BASES
from tests.api.test_fields import MESSAGES, find

CONTROLS = [chr(code) for code in (*range(32), *range(0x7F, 0xA0))]

# Of each grammar what it admits, and what it refuses beside control characters.
TABLE: dict[str, tuple[list[str], list[str]]] = {
    "plain": (["", "a b", "é", "/run/x y", "%REQ(x)%", '"\\'], ["\ud800"]),
    "token": (["a", "X-Id", "!#$%&'*+-.^_`|~09az"], ["", "a b", "a:", "é", "a/b", '"a"', "a;b"]),
    "header_value": (
        ["", "a", "a b", "a\tb", "é", '"x", y;q=1', "100%%", "%REQ(x)%", "%START_TIME(%s)%"],
        [" a", "a ", "\ta", "5%", "%REQ(x)", "\ud800"],
    ),
    "request_path": (
        ["/", "/a", "//a", "/a/b;c=1,2", "/%41%7e", "/a?b=c&d=/?", "/~a!$&'()*+", "/a:@b"],
        [
            "",
            "a",
            "?a",
            "*",
            "/a b",
            "/a#b",
            "/é",
            "/%",
            "/%4",
            "/%zz",
            "/a\\b",
            '/"',
            "/<",
            "a://a/",
        ],
    ),
    "location_path": (
        ["/", "/a?b#c?d/", "/a#", "/%20"],
        ["", "a", ".evil", "/a b", "/a#b#c", "/é"],
    ),
    "path_template": (
        ["", "/", r"\1", r"/a/\0?b=\2", "b", r"\\", "/[a]", "/%2"],
        ["a b", "/é", "a#b"],
    ),
    "authority": (
        ["a", "a.test", "a.test.", "a_b-c.test", "a.test:8080", "10.0.0.1:80", "[::1]", "[::1]:80"],
        [
            *[
                "",
                "a.test:",
                "a:0",
                "a:65536",
                "a:1:2",
                "a:80 ",
                "a/b",
                "u@a",
                "a?b",
                "a#b",
                "a%41",
            ],
            *[
                "::1",
                "127.1",
                "0x7f.1",
                "2130706433",
                "[::1",
                "[::1]x",
                "[fe80::1%eth0]",
                "[]",
                "a..b",
                ".a",
                "a..",
                "-a",
                "é",
                "*.a",
            ],
            *["%REQ(x)%", " a", "a b", f"{'a' * 64}.b", ".".join(["a" * 60] * 5)],
        ],
    ),
    "server_name": (
        ["a.test", "a_b", "outbound_.80_._.a.test", "10.0.0.1", "::1"],
        [
            "",
            "a.test.",
            "a..b",
            ".a",
            "a b",
            "a:80",
            "é.test",
            "fe80::1%eth0",
            "*.a",
            "a/b",
            "-a.b",
        ],
    ),
    "cookie_path": (["/", "/a/b"], ["", "a", "/a;b", "/a b", "/é", "/a?b"]),
    "cookie_value": (["", "Strict", "Wed, 21 Oct 2015 07:28:00 GMT"], ["a;b", " a", "a ", "é"]),
}


@pytest.mark.parametrize("name", TABLE)
def test_each_grammar_admits_and_refuses(name: str) -> None:
    fault = getattr(grammar, f"{name}_fault")
    admitted, refused = TABLE[name]
    assert {text: fault(text) for text in admitted} == dict.fromkeys(admitted, "")
    assert [text for text in refused if not fault(text)] == []
    for text in admitted:
        for odd in CONTROLS:
            if (name, odd) == ("header_value", "\t"):
                continue
            for hostile in (odd + text, text + odd, text[:1] + odd + text[1:], f"{text}\r\nX: y"):
                assert fault(hostile), repr(hostile)


@given(st.text())
def test_what_is_escaped_is_one_printable_line(text: str) -> None:
    shown = grammar.escaped(text)
    assert shown.isprintable()
    shown.encode()
    assert shown == text or not text.isprintable()


# --- every string field of the API -------------------------------------------------------------

HOSTILE = ["\r\nX-Injected: 1", "\n", "\r", "\x00", "\x7f", "\x85", "\x1b[2J"]
PathTo = tuple[str | int, ...]


def strings(node: object, path: PathTo = ()) -> Iterator[tuple[PathTo, str]]:
    """Every string of a document."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from strings(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from strings(value, (*path, index))
    elif isinstance(node, str):
        yield path, node


def maps(node: object, path: PathTo = ()) -> Iterator[PathTo]:
    """Every mapping of a document that has entries."""
    if isinstance(node, dict) and node:
        yield path
        for key, value in node.items():
            yield from maps(value, (*path, key))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from maps(value, (*path, index))


def copied(document: dict[str, Any], path: PathTo) -> tuple[dict[str, Any], Any]:
    """A copy, and what stands at a path of it."""
    found = copy.deepcopy(document)
    at: Any = found
    for part in path:
        at = at[part]
    return found, at


def refused(document: dict[str, Any]) -> None:
    parsed = parse_text(json.dumps(document), "f.yaml")
    assert parsed.resources == ()
    assert parsed.errors
    for problem in parsed.problems:
        assert str(problem).isprintable()
        assert (problem.found + problem.field).isprintable()


def dotted(path: PathTo) -> str:
    return "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)[1:]


FREE = (".directResponse.body.string", "metadata.annotations")


@pytest.mark.parametrize("base", BASES, ids=lambda b: b["metadata"]["name"])
def test_a_control_character_is_refused_in_every_string(base: dict[str, Any]) -> None:
    for number, (path, text) in enumerate(strings(base)):
        if any(free in dotted(path) for free in FREE):
            continue
        odd = HOSTILE[number % len(HOSTILE)]
        for hostile in (text + odd, odd + text):
            document, at = copied(base, path[:-1])
            at[path[-1]] = hostile
            refused(document)


@pytest.mark.parametrize("base", BASES, ids=lambda b: b["metadata"]["name"])
def test_a_control_character_is_refused_in_every_key(base: dict[str, Any]) -> None:
    for path in maps(base):
        document, at = copied(base, path)
        at["x\r\ny: z"] = next(iter(at.values()))
        refused(document)


def message_types(cls: type[Message], found: dict[str, type[Message]]) -> None:
    """A message type with all those below it."""
    if cls.__name__ not in found:
        found[cls.__name__] = cls
        for info in fields_of(cls):
            for inner in inner_types(info.type):
                if isinstance(inner, type) and issubclass(inner, Message):
                    message_types(inner, found)


def inner_types(hint: Any) -> list[Any]:
    return [hint, *(t for arg in get_args(hint) for t in inner_types(arg))]


def value_of(hint: Any, text: str) -> object:
    """A value of a string field's type with this text in it; None for other fields."""
    if hint is str:
        return text
    origin, args = get_origin(hint), get_args(hint)
    if origin is tuple:
        return (text,) if args[0] is str else None
    if type(None) in args:
        return value_of(next(arg for arg in args if arg is not type(None)), text)
    if origin is not None and len(args) == 2 and args[1] is str:
        return {"key": text}
    return None


def test_every_string_field_of_every_message_is_held_to_a_grammar() -> None:
    types: dict[str, type[Message]] = {}
    for spec in SPEC_TYPES.values():
        message_types(spec, types)
    seen: set[tuple[str, str]] = set()
    for name, cls in types.items():
        for info in fields_of(cls):
            for odd in HOSTILE:
                value = value_of(info.type, f"a{odd}")
                if value is None or cls.GRAMMAR.get(info.encode_name) is free_fault:
                    continue
                seen.add((name, info.encode_name))
                report = Report()
                made = msgspec.structs.replace(stand_in(cls), **{info.name: value})
                check_grammar(made, "", report)
                assert [p.field for p in report.problems if p.field.startswith(info.encode_name)]
    listed = {
        (find(kind, name).__name__, field["name"])
        for kind, name, fields in MESSAGES
        for field in fields
        if field["type"].strip("[]") in ("string", "map<string,string>")
    }
    assert listed - seen == {("HTTPBody", "string")}


def test_what_messages_say_of_their_grammar_names_fields() -> None:
    types: dict[str, type[Message]] = {"Metadata": Metadata}
    for spec in SPEC_TYPES.values():
        message_types(spec, types)
    for cls in types.values():
        assert cls.GRAMMAR.keys() <= {info.encode_name for info in fields_of(cls)}, cls


def test_annotations_and_bodies_are_free() -> None:
    for base in BASES:
        note = {"metadata": {**base["metadata"], "annotations": {"a/b": '{"a":\n"b"}\n\t\x7f'}}}
        assert parse_text(json.dumps({**base, **note}), "f.yaml").errors == ()


@pytest.mark.parametrize(
    ("found", "says"),
    [
        ("/a\r\nHost: b", '"/a\\r\\nHost: b"'),
        ("/a b", '"/a b"'),
        ("é\x85", '"é\\x85"'),
        ("\U000e0001", '"\\U000e0001"'),
    ],
)
def test_an_error_shows_what_it_found_escaped(found: str, says: str) -> None:
    route = {"rewrite": {"uri": found}, "route": [{"destination": {"host": "a.test"}}]}
    document = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "v"},
        "spec": {"hosts": ["a.test"], "http": [route]},
    }
    (problem,) = parse_text(json.dumps(document), "f.yaml").errors
    assert (problem.resource, problem.field) == (
        "VirtualService/default/v",
        "spec.http[0].rewrite.uri",
    )
    assert (problem.found, problem.expected) == (says, grammar.A_TARGET)
