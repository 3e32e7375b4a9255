"""The table of fields not yet acted on: real fields, each with a warning, and as documented."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from egressd.api.message import Message, fields_of
from egressd.api.parse import parse_text
from egressd.api.resource import Kind, Severity
from egressd.api.supported import NOT_YET_FIELDS
from tests.api.invalid.bases import BASES, DESTINATION_RULE, VIRTUAL_SERVICE
from tests.api.invalid.mutate import as_text, changed
from tests.api.valid_resources import VALID

DOCUMENT = Path(__file__).parents[2] / "docs" / "resources.md"

TEXTS = [
    *VALID.values(),
    *map(as_text, BASES),
    as_text(
        changed(
            DESTINATION_RULE,
            {
                "spec.trafficPolicy.connectionPool.http.h2UpgradePolicy": "UPGRADE",
                "spec.trafficPolicy.loadBalancer.warmup": None,
                "spec.trafficPolicy.loadBalancer.warmupDurationSecs": "1s",
            },
        )
    ),
    as_text(
        changed(
            DESTINATION_RULE, {"spec.trafficPolicy.connectionPool.http.useClientProtocol": True}
        )
    ),
    as_text(
        changed(
            DESTINATION_RULE,
            {
                "spec.trafficPolicy.loadBalancer.simple": None,
                "spec.trafficPolicy.loadBalancer.backendUtilization": {"blackoutPeriod": "10s"},
            },
        )
    ),
    as_text(changed(VIRTUAL_SERVICE, {"spec.http[0].fault.abort": {"grpcStatus": "ABORTED"}})),
]


@pytest.mark.parametrize(("cls", "name"), [*NOT_YET_FIELDS])
def test_the_table_names_real_fields(cls: type[Message], name: str) -> None:
    assert name in {info.encode_name for info in fields_of(cls)}


def test_each_entry_of_the_table_warns_with_its_reason_and_field_path() -> None:
    warnings = [problem for text in TEXTS for problem in parse_text(text, "a").problems]
    assert all(problem.severity is Severity.WARNING for problem in warnings)
    for (_, name), reason in NOT_YET_FIELDS.items():
        fitting = [p for p in warnings if p.field.endswith(f".{name}") and reason in p.found]
        assert fitting, (name, reason)


def test_a_resource_that_is_acted_on_in_full_has_no_warning() -> None:
    for name in (
        "ServiceEntry: external HTTPS by DNS",
        "VirtualService: routes by path with a rewrite",
        "VirtualService: cookie match and fault injection",
        "DestinationRule: connection pool and outlier detection",
        "DestinationRule: mutual TLS by files",
        "DestinationRule: port settings",
    ):
        assert parse_text(VALID[name], "a").problems == (), name


def test_the_document_lists_exactly_the_table() -> None:
    section = DOCUMENT.read_text().split("## Valid but not yet acted on")[1].split("\n## ")[0]
    listed = dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", section, re.MULTILINE))
    expected = {f"{cls.__name__}.{name}": why for (cls, name), why in NOT_YET_FIELDS.items()}
    assert listed == expected


def test_the_document_names_every_kind() -> None:
    text = DOCUMENT.read_text()
    assert all(f"`{kind}`" in text for kind in Kind)
