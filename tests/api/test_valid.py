"""Valid Istio YAML is never refused, and what is read is what was written."""

from __future__ import annotations

import pytest

from egressd.api.message import Percent
from egressd.api.parse import parse_text
from egressd.api.resource import Kind, Resource, Severity
from egressd.api.service_entry import ServiceEntry
from egressd.api.virtual_service import VirtualService
from egressd.api.workload_entry import WorkloadEntry
from tests.api.valid_resources import VALID


def read(text: str) -> Resource:
    parsed = parse_text(text, "a.yaml")
    assert parsed.errors == ()
    (resource,) = parsed.resources
    return resource


@pytest.mark.parametrize("name", VALID)
def test_a_valid_resource_is_read_without_errors(name: str) -> None:
    read(VALID[name])


def test_durations_are_read_in_seconds() -> None:
    spec = read(VALID["VirtualService: address as host, retries switched off"]).spec
    assert isinstance(spec, VirtualService)
    assert spec.http[0].timeout == 3723.004


def test_hexadecimal_and_underscored_numbers_and_merge_keys_are_read_as_kubectl_does() -> None:
    spec = read(VALID["anchors and merge keys"]).spec
    assert isinstance(spec, ServiceEntry)
    assert [e.address for e in spec.endpoints] == ["192.0.2.1", "192.0.2.2", "192.0.2.3"]
    assert spec.endpoints[1].ports == {"http": 80}
    assert spec.endpoints[2].labels == {"version": "v1"}
    assert spec.endpoints[2].weight == 1000


def test_json_is_read_with_its_escapes() -> None:
    spec = read(VALID["JSON with a character past U+FFFF"]).spec
    assert isinstance(spec, VirtualService)
    response = spec.http[0].direct_response
    assert response is not None and response.body is not None
    assert response.body.string == "\U0001f600 / é"
    entry = read(VALID["JSON"]).spec
    assert isinstance(entry, WorkloadEntry)
    assert entry.ports == {"a": 80}


def test_a_resource_knows_its_identity_and_place() -> None:
    resource = read(VALID["documents and comments"])
    assert resource.kind is Kind.SERVICE_ENTRY
    assert resource.ref == "ServiceEntry/default/example"
    assert (resource.place.file, resource.place.line) == ("a.yaml", 4)
    assert read(VALID["what kubectl get -o yaml says"]).metadata.creation_timestamp == (
        "2024-01-02T03:04:05Z"
    )


def test_a_valid_document_is_read_beside_a_broken_one() -> None:
    good = VALID["ServiceEntry: external HTTPS by DNS"]
    parsed = parse_text(f"{good}---\nkind: Nothing\n", "a.yaml")
    assert [r.ref for r in parsed.resources] == ["ServiceEntry/default/example"]
    (error,) = parsed.errors
    assert error.place.line == good.count("\n") + 2
    assert str(error).startswith('error: a.yaml:16: kind: found kind "Nothing", expected one of')


@pytest.mark.parametrize(
    ("name", "warned"),
    [
        (
            "VirtualService: old spellings",
            {
                "spec.http[0].fault.delay.percent": "expected percentage",
                "spec.http[0].fault.delay.percentage": "the mapping {value: 10}",
                "spec.http[0].fault.abort.percentage": "the mapping {value: 0.5}",
                "spec.http[0].mirrorPercent": "expected mirrorPercentage",
                "spec.http[0].corsPolicy.allowOrigin": "expected allowOrigins",
            },
        ),
        (
            "VirtualService: a former name and protobuf's names",
            {
                "spec.http[0].fault.abort.percent": '"percentage"; read as that',
                "spec.http[0].fault.abort.percentage": "the mapping {value: 10}",
                "spec.http[0].fault.abort.http_status": '"httpStatus"; read as that',
                "spec.http[0].mirror_percent": '"mirrorPercent"; read as that',
            },
        ),
        (
            "DestinationRule: old name of outlier detection",
            {"spec.trafficPolicy.outlierDetection.consecutiveErrors": "consecutiveGatewayErrors"},
        ),
        ("DestinationRule: subsets", {"spec.trafficPolicy.loadBalancer.simple": "LEAST_REQUEST"}),
        (
            "DestinationRule: TLS switched off but with names",
            {"spec.trafficPolicy.tls.subjectAltNames": "another mode"},
        ),
    ],
)
def test_old_spellings_and_idle_fields_are_read_with_a_warning(
    name: str, warned: dict[str, str]
) -> None:
    problems = parse_text(VALID[name], "a.yaml").problems
    for field, fragment in warned.items():
        assert any(p.field == field and fragment in str(p) for p in problems), (field, problems)
    assert all(p.severity is Severity.WARNING and p.place.line for p in problems)


def test_the_former_percent_of_an_abort_is_its_percentage() -> None:
    (resource,) = parse_text(
        VALID["VirtualService: a former name and protobuf's names"], "a.yaml"
    ).resources
    assert isinstance(resource.spec, VirtualService)
    fault = resource.spec.http[0].fault
    assert fault is not None and fault.abort is not None
    assert fault.abort.percentage == Percent(value=10)
    assert resource.spec.http[0].mirror_percent == 50


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("httpStatus: 500", "http_status: 503"),
        ("http_status: 500", "httpStatus: 503"),
        ("percentage: {value: 1}", "percent: 2"),
        ("percent: 1", "percentage: {value: 2}"),
        ("percent: 1", "percentage: null"),
    ],
)
def test_a_field_in_two_spellings_is_refused_in_either_order(first: str, second: str) -> None:
    name = second.partition(":")[0]
    text = (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n"
        "  hosts: [a.b]\n  http:\n  - route: [{destination: {host: a.b}}]\n"
        f"    fault: {{abort: {{{first}, {second}}}}}\n"
    )
    parsed = parse_text(text, "a.yaml")
    assert parsed.resources == ()
    (error,) = parsed.errors
    assert error.field == f"spec.http[0].fault.abort.{name}"
    assert error.found == f'"{name}" beside "{first.partition(":")[0]}"'


def test_a_header_operation_on_framing_is_warned_of() -> None:
    text = (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: a}\nspec:\n"
        "  hosts: [a.b]\n  http:\n  - route: [{destination: {host: a.b}}]\n"
        "    headers: {response: {set: {Content-Length: '3'}}}\n"
    )
    (problem,) = parse_text(text, "a.yaml").problems
    assert problem.severity is Severity.WARNING
    assert problem.field == "spec.http[0].headers.response.set.Content-Length"


def test_a_route_behind_one_that_takes_everything_is_warned_of() -> None:
    text = """
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: a}
spec:
  hosts: [a.b]
  http:
  - match: [{uri: {prefix: /a}}]
    route: [{destination: {host: a.b}}]
  - match: [{name: again, uri: {prefix: /a}}]
    route: [{destination: {host: a.b}}]
  - route: [{destination: {host: a.b}}]
  - redirect: {uri: /}
"""
    fields = [problem.field for problem in parse_text(text, "a.yaml").problems]
    assert fields == ["spec.http[1].match[0]", "spec.http[3]"]


def test_an_unknown_field_is_answered_with_the_nearest_known_one() -> None:
    text = VALID["DestinationRule: load balancer"].replace("trafficPolicy", "traffic-policy")
    (error,) = parse_text(text, "a.yaml").errors
    assert error.field == "spec.traffic-policy"
    assert error.expected == '"trafficPolicy" (did you mean that?)'


def test_the_spelling_of_protobuf_is_read_with_a_warning() -> None:
    text = VALID["DestinationRule: load balancer"]
    parsed = parse_text(text.replace("trafficPolicy", "traffic_policy"), "a.yaml")
    assert parsed.resources[0].spec == read(text).spec
    (problem,) = parsed.problems
    assert problem.field == "spec.traffic_policy" and "trafficPolicy" in problem.expected
