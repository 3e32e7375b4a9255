"""YAML as kubectl takes it: what `sigs.k8s.io/yaml` makes of scalars, keys and colons."""

from __future__ import annotations

import pytest

from egressd.api.nodes import Mapping, Node, Scalar, Sequence, TextError, documents
from egressd.api.parse import parse_text
from egressd.api.service_entry import ServiceEntry

ENTRY = """\
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {{name: a, labels: {labels}}}
spec:
  hosts: [a.example]
  addresses: {addresses}
  ports: [{{number: {port}, name: http, protocol: HTTP}}]
  resolution: STATIC
  endpoints: [{{address: {endpoint}}}]
"""


def entry(
    addresses: str = "[1.2.3.4]",
    endpoint: str = "1.1.1.1",
    labels: str = "{}",
    port: str = "80",
) -> str:
    return ENTRY.format(addresses=addresses, endpoint=endpoint, labels=labels, port=port)


def plain(node: Node) -> object:
    if isinstance(node, Scalar):
        return node.value()
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return {str(plain(key)): plain(value) for key, value in node.pairs}


def read(text: str) -> object:
    (document,) = documents(text)
    return plain(document)


SCALARS = [
    *((word, True) for word in ("y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "true", "True")),
    *((word, False) for word in ("n", "N", "no", "No", "NO", "off", "Off", "OFF", "False")),
    *((word, None) for word in ("~", "null", "Null", "NULL")),
    *((word, word) for word in ("yEs", "oN", "nULL", "tRUE")),
    ("012", 10),
    ("0o17", 15),
    ("0b11", 3),
    ("0x1F", 31),
    ("-0x1f", -31),
    ("+12", 12),
    ("1_000", 1000),
    ("08", 8.0),
    ("1e3", 1000.0),
    (".5", 0.5),
    ("1.", 1.0),
    ("1e400", "1e400"),
    ("_1", "_1"),
    ("._5", "._5"),
    ("=", "="),
    ("+", "+"),
    (".", "."),
    ("22:22", "22:22"),
    ("190:20:30", "190:20:30"),
    ("2001-01-01", "2001-01-01"),
    ("2001-12-14T21:59:43Z", "2001-12-14T21:59:43Z"),
    ("!!str 12", "12"),
    ("!!timestamp 2001-01-01", "2001-01-01"),
    ("!!binary aGk=", "hi"),
    ("!!float 1", 1.0),
]


@pytest.mark.parametrize(("text", "value"), SCALARS)
def test_a_plain_scalar_is_what_go_reads(text: str, value: object) -> None:
    found = read(f"a: {text}")
    assert found == {"a": value}
    assert isinstance(found, dict)
    assert type(found["a"]) is type(value)
    assert read(f"[{text}]") == [value]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("[1.2.3.4, 2001:db8::]", ["1.2.3.4", "2001:db8::"]),
        ("[2001:db8::,fe80::]", ["2001:db8::", "fe80::"]),
        ("{a: 2001:db8::}", {"a": "2001:db8::"}),
        ("a: [http://h:, 'x:]', \"y:,\"]", {"a": ["http://h:", "x:]", "y:,"]}),
        ("a: [2001:db8::]\nb: |\n  x:]\n  y:,", {"a": ["2001:db8::"], "b": "x:]\ny:,"}),
        ("# x:]\na: [b:]", {"a": ["b:"]}),
        ('{"a":{"b":[1]},"c":"d:]"}', {"a": {"b": [1]}, "c": "d:]"}),
        ("{'a':[1],\"b\":{c: 1}}", {"a": [1], "b": {"c": 1}}),
        ("a:\n  - x:[y]\n  - ::1\n  - fe80::1", {"a": ["x:[y]", "::1", "fe80::1"]}),
        ("a: [\ue000:, 1]", {"a": ["\ue000:", 1]}),
    ],
)
def test_a_colon_before_an_indicator_belongs_to_the_text(text: str, value: object) -> None:
    assert read(text) == value


@pytest.mark.parametrize("text", ["a: 2001:db8::", "a: [::1]", "a: [::]", "{a: ::/0}", "a: b: c"])
def test_a_colon_that_yaml_takes_for_its_own_says_to_quote(text: str) -> None:
    with pytest.raises(TextError) as raised:
        list(documents(text))
    assert "in quotes" in raised.value.expected


def test_the_line_after_such_a_colon_is_right() -> None:
    with pytest.raises(TextError) as raised:
        list(documents("a: [2001:db8::, 2001:db8:1::]\nb: [c"))
    assert raised.value.line == 2


def test_an_unquoted_network_address_is_an_address() -> None:
    parsed = parse_text(entry("[1.2.3.4, 2001:db8::]", "2001:db8::"), "f.yaml")
    assert not parsed.problems
    spec = parsed.resources[0].spec
    assert isinstance(spec, ServiceEntry)
    assert spec.addresses == ("1.2.3.4", "2001:db8::")
    assert spec.endpoints[0].address == "2001:db8::"


def test_an_item_that_became_a_mapping_says_what_to_quote() -> None:
    (problem,) = parse_text(entry("\n  - 2001:db8::"), "f.yaml").problems
    assert problem.field == "spec.addresses[0]"
    assert '"2001:db8::"' in problem.expected


@pytest.mark.parametrize(
    ("labels", "names"),
    [("{1: a}", ["1"]), ("{1.5: a, -2: b}", ["1.5", "-2"]), ("{0x10: a}", ["16"])],
)
def test_a_number_as_key_is_text(labels: str, names: list[str]) -> None:
    parsed = parse_text(entry(labels=labels), "f.yaml")
    if parsed.resources:
        assert list(parsed.resources[0].metadata.labels) == names
        assert not parsed.problems
    else:  # "-2" is read and then no label key
        assert [one.found for one in parsed.problems] == ['"-2": "b"']


def test_a_boolean_as_key_is_text_and_warned_of() -> None:
    parsed = parse_text(entry(labels="{on: a}"), "f.yaml")
    assert dict(parsed.resources[0].metadata.labels) == {"true": "a"}
    (warning,) = parsed.problems
    assert '"on" in quotes' in warning.expected


@pytest.mark.parametrize("labels", ["{~: a}", "{[a]: b}", "{{a: b}: c}"])
def test_other_keys_are_refused(labels: str) -> None:
    assert parse_text(entry(labels=labels), "f.yaml").errors


@pytest.mark.parametrize("port", ["0x50", "8_0", "0o120", "80.0", "8e1", "+80", "0120"])
def test_a_port_in_any_notation_of_yaml(port: str) -> None:
    parsed = parse_text(entry(port=port), "f.yaml")
    assert not parsed.problems
    spec = parsed.resources[0].spec
    assert isinstance(spec, ServiceEntry)
    assert spec.ports[0].number == 80


@pytest.mark.parametrize("port", ['"80"', "80.5", "1:20", "yes", "0o8", ".nan", "1e400"])
def test_what_is_no_integer_is_no_port(port: str) -> None:
    assert parse_text(entry(port=port), "f.yaml").errors


@pytest.mark.parametrize("value", ["80", "1.5", "y", "0x1", "1e3"])
def test_a_number_or_boolean_is_no_string(value: str) -> None:
    """As the API server says of Istio's definitions: must be of type string."""
    (problem,) = parse_text(entry(f"[{value}]"), "f.yaml").errors
    assert f'quote it, "{value}"' in problem.expected


def test_byte_order_marks_separators_and_comments() -> None:
    text = "\ufeff--- # first\n" + entry() + "--- \n# nothing\n---\n" + entry() + "...\n"
    assert len(parse_text(text, "f.yaml").resources) == 2


def test_tabs_where_yaml_takes_them() -> None:
    assert read("a:\t1\t# c\nb: [\n\tc,\td]") == {"a": 1, "b": ["c", "d"]}
    with pytest.raises(TextError):
        list(documents("a:\n\tb: 1"))


def test_merge_keys_and_anchors() -> None:
    text = "a: &x {b: 1, c: 2}\nd: {<<: *x, b: 3}\ne: {'<<': 1}\nf: {<<: [{b: 4}, *x]}"
    found = read(text)
    assert found == {
        "a": {"b": 1, "c": 2},
        "d": {"b": 3, "c": 2},
        "e": {"<<": 1},
        "f": {"b": 4, "c": 2},
    }


def test_a_mapping_is_a_mapping() -> None:
    (document,) = documents("a: 1")
    assert isinstance(document, Mapping)
