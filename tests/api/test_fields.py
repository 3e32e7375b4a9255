"""The API types against the list of every message, field and enum of Istio's current API."""

from __future__ import annotations

import enum
import json
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

import pytest

from egressd.api import (
    authorization_policy,
    destination_rule,
    gateway,
    message,
    service_entry,
    sidecar,
    virtual_service,
)
from egressd.api.deprecated import REPLACEMENTS
from egressd.api.message import Message, fields_of
from egressd.api.workload_entry import WorkloadEntry

LIST = json.loads((Path(__file__).parent / "istio-api-fields.json").read_text())

RENAMED = {
    # Names that would be ambiguous as Python classes.
    "DestinationRule.WorkloadSelector": "PolicySelector",  # of the type group: matchLabels
    "Headers.HeaderOperations": "HeaderOperations",
    "HTTPFaultInjection.Delay": "FaultDelay",
    "HTTPFaultInjection.Abort": "FaultAbort",
    "LocalityLoadBalancerSetting.Distribute": "LocalityDistribute",
    "LocalityLoadBalancerSetting.Failover": "LocalityFailover",
    "ZoneAwareLoadBalancerSetting.Failover": "ZoneAwareFailover",
    "LoadBalancerSettings.ConsistentHashLB.HTTPCookie.Attribute": "CookieAttribute",
    "TrafficPolicy.ProxyProtocol.VERSION": "ProxyProtocolVersion",
    "ClientTLSSettings.TLSmode": "ClientTLSMode",
    "ServerTLSSettings.TLSmode": "ServerTLSMode",
}
MODULES = {
    "ServiceEntry": service_entry,
    "VirtualService": virtual_service,
    "DestinationRule": destination_rule,
    "Gateway": gateway,
    "WorkloadEntry": service_entry,
    "WorkloadSelector": message,
    "Sidecar": sidecar,
    "AuthorizationPolicy": authorization_policy,
}
STATUS_ONLY = {"ServiceEntryStatus", "ServiceEntryAddress"}  # written by a control plane, not read

MESSAGES = [
    (kind, name, fields)
    for kind, content in LIST.items()
    for name, fields in content["messages"].items()
    if name not in STATUS_ONLY
]
ENUMS = [
    (kind, name, values)
    for kind, content in LIST.items()
    for name, values in content["enums"].items()
]


def find(kind: str, name: str) -> Any:
    for candidate in (RENAMED.get(name, ""), name.rpartition(".")[2]):
        found = getattr(MODULES[kind], candidate, None) or getattr(message, candidate, None)
        if found is not None:
            return found
    raise AssertionError(f"no type for {kind}: {name}")


def bare(hint: Any) -> Any:
    """The type below Optional, tuple, Mapping and Annotated, and how it is wrapped."""
    origin, args = get_origin(hint), get_args(hint)
    if origin is Annotated:
        extra = args[1].extra or {}
        if "scalar" in extra:
            return extra["scalar"]
        return {(0, 2**32 - 1): "uint32", (-(2**31), 2**31 - 1): "int32"}[args[1].ge, args[1].le]
    if origin is tuple:
        return f"[{bare(args[0])}]"
    if origin is not None and type(None) not in args:
        return f"map<{bare(args[0])},{bare(args[1])}>"
    if origin is not None:
        return bare(next(arg for arg in args if arg is not type(None)))
    return {str: "string", bool: "bool", float: "double", bytes: "bytes"}.get(hint, hint.__name__)


def expected_type(kind: str, listed: str) -> str:
    if listed.startswith("["):
        return f"[{expected_type(kind, listed[1:-1])}]"
    if listed.startswith("map<"):
        key, value = listed[4:-1].split(",")
        return f"map<{expected_type(kind, key)},{expected_type(kind, value)}>"
    wrapped = {
        "BoolValue": "bool",
        "UInt32Value": "uint32",
        "UInt64Value": "uint64",
        "DoubleValue": "double",
        "Duration": "duration",
    }
    return wrapped.get(listed, listed)


def same_type(kind: str, owner: str, actual: str, listed: str) -> bool:
    expected = expected_type(kind, listed)
    if actual == expected:
        return True
    inner_actual, inner = actual.strip("[]"), expected.strip("[]")
    names = {n: RENAMED[n] for n in RENAMED if n.startswith(owner) and n.endswith(f".{inner}")}
    return actual.count("[") == expected.count("[") and inner_actual in names.values()


@pytest.mark.parametrize(("kind", "name", "fields"), MESSAGES, ids=lambda v: str(v)[:60])
def test_every_field_of_a_message_is_there_with_its_type(
    kind: str, name: str, fields: list[dict[str, Any]]
) -> None:
    cls = find(kind, name)
    assert issubclass(cls, Message)
    actual = {info.encode_name: info for info in fields_of(cls)}
    assert sorted(actual) == sorted(field["name"] for field in fields)
    for field in fields:
        info = actual[field["name"]]
        assert info.required == field.get("required", False), field
        assert same_type(kind, name, bare(info.type), field["type"]), (field, bare(info.type))


@pytest.mark.parametrize(("kind", "name", "fields"), MESSAGES, ids=lambda v: str(v)[:60])
def test_oneof_groups_and_deprecated_marks_are_those_of_istio(
    kind: str, name: str, fields: list[dict[str, Any]]
) -> None:
    cls = find(kind, name)
    groups: dict[str, list[str]] = {}
    for field in fields:
        if "oneof" in field:
            groups.setdefault(field["oneof"], []).append(field["name"])
    assert {group: list(names) for group, names in cls.ONEOF.items()} == groups
    assert {field["name"] for field in fields if field.get("deprecated")} == cls.DEPRECATED
    assert set(REPLACEMENTS) >= cls.DEPRECATED


@pytest.mark.parametrize(("kind", "name", "values"), ENUMS, ids=lambda v: str(v)[:60])
def test_enums_have_the_values_of_istio_in_order(kind: str, name: str, values: list[str]) -> None:
    cls = find(kind, name)
    assert issubclass(cls, enum.Enum)
    assert list(cls.__members__) == values


def test_the_list_names_every_message_type_that_we_have() -> None:
    listed = {find(kind, name) for kind, name, _ in MESSAGES} | {WorkloadEntry}
    ours = {
        value
        for module in {message, *MODULES.values()}
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, Message) and value is not Message
    }
    assert ours <= listed
