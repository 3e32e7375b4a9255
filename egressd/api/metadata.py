"""Reads Kubernetes `ObjectMeta`: strictly what means something on a VM; the rest is ignored."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from egressd.api import nodes
from egressd.api.decode import (
    decode_string,
    decode_string_map,
    describe,
    entries,
    is_null,
    join,
)
from egressd.api.names import annotation_key_fault, is_label, is_subdomain, label_fault
from egressd.api.report import Report, quoted
from egressd.api.resource import Kind, Metadata

READ: Final = ("name", "namespace", "labels", "annotations", "creationTimestamp")
IGNORED: Final = (
    "uid",
    "resourceVersion",  # not of the metadata's meaning: `stated_revision`
    "generation",
    "managedFields",
    "ownerReferences",
    "finalizers",
    "selfLink",
    "generateName",
    "deletionTimestamp",
    "deletionGracePeriodSeconds",
)
"""What an API server adds: accepted so that `kubectl get -o yaml` can be fed back, and not read."""


def decode_metadata(node: nodes.Node | None, line: int, kind: Kind, report: Report) -> Metadata:
    """The metadata of a resource of `kind`; sets the identity that the report's problems carry."""
    if not isinstance(node, nodes.Mapping):
        report.resource = str(kind)
        found = "nothing" if node is None or is_null(node) else describe(node)
        report.undecodable("metadata", node.line if node else line, found, "a mapping with a name")
        return Metadata(name="")
    peeked = {k.text: v for k, v in node.pairs if isinstance(k, nodes.Scalar)}
    names = [_peek(peeked.get("namespace"), "default"), _peek(peeked.get("name"), "")]
    report.resource = "/".join((str(kind), *names))
    report.lines["metadata"] = node.line
    fields = {}
    for name, value, at in entries(node, "metadata", report):
        report.lines[join("metadata", name)] = at
        if name in READ:
            if not is_null(value):
                fields[name] = value
        elif name not in IGNORED:
            known = ", ".join((*READ, *IGNORED))
            where = join("metadata", name)
            report.undecodable(where, at, f"unknown field {quoted(name)}", f"one of {known}")
    metadata = Metadata(
        name=_string(fields, "name", report),
        namespace=_string(fields, "namespace", report) or "default",
        labels=_strings(fields, "labels", report),
        annotations=_strings(fields, "annotations", report),
        creation_timestamp=_string(fields, "creationTimestamp", report),
    )
    check_metadata(metadata, kind, report)
    return metadata


def stated_revision(node: nodes.Node | None) -> str:
    """`resourceVersion`: the revision that the text was read at; "" = none."""
    pairs = node.pairs if isinstance(node, nodes.Mapping) else ()
    for key, value in pairs:
        if isinstance(key, nodes.Scalar) and key.text == "resourceVersion":
            return _peek(value, "")
    return ""


def _peek(node: nodes.Node | None, default: str) -> str:
    value = node.value() if isinstance(node, nodes.Scalar) else None
    return value if isinstance(value, str) and value else default


def _string(fields: Mapping[str, nodes.Node], name: str, report: Report) -> str:
    node = fields.get(name)
    return decode_string(node, f"metadata.{name}", report) if node is not None else ""


def _strings(fields: Mapping[str, nodes.Node], name: str, report: Report) -> Mapping[str, str]:
    node = fields.get(name)
    return decode_string_map(node, f"metadata.{name}", report) if node is not None else {}


def check_metadata(metadata: Metadata, kind: Kind, report: Report) -> None:
    """Kubernetes' rules for names; Istio's `ValidateGateway` wants a DNS label."""
    if not metadata.name:
        report.error("metadata.name", "nothing", "a name")
    elif kind is Kind.GATEWAY and not is_label(metadata.name):
        expected = "a DNS-1123 label of at most 63 characters: lower case, digits and '-'"
        report.error("metadata.name", quoted(metadata.name), expected)
    elif not is_subdomain(metadata.name):
        expected = "a DNS-1123 name of at most 253 characters: lower case, digits, '-' and '.'"
        report.error("metadata.name", quoted(metadata.name), expected)
    if not is_label(metadata.namespace):
        expected = "a DNS-1123 label of at most 63 characters: lower case, digits and '-'"
        report.error("metadata.namespace", quoted(metadata.namespace), expected)
    for key, value in metadata.labels.items():
        if fault := label_fault(key, value):
            report.error(join("metadata.labels", key), f"{quoted(key)}: {quoted(value)}", fault)
    for key in metadata.annotations:
        if fault := annotation_key_fault(key):
            report.error(join("metadata.annotations", key), quoted(key), fault)
