"""Writes resources in Istio's JSON shape: what `parse_text` reads back as the same resource."""

from __future__ import annotations

import base64
import enum
from collections.abc import Mapping
from typing import Annotated, Any, get_args, get_origin

import msgspec
import yaml

from egressd.api.duration import render_duration
from egressd.api.message import Message, fields_of
from egressd.api.nodes import Scalar
from egressd.api.resource import Resource
from egressd.api.secret import REDACTED, carries_credentials, redact_within


def to_mapping(resource: Resource) -> dict[str, object]:
    """The resource as plain mappings, lists and scalars; fields at their default are left out."""
    metadata = message_to_mapping(resource.metadata)
    if resource.revision:
        metadata["resourceVersion"] = resource.revision
    return {
        "apiVersion": resource.api_version,
        "kind": str(resource.kind),
        "metadata": metadata,
        "spec": message_to_mapping(resource.spec),
    }


def shown_resource(resource: Resource) -> dict[str, object]:
    """The same for people: URLs without userinfo and query, credentials in headers left out. It is
    not to be applied again."""
    mapping = redact_within(_without_credentials(to_mapping(resource)))
    assert isinstance(mapping, dict)
    return mapping


def to_yaml(resource: Resource) -> str:
    """One YAML document, fields in Istio's order, without a document mark."""
    return yaml_of(to_mapping(resource))


def yaml_of(mapping: Mapping[str, object]) -> str:
    """A resource's mapping as such a document."""
    return str(yaml.dump(mapping, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100))


def _without_credentials(value: object, *, are_headers: bool = False) -> object:
    """Values that resources set in, or ask of, header fields and query parameters that carry
    credentials, left out."""
    if isinstance(value, list):
        return [_without_credentials(inner) for inner in value]
    if not isinstance(value, dict):
        return value
    if are_headers:
        return {
            name: REDACTED if carries_credentials(name) else inner for name, inner in value.items()
        }
    names = {"set", "add", "headers", "withoutHeaders", "queryParams"}
    header = str(value.get("key", "")).partition("request.headers[")[2].removesuffix("]")
    if header and carries_credentials(header):  # Istio AuthorizationPolicy `when`
        return {name: inner if name == "key" else REDACTED for name, inner in value.items()}
    return {
        name: _without_credentials(inner, are_headers=name in names and not _is_operations(inner))
        for name, inner in value.items()
    }


def _is_operations(value: object) -> bool:
    """Whether `headers` are Istio `Headers` (operations on a request and a response), not matches."""
    return isinstance(value, dict) and value.keys() <= {"request", "response"}


def message_to_mapping(message: Message) -> dict[str, object]:
    """One message in JSON names; durations as "1.5s", bytes as base64, enums by name."""
    rendered: dict[str, object] = {}
    for info in fields_of(type(message)):
        value = getattr(message, info.name)
        is_default = value is None or value == () or value == {}
        if info.required or not (is_default or value == info.default):
            rendered[info.encode_name] = _render(value, _is_duration(info.type))
    return rendered


def _render(value: object, is_duration: bool) -> object:
    if isinstance(value, Message):
        return message_to_mapping(value)
    if is_duration and isinstance(value, float):
        return render_duration(value)
    if isinstance(value, enum.Enum):
        return value.name
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, tuple):
        return [_render(item, is_duration) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _render(item, is_duration) for key, item in value.items()}
    return value


def _is_duration(hint: Any) -> bool:
    if get_origin(hint) is Annotated:
        meta = get_args(hint)[1]
        return isinstance(meta, msgspec.Meta) and (meta.extra or {}).get("scalar") == "duration"
    return any(_is_duration(arg) for arg in get_args(hint))


class _Dumper(yaml.SafeDumper):
    """Quotes every string that Go's YAML reader could take for something else."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: object) -> bool:
        return True


def _string(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    from_plain = Scalar(text, 0, plain=True).value()
    style = None if isinstance(from_plain, str) and text.isprintable() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _string)
