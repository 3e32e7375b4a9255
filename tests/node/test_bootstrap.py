"""The bootstrap file: defaults, strictness, and that every problem is told at once."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from egressd.node.bootstrap import (
    Bootstrap,
    BootstrapError,
    OutboundMode,
    load_bootstrap,
    reload_bootstrap,
)
from egressd.node.bootstrap import parse_bootstrap as parse

EXAMPLE = Path(__file__).parents[2] / "systemd" / "egressd.yaml"


def test_an_absent_and_an_empty_file_are_a_node_of_defaults() -> None:
    assert load_bootstrap(None) == parse("") == parse("# nothing\n") == parse("{}") == Bootstrap()


def test_the_annotated_example_states_exactly_the_defaults() -> None:
    assert load_bootstrap(EXAMPLE) == Bootstrap()


def test_the_annotated_example_and_the_reference_name_every_field() -> None:
    fields = [name for name, _ in _fields(Bootstrap(), "")]
    reference = (EXAMPLE.parents[1] / "docs" / "bootstrap.md").read_text()
    assert [name for name in fields if f"`{name}`" not in reference] == []
    example = EXAMPLE.read_text()
    assert [name for name in fields if f"{name.rpartition('.')[2]}:" not in example] == []


def _fields(message: object, prefix: str) -> list[tuple[str, object]]:
    """JSON paths of a message's fields, lists by their element."""
    found: list[tuple[str, object]] = []
    names = zip(message.__struct_fields__, message.__struct_encode_fields__, strict=True)  # type: ignore[attr-defined]
    for attribute, name in names:
        value = getattr(message, attribute)
        if isinstance(value, tuple) and value and hasattr(value[0], "__struct_fields__"):
            found += _fields(value[0], f"{prefix}{name}[].")
        elif hasattr(value, "__struct_fields__"):
            found += _fields(value, f"{prefix}{name}.")
        else:
            found.append((f"{prefix}{name}", value))
    return found


def test_fields_are_read_with_their_units() -> None:
    config = parse(
        """
        node: {id: vm-1, labels: {app: web}, locality: eu/a, rootNamespace: mesh}
        workers: 3
        listeners: [{name: egress, address: "::1", port: 8080}]
        adapters:
        - type: consul
          options: {address: "http://127.0.0.1:8500", tags: [a, 1, {deep: true}]}
        resources: [/etc/egressd/resources]
        outboundTrafficPolicy: {mode: ALLOW_ANY}
        limits: {headTimeout: 1m30s, maxDownstreamConnections: 10}
        runDir: /tmp/run
        """
    )
    assert config.node.locality_parts == ("eu", "a", "")
    assert config.node.root_namespace == "mesh"
    assert config.limits.head_timeout == 90.0
    assert config.limits.max_downstream_connections == 10
    assert config.outbound_traffic_policy.mode is OutboundMode.ALLOW_ANY
    assert config.adapters[0].source == "consul"
    assert config.adapters[0].options["tags"] == ["a", 1, {"deep": True}]
    assert config.admin_address == "unix:/tmp/run/admin.sock"


WRONG = [
    ("wrokers: 2", "wrokers", '"workers"'),
    ("workers: 0", "workers", "from 1 to 64"),
    ("workers: 65", "workers", "from 1 to 64"),
    ("workers: two", "workers", "an integer"),
    ("node: {id: 'a b'}", "node.id", "without spaces"),
    ("node: {namespace: Prod}", "node.namespace", "lower-case"),
    ("node: {rootNamespace: a_b}", "node.rootNamespace", "lower-case"),
    ("node: {locality: a//b}", "node.locality", "region"),
    ("node: {labels: {a: 1}}", "node.labels.a", "quote it"),
    ("listeners: []", "listeners", "at least one"),
    ("listeners: [{name: a}]", "listeners[0].port", "required"),
    ("listeners: [{name: A, port: 1}]", "listeners[0].name", "lower-case"),
    ("listeners: [{name: a, port: 70000}]", "listeners[0].port", "65535"),
    ("listeners: [{name: a, port: 1, address: host}]", "listeners[0].address", "IPv4"),
    ("listeners: [{name: a, port: 1, protocol: UDP}]", "listeners[0].protocol", "one of HTTP"),
    ("listeners: [{name: a, port: 1}, {name: a, port: 2}]", "listeners[1].name", "listeners[0]"),
    ("listeners: [{name: a, port: 1}, {name: b, port: 1}]", "listeners[1].port", "listeners[0]"),
    ("adapters: [{name: x}]", "adapters[0].type", "required"),
    ("adapters: [{type: consul}, {type: consul}]", "adapters[1].type", "adapters[0]"),
    ("adapters: [{type: a, options: [1]}]", "adapters[0].options", "a mapping"),
    ("adapters: [{type: files}]\nresources: [/a]", "adapters[0].type", "another name"),
    ("resources: [etc]", "resources[0]", "absolute"),
    ("outboundTrafficPolicy: {mode: any}", "outboundTrafficPolicy.mode", "ALLOW_ANY"),
    ("admin: {address: '0.0.0.0:15000'}", "admin.address", "loopback"),
    ("admin: {address: 'unix:admin'}", "admin.address", "absolute"),
    ("admin: {address: 'localhost:1'}", "admin.address", "unix:/path"),
    ("admin: {address: '127.0.0.1:15001'}", "admin.address", "no listener"),
    ("accessLog: {path: log}", "accessLog.path", "absolute"),
    ("accessLog: {format: xml}", "accessLog.format", "text, json"),
    ("log: {level: loud}", "log.level", "debug"),
    ("limits: {headTimeout: 5}", "limits.headTimeout", "duration"),
    ("limits: {headTimeout: 0s}", "limits.headTimeout", "more than 0s"),
    ("limits: {heartbeatTimeout: 10ms}", "limits.heartbeatTimeout", "at least 1s"),
    ("limits: {maxRequestHeadBytes: 10}", "limits.maxRequestHeadBytes", "1024"),
    (
        "workers: 4\nlimits: {maxDownstreamConnections: 3}",
        "limits.maxDownstreamConnections",
        "at least one",
    ),
    ("pathNormalization: base", "pathNormalization", "BASE"),
    ("http: {escapedSlashes: keep}", "http.escapedSlashes", "KEEP"),
    (
        "{pathNormalization: DECODE_AND_MERGE_SLASHES, http: {escapedSlashes: REJECT}}",
        "http.escapedSlashes",
        "DECODE",
    ),
    ("http: {extensionMethods: [FOO, bar]}", "http.extensionMethods[1]", "upper-case"),
    ("http: {extensionMethods: ['A B']}", "http.extensionMethods[0]", "upper-case"),
    ("http: {upgradeTypes: ['a, b']}", "http.upgradeTypes[0]", "name of a protocol"),
    ("http: {upgradeTypes: [websocket, H2C]}", "http.upgradeTypes[1]", "cannot be tunnelled"),
    ("http: {upgradeTypes: [TLS/1.2]}", "http.upgradeTypes[0]", "cannot be tunnelled"),
    ("limits: {connectPorts: [443, 0]}", "limits.connectPorts[1]", "from 1"),
    ("limits: {deniedAddresses: [10.0.0.1/8]}", "limits.deniedAddresses[0]", "host bits"),
    ('node: {id: "a\\r\\nb"}', "node.id", "printable"),
    ('node: {labels: {"a\\nb": c}}', 'node.labels["a\\nb"]', "a key of at most"),
    ('node: {labels: {a: "b c"}}', "node.labels.a", "a label value"),
    ('node: {locality: "eu\\n/a"}', "node.locality", "without control"),
    ('accessLog: {path: "/a\\nb"}', "accessLog.path", "without control"),
    (
        "limits: {allowedAddresses: {a.test: ['::1', 10.0.0.1/8]}}",
        'limits.allowedAddresses["a.test"][1]',
        "host bits",
    ),
    (
        "limits: {allowedAddresses: {'a*.test': ['::1']}}",
        'limits.allowedAddresses["a*.test"]',
        "a host as ServiceEntries",
    ),
    ("dns: {nameservers: [ns.example]}", "dns.nameservers[0]", "address"),
    ("dns: {nameservers: ['1.1.1.1:x']}", "dns.nameservers[0]", "address"),
    ("dns: {searchDomains: ['a b']}", "dns.searchDomains[0]", "domain"),
    ("dns: {lookupFamily: V5}", "dns.lookupFamily", "V4_ONLY"),
    ("dns: {minTtl: 10m}", "dns.minTtl", "dns.maxTtl"),
    ("retryBudget: {percent: 101}", "retryBudget.percent", "from 0 to 100"),
    ("retryBudget: {percent: -1}", "retryBudget.percent", "from 0 to 100"),
    ("retryBudget: 20", "retryBudget", "a mapping"),
    ("retryBudget: {budgetInterval: 0s}", "retryBudget.budgetInterval", "1ms"),
    ("outlier: {alwaysEjectOne: 'true'}", "outlier.alwaysEjectOne", "unquoted"),
    ("stateDir: state", "stateDir", "absolute"),
    (f"runDir: /{'x' * 100}", "runDir", "Unix sockets"),
]


@pytest.mark.parametrize(("text", "field", "expected"), WRONG)
def test_a_wrong_field_is_named_with_what_is_expected(text: str, field: str, expected: str) -> None:
    with pytest.raises(BootstrapError) as caught:
        parse(text, "egressd.yaml")
    (problem,) = caught.value.problems
    assert problem.field == field
    assert expected in problem.expected
    assert problem.place.file == "egressd.yaml"
    assert problem.place.line >= 1


def test_every_problem_is_told_at_once_in_order_of_lines() -> None:
    with pytest.raises(BootstrapError) as caught:
        parse("runDir: run\nworkers: 0\nstateDir: state\n")
    assert [(problem.place.line, problem.field) for problem in caught.value.problems] == [
        (1, "runDir"),
        (2, "workers"),
        (3, "stateDir"),
    ]


@pytest.mark.parametrize("text", ["- a\n", "a: [", "workers: 1\n---\nworkers: 2\n", "just text"])
def test_what_is_not_one_mapping_is_refused(text: str) -> None:
    with pytest.raises(BootstrapError):
        parse(text)


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BootstrapError, match="No such file"):
        load_bootstrap(tmp_path / "absent.yaml")
    (tmp_path / "latin").write_bytes(b"node: {id: \xe9}")
    with pytest.raises(BootstrapError, match="UTF-8"):
        load_bootstrap(tmp_path / "latin")


def test_an_empty_file_is_no_configuration_for_a_node_that_runs(tmp_path: Path) -> None:
    path = tmp_path / "egressd.yaml"
    path.write_text("\n")
    assert load_bootstrap(path) == Bootstrap()
    with pytest.raises(BootstrapError, match=r"egressd.yaml: found an empty file"):
        reload_bootstrap(path)
    path.write_text("workers: 3\n")
    assert reload_bootstrap(path).workers == 3


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO])
def test_a_shortage_is_no_wrong_configuration(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(self: Path, encoding: str) -> str:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "read_text", fail)
    with pytest.raises(OSError, match=os.strerror(number)):
        load_bootstrap(tmp_path / "egressd.yaml")


def test_a_file_that_is_not_there_is_one(tmp_path: Path) -> None:
    with pytest.raises(BootstrapError, match="No such file"):
        load_bootstrap(tmp_path / "egressd.yaml")
