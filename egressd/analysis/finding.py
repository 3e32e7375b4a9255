"""Findings and the table of their codes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from egressd.api.resource import Place, Resource, Severity


class Code(NamedTuple):
    """A kind of finding. `fix` says what to do about it."""

    severity: Severity
    title: str
    fix: str


_ERROR, _WARNING = Severity.ERROR, Severity.WARNING

CODES: Final[Mapping[str, Code]] = {
    "EG0101": Code(_ERROR, "destination without a service", "add a ServiceEntry, or correct the host"),
    "EG0102": Code(_ERROR, "destination without a subset", "add the subset to the DestinationRule"),
    "EG0103": Code(_WARNING, "subset that selects nothing", "correct the labels of either"),
    "EG0104": Code(_ERROR, "destination port that the service lacks", "name one of its ports"),
    "EG0105": Code(_WARNING, "service without endpoints", "add endpoints, or workloads"),
    "EG0201": Code(_WARNING, "unreachable route", "move it up, narrow the earlier one, or delete it"),
    "EG0202": Code(_WARNING, "unreachable match", "delete it: an earlier one takes all that it matches"),
    "EG0204": Code(_ERROR, "delegate that is not there", "add it, or correct name and namespace"),
    "EG0205": Code(_WARNING, "delegate that nobody uses", "delete it, or give it hosts"),
    "EG0301": Code(_ERROR, "gateway that is not there", "add the Gateway, or correct its name"),
    "EG0302": Code(_WARNING, "VirtualService bound to no gateway", "let a server of it export a host"),
    "EG0303": Code(_WARNING, "Gateway that no node label selects", "correct selector or node.labels"),
    "EG0304": Code(_ERROR, "servers that disagree on a port", "give one of them another port"),
    "EG0305": Code(_WARNING, "Gateway without a VirtualService", "bind one, or delete the Gateway"),
    "EG0401": Code(_ERROR, "host claimed twice", "merge the two, or give one another host"),
    "EG0402": Code(_WARNING, "DestinationRule that no host uses", "correct its host, or delete it"),
    "EG0403": Code(_WARNING, "policy for a port that the service lacks", "name one of its ports"),
    "EG0501": Code(_WARNING, "TLS port called in plain", "add tls to the DestinationRule"),
    "EG0502": Code(_WARNING, "TLS inside TLS", "remove tls from the rule: clients speak TLS already"),
    "EG0503": Code(_ERROR, "certificate file that cannot be used", "correct the path or the file"),
    "EG0504": Code(_WARNING, "certificate that expires soon", "renew it; it is re-read when it changes"),
    "EG0505": Code(_ERROR, "certificate that has expired", "renew it"),
    "EG0506": Code(_ERROR, "key of another certificate", "put the pair in place together"),
    "EG0601": Code(_WARNING, "retries that cannot help", "name a condition that can come"),
    "EG0602": Code(_WARNING, "timeout shorter than the fault delay", "lengthen it or shorten the delay"),
    "EG0603": Code(_WARNING, "timeout of a try not below the whole", "make perTryTimeout the shorter"),
    "EG0604": Code(_WARNING, "every request is aborted", "lower the percentage, or delete the fault"),
    "EG0605": Code(_WARNING, "ejection that never happens", "raise maxEjectionPercent, add endpoints"),
    "EG0606": Code(_WARNING, "mirror to the destination itself", "mirror to another host or subset"),
}  # fmt: skip


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One finding."""

    code: str
    severity: Severity
    place: Place
    resource: str
    field: str
    found: str
    fix: str

    @property
    def title(self) -> str:
        """What kind of finding it is."""
        return CODES[self.code].title

    def __str__(self) -> str:
        at = f"{self.place.file}:{self.place.line}" if self.place.line else self.place.file
        where = ": ".join(part for part in (at, self.resource, self.field) if part)
        return f"{self.severity} {self.code} {where}: {self.title}: {self.found}; {self.fix}"


def finding(code: str, resource: Resource, field: str, found: str) -> Finding:
    """A finding of a code at a field of a resource."""
    kind = CODES[code]
    return Finding(
        code=code, severity=kind.severity, place=resource.place, resource=resource.ref,
        field=field, found=found, fix=kind.fix,
    )  # fmt: skip
