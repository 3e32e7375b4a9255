"""`parse_text` never raises, whatever the text; and it refuses in bounded time."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from egressd.api.crosscheck import check_set
from egressd.api.parse import parse_text
from egressd.api.resource import Parsed
from tests.api.invalid.bases import BASES
from tests.api.invalid.mutate import as_text
from tests.api.valid_resources import VALID

TEXTS = [*VALID.values(), *map(as_text, BASES)]
TOKENS = ["{", "}", "[", "]", ": ", "- ", "\n", "\n---\n", "&a ", "*a", "!!int ", "<<: ", "? ", '"']
TOKENS += ["'", "#", "\t", "|\n", "%", "\x00", "\ud800", "\ufeff", "null", "-1", "1e999", "0x", "~"]
TOKENS += ["99999999999999999999", ".nan", "yes", "0s", "*", ".inf", "0_", "+", "\u2028", "😀", "a"]


def sound(parsed: Parsed) -> None:
    for problem in parsed.problems:
        assert problem.place.file == "f"
        assert problem.place.line >= 0
        assert str(problem)
    for problem in check_set(parsed.resources):
        assert problem.field


@given(st.text() | st.text(alphabet=st.sampled_from("{}[]:,-&*!|>'\"%@`#?~ \n\tab10.")))
@settings(max_examples=300, deadline=None)
def test_any_text_is_parsed_without_raising(text: str) -> None:
    sound(parse_text(text, "f"))


@given(st.randoms(use_true_random=False), st.sampled_from(TEXTS))
@settings(max_examples=300, deadline=None)
def test_a_mutated_resource_is_parsed_without_raising(source: random.Random, text: str) -> None:
    for _ in range(source.randint(1, 4)):
        at = source.randint(0, len(text))
        if source.random() < 0.5:
            text = text[:at] + source.choice(TOKENS) + text[at:]
        else:
            text = text[:at] + text[at + source.randint(1, 12) :]
    sound(parse_text(text, "f"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["name", "host", "port", "match", "x"]), inner, max_size=3
        )
    ),
    max_leaves=8,
)


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_any_value_in_place_of_any_field_is_parsed_without_raising(data: st.DataObject) -> None:
    base = data.draw(st.sampled_from(BASES))
    sound(parse_text(as_text(_replaced(base, data, depth=0)), "f"))


def _replaced(node: object, data: st.DataObject, depth: int) -> object:
    """A copy with a value of any shape somewhere in it."""
    if depth and (not node or not isinstance(node, (dict, list)) or data.draw(st.booleans())):
        return data.draw(JSON)
    if isinstance(node, dict):
        key = data.draw(st.sampled_from(sorted(node)))
        return {**node, key: _replaced(node[key], data, depth + 1)}
    assert isinstance(node, list)
    index = data.draw(st.integers(0, len(node) - 1))
    return [*node[:index], _replaced(node[index], data, depth + 1), *node[index + 1 :]]


def test_deep_nesting_and_long_tokens_are_refused_without_recursion() -> None:
    for text in ("[" * 100_000, "- " * 100_000, "a: " * 1000, "? " * 50_000, "{a: " * 10_000):
        assert parse_text(text, "f").errors
    spec = "spec: {address: 192.0.2.1, weight: %s}"
    head = "apiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: {name: a}\n"
    for weight in ("9" * 100_000, "0x" + "f" * 100_000, "1e100000", "-" + "7" * 5_000):
        (error,) = parse_text(head + spec % weight, "f").errors
        assert error.field == "spec.weight"
        assert len(str(error)) < 500
