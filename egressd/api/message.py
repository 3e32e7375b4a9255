"""The ground every API type stands on: the frozen base, scalar types with units, shared messages.

A field's Python name is the snake case of Istio's JSON name; `Message` renames in both directions.
A field without a default is required (Istio's REQUIRED mark). `ONEOF` names the groups of which at
most one field may be set, `DEPRECATED` the JSON names that are read with a warning, `OLD_NAMES` names
that Istio no longer has, each with the field that it is read as. `GRAMMAR` says by JSON name what a
string, or each string of a list or map, must be (`egressd.api.grammar`).
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar

import msgspec
import msgspec.structs

Fault = Callable[[str], str]
"""A grammar: what is expected instead of a string, "" when it is fine."""

Duration = Annotated[float, msgspec.Meta(extra={"scalar": "duration"})]
"""Seconds. Written "1h30m", "0.5s" in YAML (protobuf JSON and Go spelling)."""

Int32 = Annotated[int, msgspec.Meta(ge=-(2**31), le=2**31 - 1)]
UInt32 = Annotated[int, msgspec.Meta(ge=0, le=2**32 - 1)]
UInt64 = Annotated[int, msgspec.Meta(ge=0, extra={"scalar": "uint64"})]


class Message(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, rename="camel"):
    """One Istio API message: immutable, compared by value, JSON names in camel case."""

    ONEOF: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    DEPRECATED: ClassVar[frozenset[str]] = frozenset()
    OLD_NAMES: ClassVar[Mapping[str, str]] = {}
    GRAMMAR: ClassVar[Mapping[str, Fault]] = {}


class PortSelector(Message, frozen=True):
    """Istio `PortSelector`: a port by number."""

    number: UInt32 = 0


class Percent(Message, frozen=True):
    """Istio `Percent`: 0.0 to 100.0."""

    value: float = 0.0


class StringMatch(Message, frozen=True):
    """Istio `StringMatch`: exact, prefix or RE2 regular expression (full match)."""

    ONEOF: ClassVar[Mapping[str, tuple[str, ...]]] = {"match_type": ("exact", "prefix", "regex")}

    exact: str | None = None
    prefix: str | None = None
    regex: str | None = None


class WorkloadSelector(Message, frozen=True):
    """Istio `WorkloadSelector` of the networking group: labels that a workload must carry."""

    labels: Mapping[str, str] = msgspec.field(default_factory=dict)


@functools.cache
def fields_of(cls: type[Message]) -> tuple[msgspec.structs.FieldInfo, ...]:
    """A message's fields with resolved types; resolving them again and again is dear."""
    return msgspec.structs.fields(cls)
