"""The sizes of Istio's Kubernetes definitions: how many entries a field may have, how long a string.

Source: `maxItems`, `maxProperties` and `maxLength` of istio/api `customresourcedefinitions.gen.yaml`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from egressd.api.authorization_policy import (
    AuthorizationPolicy,
    PolicySelector,
    PolicyTargetReference,
    Source,
)
from egressd.api.decode import join
from egressd.api.gateway import ServerTLSSettings
from egressd.api.message import Message, WorkloadSelector, fields_of
from egressd.api.report import Report
from egressd.api.service_entry import ServiceEntry, ServicePort
from egressd.api.workload_entry import WorkloadEntry


class Limit(NamedTuple):
    """`entries` of a list or map, `length` of each string in it, or of the string; 0 = no limit."""

    entries: int = 0
    length: int = 0


LIMITS: Final[Mapping[tuple[type[Message], str], Limit]] = {
    (ServiceEntry, "hosts"): Limit(entries=256),
    (ServiceEntry, "addresses"): Limit(entries=256, length=64),
    (ServiceEntry, "ports"): Limit(entries=256),
    (ServiceEntry, "endpoints"): Limit(entries=4096),
    (ServicePort, "name"): Limit(length=256),
    (ServicePort, "protocol"): Limit(length=256),
    (WorkloadEntry, "address"): Limit(length=256),
    (WorkloadEntry, "ports"): Limit(entries=128),
    (WorkloadEntry, "labels"): Limit(entries=256),
    (WorkloadEntry, "network"): Limit(length=2048),
    (WorkloadEntry, "locality"): Limit(length=2048),
    (WorkloadEntry, "serviceAccount"): Limit(length=253),
    (WorkloadSelector, "labels"): Limit(entries=256, length=63),
    (PolicySelector, "matchLabels"): Limit(entries=4096, length=63),
    (ServerTLSSettings, "credentialNames"): Limit(entries=2),
    (AuthorizationPolicy, "targetRefs"): Limit(entries=16),
    (PolicyTargetReference, "group"): Limit(length=253),
    (PolicyTargetReference, "kind"): Limit(length=63),
    (PolicyTargetReference, "name"): Limit(length=253),
    (Source, "serviceAccounts"): Limit(entries=16, length=320),
    (Source, "notServiceAccounts"): Limit(entries=16, length=320),
}


def check_limits(message: Message, path: str, report: Report) -> None:
    """Reports what of a message, nested ones included, is more or longer than Kubernetes stores."""
    for info in fields_of(type(message)):
        value = getattr(message, info.name)
        if not value:
            continue
        where = f"{path}.{info.encode_name}"
        limit = LIMITS.get((type(message), info.encode_name))
        if limit is not None:
            _check(value, limit, where, report)
        if isinstance(value, Message):
            check_limits(value, where, report)
        elif isinstance(value, tuple) and isinstance(value[0], Message):
            for index, item in enumerate(value):
                check_limits(item, f"{where}[{index}]", report)


def _check(value: object, limit: Limit, path: str, report: Report) -> None:
    if isinstance(value, str):
        _check_length(value, limit.length, path, report)
        return
    assert isinstance(value, (tuple, Mapping))
    if limit.entries and len(value) > limit.entries:
        report.error(path, f"{len(value)} entries", f"at most {limit.entries}")
    if not limit.length:
        return
    if isinstance(value, Mapping):
        for key, item in value.items():
            _check_length(item, limit.length, join(path, key), report)
    else:
        for index, item in enumerate(value):
            _check_length(item, limit.length, f"{path}[{index}]", report)


def _check_length(text: str, length: int, path: str, report: Report) -> None:
    if length and len(text) > length and not report.has_error_at(path):
        report.error(path, f"{len(text)} characters", f"at most {length} characters")
