"""Writes of a transaction in Consul's words."""

from __future__ import annotations

import pytest

from adapters.consul.keyvalue import operation
from egressd.registry.keyvalue import Write


@pytest.mark.parametrize(
    ("write", "says"),
    [
        (Write("k", b"\x00a"), {"Verb": "set", "Value": "AGE="}),
        (Write("k", b""), {"Verb": "set", "Value": ""}),
        (Write("k", b"a", 7), {"Verb": "cas", "Value": "YQ==", "Index": 7}),
        (Write("k", b"a", 0), {"Verb": "cas", "Value": "YQ==", "Index": 0}),
        (Write("k", None), {"Verb": "delete"}),
        (Write("k", None, 7), {"Verb": "delete-cas", "Index": 7}),
        (Write("k", None, 0), {"Verb": "check-not-exists"}),
    ],
)
def test_a_write_is_one_operation(write: Write, says: dict[str, object]) -> None:
    assert operation(write) == {"KV": {"Key": "k", **says}}
