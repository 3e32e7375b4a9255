"""The short cut for plain JSON says the same as the exact reader, or nothing."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from egressd.api.parse import API_VERSIONS, parse_exactly, parse_text
from egressd.api.plain_json import read_plain_json
from egressd.api.resource import Parsed

ENTRY: dict[str, Any] = {
    "apiVersion": "networking.istio.io/v1",
    "kind": "ServiceEntry",
    "metadata": {"name": "web", "namespace": "shop", "labels": {"app": "web"}},
    "spec": {
        "hosts": ["web.corp"],
        "addresses": ["10.1.0.0/16"],
        "ports": [{"number": 80, "name": "http", "protocol": "HTTP", "targetPort": 8080}],
        "location": "MESH_INTERNAL",
        "resolution": "STATIC",
        "endpoints": [
            {"address": "10.0.0.1", "ports": {"http": 81}, "labels": {"version": "v1"}},
            {"address": "10.0.0.2", "locality": "eu/a", "weight": 3},
        ],
        "exportTo": ["."],
        "subjectAltNames": ["spiffe://a/b"],
    },
}
SELECTING: dict[str, Any] = {
    **ENTRY,
    "spec": {
        "hosts": ["a.corp"],
        "resolution": "STATIC",
        "ports": [{"number": 80, "name": "http"}],
        "workloadSelector": {"labels": {"app": "web"}},
    },
}
WORKLOAD: dict[str, Any] = {
    **ENTRY,
    "kind": "WorkloadEntry",
    "spec": {"address": "10.0.0.1", "labels": {"app": "web"}, "ports": {"http": 81}},
}
ALL = [ENTRY, SELECTING, WORKLOAD]
VALUES: list[Any] = [None, "", "x", "5s", "10.0.0.1", 0, -1, 1.5, 10.0, 2**32, 2**70, True, [], {}]
VALUES += [["a.b", "a.b"], {"a": "b"}, {"a": 1}, "STATIC", "static", "é", "\u2028", "\x7f", "a\tb"]
NAMES = [
    "network",
    "serviceAccount",
    "target_port",
    "uid",
    "resourceVersion",
    "status",
    "host",
    "é",
]


def compare(text: str) -> bool:
    """Whether the short cut has read the text."""
    plain = read_plain_json(text, "f", API_VERSIONS)
    if plain is None:
        return False
    assert parse_exactly(text, "f") == Parsed((plain,), ())
    return True


@pytest.mark.parametrize("resource", ALL)
def test_plain_resources_are_read_the_short_way(resource: dict[str, Any]) -> None:
    for indent in (None, 2):
        assert compare("\n  " + json.dumps(resource, indent=indent) + "\n")


@pytest.mark.parametrize(
    "text",
    [
        json.dumps(ENTRY).replace('"name": "web"', '"name": "web", "name": "web"'),
        json.dumps(ENTRY).replace('"weight": 3', '"weight": 3.0'),
        json.dumps(ENTRY).replace('"weight": 3', '"weight": NaN'),
        json.dumps(ENTRY).replace("web.corp", "we\\u0062.corp"),
        json.dumps(ENTRY).replace("10.0.0.2", "not an address"),
        json.dumps(ENTRY) + "\n---\n" + json.dumps(WORKLOAD),
        json.dumps(ENTRY) + " # a comment",
        json.dumps({**ENTRY, "kind": "List", "items": []}),
        json.dumps([ENTRY]),
        "{" * 100_000,
        "kind: ServiceEntry",
        "",
    ],
)
def test_what_is_unusual_is_read_exactly(text: str) -> None:
    assert read_plain_json(text, "f", API_VERSIONS) is None
    assert parse_text(text, "f") == parse_exactly(text, "f")


def paths(value: Any) -> list[tuple[Any, ...]]:
    """Of everything in a tree."""
    if not isinstance(value, dict | list):
        return []
    found: list[tuple[Any, ...]] = []
    for step, inner in value.items() if isinstance(value, dict) else enumerate(value):
        found += [(step,), *((step, *path) for path in paths(inner))]
    return found


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_no_change_of_a_resource_is_read_differently(data: st.DataObject) -> None:
    resource = copy.deepcopy(data.draw(st.sampled_from(ALL)))
    for _ in range(data.draw(st.integers(1, 2))):
        *above, last = data.draw(st.sampled_from(paths(resource)))
        at: Any = resource
        for step in above:
            at = at[step]
        change = data.draw(st.sampled_from(["set", "drop", "add"]))
        value = copy.deepcopy(data.draw(st.sampled_from(VALUES)))
        if change == "set" or isinstance(at, list):
            at[last] = value
        elif change == "drop":
            del at[last]
        else:
            at[data.draw(st.sampled_from(NAMES))] = value
    compare(json.dumps(resource, ensure_ascii=data.draw(st.booleans())))
