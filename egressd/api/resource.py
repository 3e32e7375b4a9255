"""A resource as an operator wrote it: kind, metadata, spec, and the place it came from."""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import ClassVar

import msgspec

from egressd.api.authorization_policy import AuthorizationPolicy
from egressd.api.destination_rule import DestinationRule
from egressd.api.gateway import Gateway
from egressd.api.grammar import escaped, free_fault
from egressd.api.message import Fault, Message
from egressd.api.secret import redact
from egressd.api.service_entry import ServiceEntry
from egressd.api.sidecar import Sidecar
from egressd.api.virtual_service import VirtualService
from egressd.api.workload_entry import WorkloadEntry

Spec = (
    ServiceEntry
    | WorkloadEntry
    | VirtualService
    | DestinationRule
    | Gateway
    | Sidecar
    | AuthorizationPolicy
)


class Kind(enum.StrEnum):
    """The kinds that egressd reads, by their Istio name."""

    SERVICE_ENTRY = "ServiceEntry"
    WORKLOAD_ENTRY = "WorkloadEntry"
    VIRTUAL_SERVICE = "VirtualService"
    DESTINATION_RULE = "DestinationRule"
    GATEWAY = "Gateway"
    SIDECAR = "Sidecar"
    AUTHORIZATION_POLICY = "AuthorizationPolicy"


SPEC_TYPES: Mapping[Kind, type[Spec]] = {
    Kind.SERVICE_ENTRY: ServiceEntry,
    Kind.WORKLOAD_ENTRY: WorkloadEntry,
    Kind.VIRTUAL_SERVICE: VirtualService,
    Kind.DESTINATION_RULE: DestinationRule,
    Kind.GATEWAY: Gateway,
    Kind.SIDECAR: Sidecar,
    Kind.AUTHORIZATION_POLICY: AuthorizationPolicy,
}


class Metadata(Message, frozen=True):
    """Kubernetes `ObjectMeta`, the part that means something on a VM."""

    GRAMMAR: ClassVar[Mapping[str, Fault]] = {"annotations": free_fault}
    name: str
    namespace: str = "default"
    labels: Mapping[str, str] = msgspec.field(default_factory=dict)
    annotations: Mapping[str, str] = msgspec.field(default_factory=dict)
    creation_timestamp: str = ""


class Place(msgspec.Struct, frozen=True, omit_defaults=True):
    """Where a resource or a problem stands: a file (or a source's address), a 1-based line, and its
    1-based column where one is known. As a string "file:line:column"."""

    file: str = ""
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return ":".join((self.file, *(str(part) for part in (self.line, self.column) if part)))


class Resource(msgspec.Struct, frozen=True, kw_only=True):
    """One validated resource. `ref` is its identity in the registry.

    `revision` is that of the store that the text was read from (Kubernetes
    `metadata.resourceVersion`): who writes it back says what he saw. "" = not said.
    """

    kind: Kind
    metadata: Metadata
    spec: Spec
    api_version: str = "networking.istio.io/v1"
    place: Place = Place()
    revision: str = ""

    @property
    def ref(self) -> str:
        """Kind/namespace/name, as errors and tables print it."""
        return f"{self.kind}/{self.metadata.namespace}/{self.metadata.name}"


class Severity(enum.StrEnum):
    """How bad a problem is: an error refuses the resource, a warning does not."""

    ERROR = "error"
    WARNING = "warning"


class Problem(msgspec.Struct, frozen=True, kw_only=True):
    """One thing wrong with one field of one resource. As a string it is one printable line."""

    severity: Severity = Severity.ERROR
    place: Place = Place()
    resource: str = ""  # "VirtualService/default/reviews"; empty where the document has no identity
    field: str = ""  # "spec.http[0].route[1].weight"
    found: str = ""
    expected: str = ""

    def __post_init__(self) -> None:
        """What is found may be a URL, and what is expected repeat one."""
        for name in ("field", "found", "expected"):
            text: str = getattr(self, name)
            if (shown := redact(text)) != text:
                msgspec.structs.force_setattr(self, name, shown)

    def __str__(self) -> str:
        parts = [part for part in (str(self.place), self.resource, self.field) if part]
        found = f"found {self.found}" if self.found else ""
        expected = f"expected {self.expected}" if self.expected else ""
        says = ", ".join(part for part in (found, expected) if part)
        return escaped(f"{self.severity}: {': '.join((*parts, says))}")


class Parsed(msgspec.Struct, frozen=True):
    """What a text held: the resources without errors, every problem of all of them, and the kind of
    each resource that was to be skipped."""

    resources: tuple[Resource, ...]
    problems: tuple[Problem, ...]
    skipped: tuple[str, ...] = ()

    @property
    def errors(self) -> tuple[Problem, ...]:
        return tuple(p for p in self.problems if p.severity is Severity.ERROR)
