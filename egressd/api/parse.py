"""Reads resources from YAML or JSON text. Nothing else builds a `Resource` of text.

Kinds, versions and metadata are taken as kubectl takes them: many documents a file, `kind: List`,
the fields that an API server adds are accepted and ignored.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from egressd.api import nodes
from egressd.api.decode import decode_message, decode_string, describe, entries, is_null
from egressd.api.metadata import decode_metadata, stated_revision
from egressd.api.other_kinds import ALL, KUSTOMIZATIONS, KUSTOMIZE, MARKER, NOTHING, OtherKinds
from egressd.api.plain_json import read_plain_json
from egressd.api.report import Report, quoted
from egressd.api.resource import (
    SPEC_TYPES,
    Kind,
    Parsed,
    Place,
    Problem,
    Resource,
)
from egressd.api.rules import check_spec
from egressd.api.supported import report_unsupported

GROUP: Final = "networking.istio.io"
SECURITY_GROUP: Final = "security.istio.io"
API_VERSIONS: Final = tuple(f"{GROUP}/{version}" for version in ("v1", "v1beta1", "v1alpha3"))
SECURITY_VERSIONS: Final = tuple(f"{SECURITY_GROUP}/{version}" for version in ("v1", "v1beta1"))
_SECURITY_KINDS: Final = frozenset((Kind.AUTHORIZATION_POLICY,))
_KINDS: Final = ", ".join(Kind)
_TOP_FIELDS: Final = ("apiVersion", "kind", "metadata", "spec", "status")
_LISTS: Final = frozenset(("List", *(f"{kind}List" for kind in Kind)))


def parse_text(text: str, file: str, others: OtherKinds = NOTHING) -> Parsed:
    """Every resource in `text` that has no error, and all problems of all documents; what is of `others`
    is skipped.

    `file` is what problems name as their place. Never raises: text that is not YAML is a problem.
    """
    plain = read_plain_json(text, file, API_VERSIONS)
    if plain is not None:
        return Parsed((plain,), ())
    return parse_exactly(text, file, others)


def parse_exactly(text: str, file: str, others: OtherKinds = NOTHING) -> Parsed:
    """`parse_text` without its short cut for plain JSON."""
    reading = _Reading(file, others)
    try:
        for document in nodes.documents(text):
            if not is_null(document):
                _read(document, reading, in_list=False)
    except nodes.TextError as error:
        place = Place(file, error.line, error.column)
        reading.problems.append(Problem(place=place, found=error.found, expected=error.expected))
    return Parsed(tuple(reading.resources), tuple(reading.problems), tuple(reading.skipped))


@dataclass(slots=True)
class _Reading:
    """One text while it is read."""

    file: str
    others: OtherKinds
    resources: list[Resource] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)


def _read(node: nodes.Node, reading: _Reading, *, in_list: bool) -> None:
    report = Report(reading.file)
    report.lines[""] = node.line
    if not isinstance(node, nodes.Mapping):
        report.undecodable(
            "", node.line, describe(node), "a resource: a mapping with kind and spec"
        )
        reading.problems.extend(report.problems)
        return
    fields = {name: value for name, value, _ in _top_fields(node, report)}
    kind = fields.get("kind")
    if not in_list and isinstance(kind, nodes.Scalar) and kind.text in _LISTS:
        _read_list(fields, reading, report)
        return
    if reading.others and (skipped := _skipped(fields, reading.others, reading.file)):
        reading.skipped.append(skipped)
        return
    resource = _read_resource(fields, node, report)
    reading.problems.extend(report.problems)
    if resource is not None and not report.has_errors():
        reading.resources.append(resource)


def _skipped(fields: Mapping[str, nodes.Node], others: OtherKinds, file: str) -> str:
    """The kind of a resource that is none of egressd's; "" where it is to be read."""
    kind, version = (
        node.text if isinstance(node := fields.get(name), nodes.Scalar) else ""
        for name in ("kind", "apiVersion")
    )
    if not kind and os.path.basename(file) in KUSTOMIZATIONS:
        kind, version = KUSTOMIZE
    is_skipped = bool(kind) and others.take(kind, version, is_read=kind in set(Kind))
    return kind if is_skipped else ""


def _top_fields(node: nodes.Mapping, report: Report) -> list[tuple[str, nodes.Node, int]]:
    found = entries(node, "", report)
    for name, _, line in found:
        report.lines[name] = line
    return found


def _read_list(fields: Mapping[str, nodes.Node], reading: _Reading, report: Report) -> None:
    items = fields.get("items")
    for name in fields:
        if name not in ("apiVersion", "kind", "metadata", "items"):
            line = report.lines[name]
            report.undecodable(name, line, f"unknown field {quoted(name)}", "items")
    if items is not None and not is_null(items) and not isinstance(items, nodes.Sequence):
        report.undecodable("items", items.line, describe(items), "a list of resources")
    reading.problems.extend(report.problems)
    if isinstance(items, nodes.Sequence):
        for item in items.items:
            _read(item, reading, in_list=True)


def _read_resource(
    fields: Mapping[str, nodes.Node], node: nodes.Mapping, report: Report
) -> Resource | None:
    kind = _kind(fields, node, report)
    if kind is None:
        return None
    for name in fields:
        if name not in _TOP_FIELDS:
            expected = f"one of {', '.join(_TOP_FIELDS)}"
            line = report.lines[name]
            report.undecodable(name, line, f"unknown field {quoted(name)}", expected)
    metadata = decode_metadata(fields.get("metadata"), node.line, kind, report)
    version = _api_version(kind, fields, node, report)
    if version is None:
        return None
    spec_node = fields.get("spec")
    if spec_node is None or is_null(spec_node):
        report.undecodable("spec", node.line, "nothing", f"the spec of the {kind}")
        return None
    spec = decode_message(SPEC_TYPES[kind], spec_node, "spec", report)
    check_spec(spec, metadata, report)
    resource = Resource(
        kind=kind,
        metadata=metadata,
        spec=spec,
        api_version=version,
        place=Place(report.file, node.line),
        revision=stated_revision(fields.get("metadata")),
    )
    if not report.has_errors():
        report_unsupported(resource, report)
    return resource


def _kind(fields: Mapping[str, nodes.Node], node: nodes.Mapping, report: Report) -> Kind | None:
    kind_node = fields.get("kind")
    if kind_node is None or is_null(kind_node):
        report.undecodable("kind", node.line, "nothing", f"one of {_KINDS}")
        return None
    name = decode_string(kind_node, "kind", report)
    if name in set(Kind):
        return Kind(name)
    if not isinstance(kind_node, nodes.Scalar) or not isinstance(kind_node.value(), str):
        return None
    version = fields.get("apiVersion")
    of = f" of {version.text}" if isinstance(version, nodes.Scalar) and version.text else ""
    found = f"kind {quoted(name)}{of}"
    expected = f"one of {_KINDS} of {GROUP} or {SECURITY_GROUP}"
    if OtherKinds(frozenset((ALL,))).take(name, of.removeprefix(" of "), is_read=False):
        expected += f"; in a directory shared with Kubernetes: a file {MARKER}, or --ignore-kinds"
    report.undecodable("kind", kind_node.line, found, expected)
    return None


def _api_version(
    kind: Kind, fields: Mapping[str, nodes.Node], node: nodes.Mapping, report: Report
) -> str | None:
    """The version as written; None where it names another API, whose spec says nothing to us."""
    version_node = fields.get("apiVersion")
    group, versions = GROUP, API_VERSIONS
    if kind in _SECURITY_KINDS:
        group, versions = SECURITY_GROUP, SECURITY_VERSIONS
    expected = f"one of {', '.join(versions)}"
    if version_node is None or is_null(version_node):
        report.undecodable("apiVersion", node.line, "nothing", expected)
        return versions[0]
    version = version_node.value() if isinstance(version_node, nodes.Scalar) else None
    if isinstance(version, str) and version in versions:
        return version
    report.undecodable("apiVersion", version_node.line, describe(version_node), expected)
    is_other_api = isinstance(version, str) and "/" in version and not version.startswith(group)
    return None if is_other_api else versions[0]
