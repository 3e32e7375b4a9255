"""What is expected where a value of another shape stands."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args, get_origin

import pytest

from egressd.api import nodes
from egressd.api.message import Message, fields_of
from egressd.api.parse import parse_text
from egressd.api.resource import SPEC_TYPES
from egressd.api.shape import list_shape, mapping_shape

VIRTUAL_SERVICE = """\
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {{name: a}}
spec:
  hosts: [a.example]
  http:
  - name: x
    {field}
"""
DESTINATION_RULE = """\
apiVersion: networking.istio.io/v1
kind: DestinationRule
metadata: {{name: a}}
spec:
  host: a.example
  {field}
"""


@pytest.mark.parametrize(
    ("text", "field", "expected"),
    [
        (VIRTUAL_SERVICE, "match: [{uri: /foo}]", "uri: {prefix: /foo}"),
        (VIRTUAL_SERVICE, "match: [{headers: {a: yes please}}]", 'a: {exact: "yes please"}'),
        (VIRTUAL_SERVICE, "match: [/foo]", "{uri: {prefix: /foo}}"),
        (VIRTUAL_SERVICE, "match: {name: x}", 'a - in front: put one before "name"'),
        (VIRTUAL_SERVICE, "route: {destination: {host: b}}", 'put one before "destination"'),
        (VIRTUAL_SERVICE, "route: [{destination: b.example}]", "destination: {host: b.example}"),
        (VIRTUAL_SERVICE, "route: [{destination: {host: [b]}}]", "a string, such as host: b"),
        (VIRTUAL_SERVICE, "route: b.example", "route: [{destination: {host: b.example}}]"),
        (VIRTUAL_SERVICE, "retries: 3", "retries: {attempts: 3}"),
        (VIRTUAL_SERVICE, "rewrite: /bar", "rewrite: {uri: /bar}"),
        (VIRTUAL_SERVICE, "directResponse: 404", "directResponse: {status: 404}"),
        (VIRTUAL_SERVICE, "retries: [{attempts: 3}]", "not a list of one: without the -"),
        (VIRTUAL_SERVICE, "match: [{uri: , prefix: /foo}]", 'further in, as a part of "uri"'),
        (VIRTUAL_SERVICE, "route: [{destination: , host: b}]", 'a part of "destination"'),
        (DESTINATION_RULE, "subsets: v1", "subsets: [{name: v1}]"),
        (DESTINATION_RULE, "trafficPolicy: {tls: SIMPLE}", "tls: {mode: SIMPLE}"),
        (
            DESTINATION_RULE,
            "trafficPolicy: {outlierDetection: 5}",
            "{consecutiveLocalOriginFailures:",
        ),
        (DESTINATION_RULE, "exportTo: .", "exportTo: ["),
    ],
)
def test_the_shape_is_written_with_what_is_there(text: str, field: str, expected: str) -> None:
    problems = parse_text(text.format(field=field), "f").problems
    assert any(expected in problem.expected for problem in problems), problems


def _messages(kind: object, seen: set[object]) -> Iterator[type[Message]]:
    if isinstance(kind, type) and issubclass(kind, Message) and kind not in seen:
        seen.add(kind)
        yield kind
        for field in fields_of(kind):
            yield from _messages(field.type, seen)
    elif get_origin(kind) is not None:
        for part in get_args(kind):
            yield from _messages(part, seen)


ALL = [
    one for seen in [set[object]()] for spec in SPEC_TYPES.values() for one in _messages(spec, seen)
]


@pytest.mark.parametrize("kind", ALL, ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("given", ["/foo", "a.example", "3", "true", "[]", "a: b"])
def test_every_message_has_a_shape(kind: type[Message], given: str) -> None:
    """Of one field at least, whatever stands in its place, and valid YAML itself."""
    (node,) = nodes.documents(given)
    shape = mapping_shape(kind, "spec.it", node).removeprefix("a mapping, such as ")
    if "such as" in shape:
        (read,) = nodes.documents(shape)
        assert isinstance(read, nodes.Mapping)
    assert list_shape(kind, "spec.it", node)
