"""The table of findings, and which of them `istioctl analyze` has."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, NamedTuple

from egressd.api.resource import Severity


class Code(NamedTuple):
    """A kind of finding. `fix` says what to do about it."""

    severity: Severity
    title: str
    fix: str


_ERROR, _WARNING = Severity.ERROR, Severity.WARNING
UNREADABLE, REFUSED, NO_EFFECT = "EG0001", "EG0002", "EG0003"

CODES: Final[Mapping[str, Code]] = {
    "EG0001": Code(_ERROR, "file that cannot be read", "correct the file or its permissions"),
    "EG0002": Code(_ERROR, "resource that is refused", "correct it: until then it is not in force"),
    "EG0003": Code(_WARNING, "resource that is not as it seems", "write it as it is meant"),
    "EG0101": Code(_ERROR, "destination without a service", "add a ServiceEntry, or correct the host"),
    "EG0102": Code(_ERROR, "destination without a subset", "add the subset to the DestinationRule"),
    "EG0103": Code(_WARNING, "subset that selects nothing", "correct the labels of either"),
    "EG0104": Code(_ERROR, "destination port that the service lacks", "name one of its ports"),
    "EG0105": Code(_WARNING, "service without endpoints", "add endpoints, or workloads"),
    "EG0106": Code(_ERROR, "destination that names no port", "name the port: the service has several"),
    "EG0107": Code(_WARNING, "TCP service without an address", "add addresses, or name the protocol"),
    "EG0108": Code(_WARNING, "port with two protocols", "give the port one protocol in both"),
    "EG0201": Code(_WARNING, "unreachable route", "move it up, narrow the earlier one, or delete it"),
    "EG0202": Code(_WARNING, "unreachable match", "delete it: an earlier one takes all that it matches"),
    "EG0204": Code(_ERROR, "delegate that is not there", "add it, or correct name and namespace"),
    "EG0205": Code(_WARNING, "delegate that nobody uses", "delete it, or give it hosts"),
    "EG0206": Code(_WARNING, "prefix rewrite that doubles the slash", "end both in a slash, or neither"),
    "EG0207": Code(_WARNING, "gateway that passes by the subsets", "name a subset there, too"),
    "EG0208": Code(_ERROR, "match on a claim that nobody reads", "match something else"),
    "EG0301": Code(_ERROR, "gateway that is not there", "add the Gateway, or correct its name"),
    "EG0302": Code(_WARNING, "VirtualService bound to no gateway", "let a server of it export a host"),
    "EG0303": Code(_WARNING, "Gateway that no node label selects", "correct selector or node.labels"),
    "EG0304": Code(_ERROR, "servers that disagree on a port", "give one of them another port"),
    "EG0305": Code(_WARNING, "Gateway without a VirtualService", "bind one, or delete the Gateway"),
    "EG0306": Code(_ERROR, "TLS host that two Gateways serve", "serve it by one of the two"),
    "EG0307": Code(_WARNING, "Gateways with hosts in common", "make the hosts disjoint"),
    "EG0308": Code(_WARNING, "host that the gateway does not export", "export it, or take it out"),
    "EG0401": Code(_ERROR, "host claimed twice", "merge the two, or give one another host"),
    "EG0402": Code(_WARNING, "DestinationRule that no host uses", "correct its host, or delete it"),
    "EG0403": Code(_WARNING, "policy for a port that the service lacks", "name one of its ports"),
    "EG0404": Code(_WARNING, "host that exportTo divides", "merge the two, or give one another host"),
    "EG0501": Code(_WARNING, "TLS port called in plain", "add tls to the DestinationRule"),
    "EG0502": Code(_WARNING, "TLS inside TLS", "remove tls from the rule: clients speak TLS already"),
    "EG0503": Code(_ERROR, "certificate file that cannot be used", "correct the path or the file"),
    "EG0504": Code(_WARNING, "certificate that expires soon", "renew it; it is re-read when it changes"),
    "EG0505": Code(_ERROR, "certificate that has expired", "renew it"),
    "EG0506": Code(_ERROR, "key of another certificate", "put the pair in place together"),
    "EG0507": Code(_ERROR, "credential that is not there", "put it in place, or correct its name"),
    "EG0508": Code(_WARNING, "plain call to a port that speaks TLS", "add tls to a DestinationRule"),
    "EG0601": Code(_WARNING, "retries that cannot help", "name a condition that can come"),
    "EG0602": Code(_WARNING, "timeout shorter than the fault delay", "lengthen it or shorten the delay"),
    "EG0603": Code(_WARNING, "timeout of a try not below the whole", "make perTryTimeout the shorter"),
    "EG0604": Code(_WARNING, "every request is aborted", "lower the percentage, or delete the fault"),
    "EG0605": Code(_WARNING, "ejection that never happens", "raise maxEjectionPercent, add endpoints"),
    "EG0606": Code(_WARNING, "mirror to the destination itself", "mirror to another host or subset"),
    "EG0701": Code(_ERROR, "two Sidecars for one node", "merge them, or make selectors disjoint"),
    "EG0702": Code(_WARNING, "Sidecar that is not this node's", "correct selector or node.labels"),
    "EG0703": Code(_WARNING, "policy that is not this node's", "correct selector or node.labels"),
}  # fmt: skip

ISTIO: Final[Mapping[str, tuple[str, ...]]] = {
    "EG0002": ("IST0106", "IST0122",),
    "EG0003": ("IST0002", "IST0133",),
    "EG0101": ("IST0101",),
    "EG0102": ("IST0101",),
    "EG0103": ("IST0173",),
    "EG0104": ("IST0101",),
    "EG0106": ("IST0112",),
    "EG0107": ("IST0134",),
    "EG0108": ("IST0177",),
    "EG0201": ("IST0130", "IST0131"),
    "EG0202": ("IST0131",),
    "EG0207": ("IST0140",),
    "EG0208": ("IST0149",),
    "EG0301": ("IST0101", "IST0132",),
    "EG0302": ("IST0132",),
    "EG0303": ("IST0101",),
    "EG0304": ("IST0145",),
    "EG0306": ("IST0145",),
    "EG0307": ("IST0145",),
    "EG0308": ("IST0132",),
    "EG0401": ("IST0109",),
    "EG0402": ("IST0174",),
    "EG0404": ("IST0109",),
    "EG0503": ("IST0161",),
    "EG0505": ("IST0161",),
    "EG0506": ("IST0161",),
    "EG0507": ("IST0101", "IST0161",),
    "EG0701": ("IST0110", "IST0111",),
    "EG0702": ("IST0101",),
    "EG0703": ("IST0127",),
}  # fmt: skip
"""The codes of Istio (pkg/config/analysis/msg/messages.yaml) for the same."""
