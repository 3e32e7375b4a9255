"""What shows only between resources."""

from __future__ import annotations

import pytest

from egressd.api.crosscheck import check_set, host_conflicts
from egressd.api.parse import parse_text
from egressd.api.resource import Resource, Severity


def service(host: str, name: str = "s") -> str:
    return (
        f"apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}}}\n"
        f'spec: {{hosts: ["{host}"], ports: [{{number: 80, name: http, protocol: HTTP}}]}}\n'
    )


def routes(
    name: str, hosts: str, to: str = "a.b", gateways: str = "[mesh]", created: str = "''"
) -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
        f"metadata: {{name: {name}, creationTimestamp: {created}}}\n"
        f"spec: {{hosts: {hosts}, gateways: {gateways},"
        f" http: [{{route: [{{destination: {{host: {to}}}}}]}}]}}\n"
    )


def rule(name: str, host: str, subsets: str = "[]") -> str:
    return (
        f"apiVersion: networking.istio.io/v1\nkind: DestinationRule\nmetadata: {{name: {name}}}\n"
        f'spec: {{host: "{host}", subsets: {subsets}}}\n'
    )


def read(*texts: str) -> tuple[Resource, ...]:
    parsed = parse_text("---\n".join(texts), "a.yaml")
    assert parsed.errors == ()
    return parsed.resources


def refused(resources: tuple[Resource, ...]) -> set[str]:
    return {conflict.refused.ref for conflict in host_conflicts(resources)}


def test_a_complete_set_has_no_problems() -> None:
    resources = read(
        service("a.b"),
        routes("v", "[a.b]", to="a.b, subset: v1"),
        rule("r", "A.B", "[{name: v1}]"),
    )
    assert check_set(resources) == ()


def test_a_second_resource_of_one_name_is_an_error_naming_the_first() -> None:
    (problem,) = check_set(read(service("a.b"), service("c.d")))
    assert problem.severity is Severity.ERROR
    assert problem.field == "metadata.name"
    assert problem.place.line == 6
    assert "ServiceEntry/default/s (the first: a.yaml:1)" in problem.found


def test_the_earlier_of_two_virtual_services_keeps_their_host() -> None:
    resources = read(service("a.b"), routes("one", "[x.y, A.B.]"), routes("two", "[c.d, a.b]"))
    (problem,) = check_set(resources)
    assert (problem.resource, problem.field) == ("VirtualService/default/two", "spec.hosts[1]")
    assert problem.severity is Severity.ERROR
    assert "VirtualService/default/one" in problem.found
    assert refused(resources) == {"VirtualService/default/two"}


def test_the_older_of_two_virtual_services_keeps_their_host() -> None:
    resources = read(
        service("a.b"),
        routes("none", "[a.b]"),
        routes("new", "[a.b]", created="2024-06-01T00:00:00Z"),
        routes("old", "[a.b]", created="2023-06-01T00:00:00+02:00"),
    )
    assert refused(resources) == {
        "VirtualService/default/none",
        "VirtualService/default/new",
    }
    assert {c.keeper.metadata.name for c in host_conflicts(resources)} == {"old"}


def test_one_host_on_gateways_is_no_conflict() -> None:
    """Istio merges what several have for a host on a Gateway."""
    resources = read(
        service("a.b"),
        routes("one", "[a.b]"),
        routes("two", "[a.b]", gateways="[edge]"),
        routes("three", "[a.b]", gateways="[other/edge]"),
        routes("four", "[a.b]", gateways="[default/edge]"),
    )
    assert check_set(resources) == ()
    again = read(
        routes("five", "[a.b]", gateways="[edge, mesh]"), routes("six", "[a.b]", gateways="[mesh]")
    )
    assert refused(again) == {"VirtualService/default/six"}


def test_a_wildcard_does_not_conflict_with_a_host_within_it() -> None:
    resources = read(service("a.b"), routes("one", '["*.b.c"]'), routes("two", "[a.b.c]"))
    assert refused(resources) == set()


def test_each_host_is_contested_by_itself() -> None:
    resources = read(
        service("a.b"),
        routes("one", "[a.b]"),
        routes("two", "[a.b, c.d]"),
        routes("zwei", "[c.d]"),
    )
    assert [
        (c.keeper.metadata.name, c.refused.metadata.name) for c in host_conflicts(resources)
    ] == [
        ("one", "two"),
        ("two", "zwei"),
    ]


def test_a_second_destination_rule_of_one_host_is_a_warning() -> None:
    (problem,) = check_set(read(rule("one", "a.b"), rule("two", "a.b")))
    assert (problem.severity, problem.field) == (Severity.WARNING, "spec.host")
    assert "DestinationRule/default/one" in problem.found


def test_a_destination_that_no_service_entry_knows_is_a_warning() -> None:
    (problem,) = check_set(read(service("c.d"), routes("v", "[a.b]", to="a.b")))
    assert problem.severity is Severity.WARNING
    assert problem.field == "spec.http[0].route[0].destination.host"


def test_a_wildcard_service_entry_knows_the_hosts_within_it() -> None:
    assert check_set(read(service("*.b"), routes("v", "[a.b]", to="x.a.b"))) == ()


def test_a_subset_missing_in_the_hosts_own_rule_is_an_error() -> None:
    resources = read(
        service("a.b"), routes("v", "[a.b]", to="a.b, subset: v9"), rule("r", "a.b", "[{name: v1}]")
    )
    (problem,) = check_set(resources)
    assert problem.severity is Severity.ERROR
    assert problem.field == "spec.http[0].route[0].destination.subset"
    assert problem.found == 'missing subset "v9"'
    assert "(v1)" in problem.expected


def test_a_subset_without_any_rule_is_a_warning() -> None:
    (problem,) = check_set(read(service("a.b"), routes("v", "[a.b]", to="a.b, subset: v1")))
    assert problem.severity is Severity.WARNING
    assert problem.field == "spec.http[0].route[0].destination.subset"


def test_a_subset_of_a_wildcard_rule_is_found() -> None:
    resources = read(
        service("a.b"), routes("v", "[a.b]", to="a.b, subset: v1"), rule("r", "*.b", "[{name: v1}]")
    )
    assert check_set(resources) == ()


def delegating(delegate: str) -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: root}\n"
        f"spec: {{hosts: [a.b], http: [{{delegate: {{{delegate}}}}}]}}\n"
    )


def leaf(spec: str, namespace: str = "default") -> str:
    return (
        "apiVersion: networking.istio.io/v1\nkind: VirtualService\n"
        f"metadata: {{name: leaf, namespace: {namespace}}}\n"
        f"spec: {{{spec} http: [{{directResponse: {{status: 204}}}}]}}\n"
    )


@pytest.mark.parametrize(
    ("delegate", "others", "expected"),
    [
        ("name: leaf", [], "a VirtualService of this name"),
        ("name: leaf", [leaf("")], ""),
        ("name: leaf", [leaf("hosts: [c.d],")], "without hosts"),
        ("name: leaf", [leaf("", "other")], "a VirtualService of this name"),
        ("name: leaf, namespace: other", [leaf("", "other")], ""),
        ("name: leaf, namespace: other", [leaf("exportTo: ['.'],", "other")], "exported to"),
        ("name: leaf, namespace: other", [leaf("exportTo: [default],", "other")], ""),
    ],
)
def test_a_delegate_that_cannot_be_used_is_warned_of(
    delegate: str, others: list[str], expected: str
) -> None:
    problems = check_set(read(delegating(delegate), *others))
    assert len(problems) == bool(expected)
    for problem in problems:
        assert problem.severity is Severity.WARNING
        assert problem.field == "spec.http[0].delegate"
        assert expected in problem.expected
