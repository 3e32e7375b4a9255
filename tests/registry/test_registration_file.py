"""The file of this machine's own services."""

from __future__ import annotations

import pytest

from adapters.consul.registrar import definition
from egressd.api.secret import SecretUrl
from egressd.registry.registrar import HealthCheck, Registration
from egressd.registry.registration_file import RegistrationFileError, parse_registrations

WHOLE = """
services:
- name: web
  port: 8080
  address: 10.0.0.5
  tags: [v1, blue]
  meta: {version: v1}
  weight: 3
  check: {http: "http://127.0.0.1:8080/health", interval: 2s, timeout: 500ms, deregisterAfter: 1h}
- {name: worker, port: 9000, id: w1, check: {ttl: 15s}}
- {name: plain, port: 1}
"""


def test_a_file_is_read_with_its_units_and_defaults() -> None:
    web, worker, plain = parse_registrations(WHOLE, "s.yaml")
    assert web == Registration(
        name="web",
        id="web-8080",
        port=8080,
        address="10.0.0.5",
        tags=("v1", "blue"),
        meta={"version": "v1"},
        weight=3,
        check=HealthCheck(
            http=SecretUrl("http://127.0.0.1:8080/health"),
            interval_s=2.0,
            timeout_s=0.5,
            deregister_after_s=3600.0,
        ),
    )
    assert (worker.id, worker.check) == ("w1", HealthCheck(ttl_s=15.0))
    assert (plain.id, plain.check) == ("plain-1", None)


@pytest.mark.parametrize(
    ("text", "field", "expected"),
    [
        ("services: []", "services", "at least one service"),
        ("{}", "services", ""),
        ("services: [{name: web}]", "services[0].port", ""),
        ("services: [{name: web, port: 0}]", "services[0].port", "1"),
        ("services: [{name: 'a b', port: 1}]", "services[0].name", "letters"),
        ("services: [{name: a, port: 1, adress: x}]", "services[0].adress", "address"),
        ("services: [{name: a, port: 1}, {name: a, port: 1}]", "services[1].id", "services[0]"),
        ("services: [{name: a, port: 1, check: {}}]", "services[0].check", "one of http, tcp, ttl"),
        (
            "services: [{name: a, port: 1, check: {ttl: 1s, tcp: 'h:1'}}]",
            "services[0].check",
            "one of http, tcp, ttl",
        ),
        ("services: [{name: a, port: 1, check: {http: x}}]", "services[0].check.http", "a URL"),
        ("services: [{name: a, port: 1, check: {tcp: x}}]", "services[0].check.tcp", "host:port"),
        ("services: [{name: a, port: 1, check: {ttl: 5}}]", "services[0].check.ttl", "unit"),
        ("services: [{name: a, port: 1, address: 'a b'}]", "services[0].address", "an IP address"),
        (
            'services: [{name: a, port: 1, tags: ["a\\nb"]}]',
            "services[0].tags[0]",
            "without control",
        ),
        (
            'services: [{name: a, port: 1, meta: {k: "\\0"}}]',
            "services[0].meta.k",
            "without control",
        ),
        ("services: 1\n---\nservices: 2", "", "one, with a list"),
        (": [", "", ""),
    ],
)
def test_what_is_wrong_is_told_by_line_and_field(text: str, field: str, expected: str) -> None:
    with pytest.raises(RegistrationFileError) as caught:
        parse_registrations(text, "s.yaml")
    problem = caught.value.problems[0]
    assert problem.field == field
    assert expected in problem.expected
    assert problem.place.file == "s.yaml"
    assert problem.place.line


def test_every_problem_is_told_at_once() -> None:
    with pytest.raises(RegistrationFileError) as caught:
        parse_registrations("services: [{name: '', port: 1}, {name: b, port: 99999}]", "s.yaml")
    assert {p.field for p in caught.value.problems} == {
        "services[0].name",
        "services[1].port",
    }


def test_a_missing_name_is_told_once() -> None:
    with pytest.raises(RegistrationFileError) as caught:
        parse_registrations("services: [{port: 1}]", "s.yaml")
    assert [problem.field for problem in caught.value.problems] == ["services[0].name"]


def test_a_registration_as_consul_takes_it() -> None:
    web, worker, plain = map(definition, parse_registrations(WHOLE, "s.yaml"))
    assert web == {
        "ID": "web-8080",
        "Name": "web",
        "Port": 8080,
        "Address": "10.0.0.5",
        "Tags": ["v1", "blue"],
        "Meta": {"version": "v1"},
        "Weights": {"Passing": 3, "Warning": 1},
        "Check": {
            "CheckID": "service:web-8080",
            "Name": "web lives",
            "HTTP": "http://127.0.0.1:8080/health",
            "Interval": "2000ms",
            "Timeout": "500ms",
            "DeregisterCriticalServiceAfter": "3600000ms",
        },
    }
    assert worker["Check"] == {"CheckID": "service:w1", "Name": "worker lives", "TTL": "15000ms"}
    assert "Check" not in plain
    assert "Address" not in plain
