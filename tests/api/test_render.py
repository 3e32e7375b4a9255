"""What is rendered reads back as the same resource."""

from __future__ import annotations

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from egressd.api.duration import parse_duration, render_duration
from egressd.api.parse import parse_text
from egressd.api.render import shown_resource, to_mapping, to_yaml, yaml_of
from egressd.api.resource import Place, Resource
from tests.api.invalid.bases import BASES
from tests.api.invalid.mutate import as_text
from tests.api.valid_resources import VALID

TEXTS = [*VALID.values(), *map(as_text, BASES)]


def read(text: str) -> Resource:
    (resource,) = parse_text(text, "").resources
    return msgspec.structs.replace(resource, place=Place())


@pytest.mark.parametrize("text", TEXTS, ids=lambda t: t[:0])
def test_a_rendered_resource_reads_back_equal(text: str) -> None:
    resource = read(text)
    assert read(to_yaml(resource)) == resource
    assert read(msgspec.json.encode(to_mapping(resource)).decode()) == resource


def test_defaults_are_left_out_and_durations_stand_in_seconds() -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, namespace: default}
spec:
  hosts: [a.b]
  http:
  - {route: [{destination: {host: a.b, subset: ""}, weight: 0}], timeout: 1h0.5s, match: []}
"""
    assert to_mapping(read(text)) == {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "a"},
        "spec": {
            "hosts": ["a.b"],
            "http": [{"route": [{"destination": {"host": "a.b"}}], "timeout": "3600.5s"}],
        },
    }


@given(st.text() | st.sampled_from(["yes", "on", "y", "1_0", "0o7", "~", "1e3", "2024-01-01", "="]))
@settings(max_examples=150, deadline=None)
def test_any_string_survives_rendering(text: str) -> None:
    resource = read(VALID["ServiceEntry: workload selector"])
    labelled = msgspec.structs.replace(
        resource, metadata=msgspec.structs.replace(resource.metadata, annotations={"note": text})
    )
    rendered = to_yaml(labelled)
    assert yaml.safe_load(rendered)["metadata"]["annotations"]["note"] == text
    assert read(rendered) == labelled


@given(st.floats(min_value=0, max_value=9e9).map(lambda s: round(s, 9)))
def test_a_duration_reads_back_equal(seconds: float) -> None:
    assert parse_duration(render_duration(seconds)) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0),
        ("0s", 0),
        ("1h30m", 5400),
        ("0.5s", 0.5),
        ("1.5h", 5400),
        ("100ms", 0.1),
        ("1h2m3s4ms5us6ns", 3723.004005006),
        (".5s", 0.5),
        ("1.s", 1),
        ("+2m", 120),
        ("10µs", 1e-5),
        ("-0s", 0),
    ],
)
def test_durations_are_read_as_go_reads_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    "text", ["", "5", "s", "1", "1d", "1 s", "s1", "1h 2m", "--1s", "-1s", "1e3s", ".s", "9e9h"]
)
def test_what_go_does_not_read_as_a_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"duration|unit|negative|range"):
        parse_duration(text)


def test_a_resource_for_people_has_no_credentials() -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a, annotations: {from: "http://u:S3CR3T@h/?k=S3CR3T"}}
spec:
  hosts: [a.example]
  http:
    - match:
        - uri: {prefix: /moved}
          headers: {x-api-key: {exact: S3CR3T}, x-plain: {exact: shown}}
          queryParams: {key: {exact: S3CR3T}}
          withoutHeaders: {Authorization: {exact: S3CR3T}}
      redirect: {uri: "/there?key=S3CR3T"}
    - headers:
        request: {set: {Authorization: Bearer S3CR3T, x-plain: shown}, add: {Cookie: S3CR3T}}
        response: {add: {Set-Cookie: S3CR3T, X-Auth-Token: S3CR3T}}
      route: [{destination: {host: a.example}}]
"""
    (resource,) = parse_text(text, "").resources
    shown = yaml_of(shown_resource(resource))
    assert "S3CR3T" not in shown
    assert shown.count("shown") == 2
    assert "prefix: /moved" in shown
    assert "uri: /there?[redacted]" in shown
    assert parse_text(to_yaml(resource), "").resources[0].spec == resource.spec


def test_a_policy_for_people_has_no_credentials() -> None:
    text = """
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: {name: a}
spec:
  rules:
    - when:
        - {key: "request.headers[x-api-key]", values: [S3CR3T]}
        - {key: "request.headers[x-plain]", values: [shown]}
"""
    (resource,) = parse_text(text, "").resources
    shown = yaml_of(shown_resource(resource))
    assert "S3CR3T" not in shown
    assert "request.headers[x-api-key]" in shown
    assert "- shown" in shown
